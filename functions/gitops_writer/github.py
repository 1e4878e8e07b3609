"""GitHub: an App's token, one query that reads a branch, one mutation that commits to it.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
https://docs.github.com/en/graphql/reference/mutations#createcommitonbranch
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn, cast
from urllib.parse import urlsplit

import urllib3
from awscrt.crypto import RSA, RSASignatureAlgorithm  # pyright: ignore[reportMissingTypeStubs] — it carries its own types, unmarked
from jwt.algorithms import Algorithm
from jwt.api_jws import PyJWS

from .core import Blob, Snapshot

# Ten minutes are the most that GitHub takes, and a clock that is behind GitHub's would make more of them.
_ASSERTION_SECONDS: Final = 540
_CLOCK_DRIFT_SECONDS: Final = 60
# A token lives for an hour; it is not used for its last minutes, so that none expires under way.
_TOKEN_MARGIN_SECONDS: Final = 300
# Files asked for in one query. The next query reads the very same commit, so the number does not matter to what is seen.
_FILES_PER_QUERY: Final = 200
# "at least one minute", where a secondary limit gives no time of its own:
# https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
_SECONDARY_LIMIT_SECONDS: Final = 60.0
_TIMEOUT: Final = urllib3.Timeout(connect=3.0, read=15.0)
_HTTP_OK, _HTTP_CREATED, _HTTP_UNAUTHORIZED, _HTTP_FORBIDDEN, _HTTP_TOO_MANY = 200, 201, 401, 403, 429
_HTTP_NOT_FOUND, _HTTP_REQUEST_TIMEOUT, _HTTP_UNPROCESSABLE, _HTTP_SERVER = 404, 408, 422, 500
_SAID: Final = 300

# GraphQL's error types that come again however often one asks; others (and none) are GitHub's own trouble.
_REFUSALS: Final = frozenset({"FORBIDDEN", "NOT_FOUND", "UNPROCESSABLE", "INSUFFICIENT_SCOPES"})

# Both are sent: https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api#exceeding-the-rate-limit
_LIMITS: Final = frozenset({"RATE_LIMITED", "RATE_LIMIT"})

_COMMIT: Final = """
mutation CommitImages($input: CreateCommitOnBranchInput!) {
  createCommitOnBranch(input: $input) { commit { oid } }
}
"""


class GitHubError(Exception):
    """GitHub did not do what it was asked."""


class StaleHeadError(GitHubError):
    """The branch has moved since it was read: read again, decide again."""


class UnavailableError(GitHubError):
    """It may work later.

    Attributes:
        after_seconds: When GitHub allows the next request; 0 when it did not say.
    """

    def __init__(self, message: str, *, after_seconds: float = 0) -> None:
        """Hold the parts."""
        super().__init__(message)
        self.after_seconds = after_seconds


class RefusedError(GitHubError):
    """It will not work until a person changes something: the App's key, installation or rights, a rule, the branch.

    Attributes:
        access: Whether the refusal is about who asks or where (and so the same for every commit), not about what is committed.
    """

    def __init__(self, message: str, *, access: bool) -> None:
        """Hold the parts."""
        super().__init__(message)
        self.access = access


class _CrtRS256(Algorithm):
    """RS256 by AWS's Common Runtime, whose wheel is bound to no minor version of Python as that of cryptography's cffi is."""

    def prepare_key(self, key: object) -> RSA:
        if not isinstance(key, str | bytes):
            msg = f"the key is {type(key).__name__}: PEM text is needed"
            raise TypeError(msg)
        return RSA.new_private_key_from_pem_data(key)

    def sign(self, msg: bytes, key: RSA) -> bytes:
        return key.sign(RSASignatureAlgorithm.PKCS1_5_SHA256, hashlib.sha256(msg).digest())

    def verify(self, msg: bytes, key: RSA, sig: bytes) -> bool:
        return key.verify(RSASignatureAlgorithm.PKCS1_5_SHA256, hashlib.sha256(msg).digest(), sig)

    @staticmethod
    def to_jwk(key_obj: object, as_dict: bool = False) -> NoReturn:  # noqa: FBT002 — PyJWT's signature
        raise NotImplementedError

    @staticmethod
    def from_jwk(jwk: object) -> NoReturn:
        raise NotImplementedError


_SIGNER: Final = PyJWS(algorithms=[])
_SIGNER.register_algorithm("RS256", _CrtRS256())


def assertion(app_id: str, key: str, now: float) -> str:
    """The JSON Web Token by which an App proves itself.

    Raises:
        RefusedError: the key is no RSA private key in PEM.
    """
    claims = {"iss": app_id, "iat": int(now) - _CLOCK_DRIFT_SECONDS, "exp": int(now) + _ASSERTION_SECONDS}
    try:
        return _SIGNER.encode(json.dumps(claims).encode(), key.strip() + "\n", algorithm="RS256")
    except (RuntimeError, ValueError):
        # The cause may carry pieces of what was meant to be a key: it stays here.
        msg = (
            f"the secret of GitHub App {app_id} holds no RSA private key: the PEM file that GitHub gave, as it is, is needed. "
            "Put it into the secret"
        )
        raise RefusedError(msg, access=True) from None


@dataclass(kw_only=True)
class App:
    """A GitHub App's installation.

    Attributes:
        api_url: REST API.
        app_id: The App.
        installation_id: Its installation.
        read_key: Reads the private key; called for every new token, so that a rotated key is taken up by itself.
        pool: HTTP.
        clock: Seconds since 1970.
    """

    api_url: str
    app_id: str
    installation_id: str
    read_key: Callable[[], str] = field(repr=False)
    pool: urllib3.PoolManager = field(repr=False)
    clock: Callable[[], float] = time.time
    _token: str = field(default="", repr=False)
    _expires: float = 0.0

    def token(self) -> str:
        """An installation token that will hold for some minutes yet."""
        if not self._token or self.clock() > self._expires - _TOKEN_MARGIN_SECONDS:
            url = f"{self.api_url}/app/installations/{self.installation_id}/access_tokens"
            signed = assertion(self.app_id, self.read_key(), self.clock())
            status, headers, body = exchange(self.pool, url, signed, {})
            if status != _HTTP_CREATED:
                raise _by_status(status, headers, body, self.clock())
            try:
                self._token, expires = str(body["token"]), str(body["expires_at"])
                self._expires = datetime.fromisoformat(expires).timestamp()
            except (KeyError, ValueError):
                self._token = ""
                msg = "GitHub answered a request for a token without one"
                raise UnavailableError(msg) from None
        return self._token

    def forget(self) -> None:
        """Drop the token: GitHub does not take it any more."""
        self._token = ""


def exchange(pool: urllib3.PoolManager, url: str, bearer: str, body: Any) -> tuple[int, Mapping[str, str], Mapping[str, Any]]:  # noqa: ANN401 — JSON
    """POST JSON, get JSON (an object; empty when it is something else).

    Raises:
        UnavailableError: no whole answer came.
    """
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {bearer}",
        "Content-Type": "application/json",
        "User-Agent": "slipway-gitops-writer",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    try:
        answer = pool.request("POST", url, body=json.dumps(body).encode(), headers=headers, retries=False, timeout=_TIMEOUT)
    except urllib3.exceptions.HTTPError as error:
        msg = f"no whole answer from GitHub: {type(error).__name__}"
        raise UnavailableError(msg) from None
    try:
        parsed: object = json.loads(answer.data)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        if answer.status in {_HTTP_OK, _HTTP_CREATED}:
            msg = f"GitHub answered {answer.status} with {len(answer.data)} bytes that are no JSON object"
            raise UnavailableError(msg)
        parsed = {}
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, cast("dict[str, Any]", parsed)


def _by_status(status: int, headers: Mapping[str, str], body: Mapping[str, Any], now: float) -> GitHubError:
    """What an answer other than success means.

    https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#handle-rate-limit-errors-appropriately
    """
    said = str(body.get("message", ""))[:_SAID]
    msg = f"GitHub answered {status}: {said}"
    limited = "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0" or "rate limit" in said.lower()
    if status == _HTTP_TOO_MANY or (status == _HTTP_FORBIDDEN and limited):
        return UnavailableError(msg, after_seconds=_wait(headers, now) or _SECONDARY_LIMIT_SECONDS)
    if status >= _HTTP_SERVER or status == _HTTP_REQUEST_TIMEOUT:
        return UnavailableError(msg, after_seconds=_wait(headers, now))
    return RefusedError(msg, access=True)


def _wait(headers: Mapping[str, str], now: float) -> float:
    """Seconds that an answer asks for, 0 when it does not."""
    given = headers.get("retry-after", "")
    if given.isdigit():
        return float(given)
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(1.0, float(reset) - now)
    return 0.0


def set_status(app: App, repository: str, commit: str, body: Mapping[str, str]) -> None:
    """Set a commit status.

    https://docs.github.com/en/rest/commits/statuses#create-a-commit-status

    Raises:
        RefusedError: GitHub does not take it; without `access` where only this repository or commit is at fault.
        UnavailableError: it may work later, and may have worked already.
    """
    url = f"{app.api_url}/repos/{repository}/statuses/{commit}"
    status, headers, answer = exchange(app.pool, url, app.token(), body)
    if status == _HTTP_UNAUTHORIZED:
        # As for a commit: a new token, made with the key as it is now.
        app.forget()
        status, headers, answer = exchange(app.pool, url, app.token(), body)
    if status == _HTTP_CREATED:
        return
    if status in {_HTTP_NOT_FOUND, _HTTP_UNPROCESSABLE}:
        msg = (
            f"GitHub answered {status} to a status of {repository}@{commit[:12]}: {str(answer.get('message', ''))[:_SAID]}. "
            f"GitHub App {app.app_id} must be installed on the repository, and the commit must be there"
        )
        raise RefusedError(msg, access=False)
    raise _by_status(status, headers, answer, app.clock())


def graphql_url(api_url: str) -> str:
    """Where GraphQL is: beside REST at github.com, beside `v3` at GitHub Enterprise Server.

    https://docs.github.com/en/enterprise-server@latest/graphql/guides/forming-calls-with-graphql#the-graphql-endpoint
    """
    parts = urlsplit(api_url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v3')}/graphql"


@dataclass(frozen=True, kw_only=True)
class GitHub:
    """One repository.

    Attributes:
        app: Who asks.
        repository: `owner/name`.
    """

    app: App
    repository: str

    def snapshot(
        self,
        branch: str,
        files: Iterable[str],
        directories: Iterable[str],
        *,
        ask_removed: bool = False,
        known: Snapshot | None = None,
    ) -> Snapshot:
        """A branch's head, and files and directories at that very commit.

        One query, as long as it is of reasonable size; with `ask_removed` one more if directories are missing.

        Args:
            branch: The branch.
            files: Paths of files.
            directories: Paths of directories.
            ask_removed: Also find out which of the missing directories once were there.
            known: An earlier snapshot of the branch, of the same files for each directory. What stands below a directory that has
                not changed since is taken from it: on a branch that others move all the time, it is the time between reading the
                head and committing that counts.

        Raises:
            RefusedError: there is no such branch, or the App may not read it.
            UnavailableError: it may work later.
        """
        files, directories = tuple(dict.fromkeys(files)), tuple(dict.fromkeys(directories))
        head, trees, kept, asked = "", dict[str, Any](), dict[str, Blob](), files
        if known is not None and directories:
            head, trees = self._find(branch, "", [(path, "tree") for path in directories])
            same = {path for path in directories if trees.get(path) and trees[path].get("oid") == known.trees.get(path)}
            kept = {path: blob for path, blob in known.files.items() if same.intersection(_parents(path))}
            # Below a directory that is missing there is nothing to ask for.
            settled = same | {path for path in directories if not trees.get(path)}
            asked = tuple(path for path in files if not settled.intersection(_parents(path)))
        wanted = [*((path, "blob") for path in asked), *((path, "tree") for path in directories if not trees)]
        if wanted or not head:
            head, found = self._find(branch, head, wanted)
            trees = trees or {path: found.get(path) for path in directories}
            kept |= {path: _blob(found[path]) for path in asked if found.get(path)}
        there = {path: str(tree["oid"]) for path, tree in trees.items() if tree and tree.get("type") == "tree"}
        absent = frozenset(directories) - there.keys()
        removed = known.removed & absent if known is not None else frozenset[str]()
        if ask_removed and (unknown := absent - (known.absent if known is not None else frozenset())):
            removed |= self._once(branch, head, sorted(unknown))
        return Snapshot(
            branch=branch, head=head, files=kept, directories=frozenset(there), trees=there, absent=absent, removed=removed
        )

    def _find(self, branch: str, head: str, wanted: Sequence[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
        """The commit, and what it holds of paths and kinds: at the branch's head when `head` is ""."""
        found: dict[str, Any] = {}
        for page in _pages(wanted) if wanted else ((),):
            target = self._read(branch, head, page)
            head = str(target["oid"])
            found |= {path: target.get(f"f{n}") for n, (path, _) in enumerate(page)}
        return head, found

    def _read(self, branch: str, head: str, page: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
        # Commit.file, and not Repository.object(expression: "branch:path"): head and files must be of one commit, or a change
        # made between the two would be written over.
        fields = "\n".join(
            f"f{n}: file(path: $p{n}) {{ type oid {_BLOB if kind == 'blob' else ''} }}" for n, (_, kind) in enumerate(page)
        )
        return self._commit_fields(branch, head, "ReadBranch", [path for path, _ in page], fields)

    def _once(self, branch: str, head: str, directories: Sequence[str]) -> frozenset[str]:
        """Those of the directories that the branch's history knows."""
        known: set[str] = set()
        for page in _pages([(path, "tree") for path in directories]):
            fields = "\n".join(f"f{n}: history(first: 1, path: $p{n}) {{ nodes {{ oid }} }}" for n in range(len(page)))
            target = self._commit_fields(branch, head, "ReadHistory", [path for path, _ in page], fields)
            histories: list[Any] = [target.get(f"f{n}") for n in range(len(page))]
            known |= {path for (path, _), history in zip(page, histories, strict=True) if history and history.get("nodes")}
        return frozenset(known)

    def _commit_fields(self, branch: str, head: str, name: str, paths: Sequence[str], fields: str) -> Mapping[str, Any]:
        """Fields of the commit `head`, or of the branch's head when that is ""."""
        owner, _, repository = self.repository.partition("/")
        variables: dict[str, Any] = {"owner": owner, "name": repository, "at": head or f"refs/heads/{branch}"}
        variables |= {f"p{n}": path for n, path in enumerate(paths)}
        declared = "".join(f", $p{n}: String!" for n in range(len(paths)))
        inner = f"... on Commit {{ oid {fields} }}"
        source = f"object(oid: $at) {{ {inner} }}" if head else f"ref(qualifiedName: $at) {{ target {{ {inner} }} }}"
        query = (
            f"query {name}($owner: String!, $name: String!, $at: {'GitObjectID' if head else 'String'}!{declared}) "
            f"{{ repository(owner: $owner, name: $name) {{ commit: {source} }} }}"
        )
        data = self._ask(query, variables, absent="file")
        target: Any = cast("dict[str, Any]", data.get("repository") or {}).get("commit")
        if target and not head:
            target = target.get("target")
        if not target or "oid" not in target:
            msg = f"{self.repository} has no branch {branch!r}: it must exist before images are written. Create it"
            raise RefusedError(msg, access=True)
        return cast("Mapping[str, Any]", target)

    def commit(self, branch: str, head: str, changes: Mapping[str, str], *, headline: str, body: str) -> str:
        """Put files on a branch that must still be at `head`; the new commit.

        Raises:
            StaleHeadError: it has moved.
            RefusedError: GitHub will not take it.
            UnavailableError: it may work later, and may have worked already.
        """
        additions = [
            {"path": path, "contents": base64.b64encode(text.encode()).decode()} for path, text in sorted(changes.items())
        ]
        asked = {
            "branch": {"repositoryNameWithOwner": self.repository, "branchName": branch},
            "expectedHeadOid": head,
            "message": {"headline": headline, "body": body},
            "fileChanges": {"additions": additions},
        }
        data = self._ask(_COMMIT, {"input": asked})
        try:
            return str(data["createCommitOnBranch"]["commit"]["oid"])
        except (KeyError, TypeError):
            msg = "GitHub answered a commit without its id"
            raise UnavailableError(msg) from None

    def _ask(self, query: str, variables: Mapping[str, Any], *, absent: str = "") -> Mapping[str, Any]:
        """A GraphQL request; `absent` names a field of which NOT_FOUND only says that there is nothing."""
        url = graphql_url(self.app.api_url)
        asked = {"query": query, "variables": variables}
        status, headers, body = exchange(self.app.pool, url, self.app.token(), asked)
        if status == _HTTP_UNAUTHORIZED:
            # Revoked, or expired by GitHub's clock: a new token, made with the key as it is now.
            self.app.forget()
            status, headers, body = exchange(self.app.pool, url, self.app.token(), asked)
        now = self.app.clock()
        if status != _HTTP_OK:
            raise _by_status(status, headers, body, now)
        data = cast("Mapping[str, Any]", body.get("data") or {})
        errors = [error for error in _errors(body) if not (absent and data and _only_absent(error))]
        if errors:
            raise _by_type(errors, headers, now)
        if not data:
            msg = "GitHub answered neither data nor errors"
            raise UnavailableError(msg)
        return data


_BLOB: Final = "object { ... on Blob { text byteSize isBinary isTruncated } }"


def _only_absent(error: Mapping[str, Any]) -> bool:
    """Whether an error only says that one of the files is not there: it leads to one of our aliases."""
    path: object = error.get("path")
    last: object = cast("list[object]", path)[-1] if isinstance(path, list) and path else ""
    return error.get("type") == "NOT_FOUND" and isinstance(last, str) and last[:1] == "f" and last[1:].isdigit()


def _errors(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given: object = body.get("errors") or []
    return [cast("Mapping[str, Any]", each) for each in cast("list[object]", given) if isinstance(each, dict)]


def _by_type(errors: Sequence[Mapping[str, Any]], headers: Mapping[str, str], now: float) -> GitHubError:
    """What GraphQL's errors mean; their status is 200."""
    kinds = {str(error.get("type") or "") for error in errors}
    msg = "; ".join(f"{error.get('type') or 'error'}: {str(error.get('message', ''))[:_SAID]}" for error in errors[:3])
    if "STALE_DATA" in kinds:
        return StaleHeadError(msg)
    # A secondary limit may come with status 200, and without a type of its own.
    if kinds & _LIMITS or "rate limit" in msg.lower():
        return UnavailableError(msg, after_seconds=_wait(headers, now) or _SECONDARY_LIMIT_SECONDS)
    if kinds & _REFUSALS:
        return RefusedError(msg, access="UNPROCESSABLE" not in kinds)
    if any(isinstance(error.get("extensions"), dict) and error["extensions"].get("code") for error in errors):
        # The query itself is wrong: a bug, or an Enterprise Server too old for it.
        return RefusedError(msg, access=True)
    return UnavailableError(msg, after_seconds=_wait(headers, now))


def _blob(entry: Mapping[str, Any]) -> Blob:
    """A file's text, or why there is none that could be written back unharmed."""
    blob = cast("Mapping[str, Any]", entry.get("object") or {})
    text: object = blob.get("text")
    if blob.get("isTruncated"):
        return Blob(fault=f"the file holds {blob.get('byteSize')} bytes, which GitHub gives only in part: shorten it")
    if blob.get("isBinary") or not isinstance(text, str):
        return Blob(fault="the file is no text: restore it from Git's history")
    if len(text.encode()) != blob.get("byteSize"):
        return Blob(fault="the file is not UTF-8: writing it back would harm it. Save it as UTF-8")
    return Blob(text=text)


def _parents(path: str) -> Iterator[str]:
    """Every directory above a file."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _pages(paths: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    return (paths[start : start + _FILES_PER_QUERY] for start in range(0, len(paths), _FILES_PER_QUERY))
