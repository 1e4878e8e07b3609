"""The few requests to GitHub's API that the workflows need (docs.github.com/en/rest: pulls, releases, commits; and /graphql)."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from slipway.layout import SlipwayError

TIMEOUT_SECONDS: Final = 30
PAGE: Final = 100
TITLE_LENGTH: Final = 256
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_GONE: Final = 404


class RefusedError(SlipwayError):
    """GitHub answered, and not with what was asked for."""

    def __init__(self, message: str, status: int) -> None:
        """Hold the status beside the text."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Pull:
    """An open pull request within the repository."""

    number: int
    url: str
    head: str
    commit: str
    title: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A merged pull request.

    Attributes:
        number: Its number.
        url: Its page.
        by: Who merged it; "" where GitHub does not say.
        approvals: Who approved what was merged.
    """

    number: int
    url: str
    by: str
    approvals: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit of an application."""

    sha: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What lies between two commits: how many, and the first of them, oldest first."""

    total: int
    commits: tuple[Commit, ...]


@dataclass(frozen=True, kw_only=True)
class Status:
    """A commit status, the newest of its context.

    Attributes:
        context: Its name.
        state: `success`, `failure`, `error` or `pending`.
        description: Text beside it, or "".
        created: When it was set, as in 2026-01-02T03:04:05Z: such times sort as text.
    """

    context: str
    state: str
    description: str
    created: str


@dataclass(frozen=True, kw_only=True)
class GitHub:
    """The API, for one repository.

    Attributes:
        api: Address of the API.
        repository: `owner/name`.
        token: An App's: checks do not run on what the workflow's own token opens.
        dry_run: Change nothing.
    """

    api: str
    repository: str
    token: str
    dry_run: bool = False

    def pulls(self, base: str, prefix: str) -> list[Pull]:
        """Open pull requests into a branch, from branches of this repository that begin with `prefix`; newest first."""
        found: list[Pull] = []
        page = 1
        while True:
            got = cast("list[dict[str, Any]]", self._ask("GET", f"/pulls?state=open&base={base}&per_page={PAGE}&page={page}"))
            found += [_pull(each) for each in got if _is_ours(each, self.repository) and each["head"]["ref"].startswith(prefix)]
            if len(got) < PAGE:
                return found
            page += 1

    def open(self, *, base: str, head: str, title: str, body: str) -> Pull | None:
        """Open a pull request; None in a dry run."""
        asked = {"base": base, "head": head, "title": title[:TITLE_LENGTH], "body": body}
        if self.dry_run:
            print(f"dry run: would open a pull request from {head} into {base}: {title}\n\n{body}")
            return None
        return _pull(cast("dict[str, Any]", self._ask("POST", "/pulls", asked)))

    def edit(self, pull: Pull, **changes: str) -> None:
        """Change a pull request's title, body or state."""
        if self.dry_run:
            print(f"dry run: would change {', '.join(changes)} of pull request #{pull.number}")
            return
        self._ask("PATCH", f"/pulls/{pull.number}", changes)

    def merged(self, base: str, commit: str) -> Merged | None:
        """The pull request into a branch whose merge made a commit, and who approved it; None without one."""
        page = 1
        while True:
            # The newest first: it has just been merged, unless somebody runs this again later.
            path = f"/pulls?state=closed&base={base}&sort=updated&direction=desc&per_page={PAGE}&page={page}"
            got = cast("list[dict[str, Any]]", self._ask("GET", path))
            for each in got:
                if each["merge_commit_sha"] == commit:
                    number = int(each["number"])
                    by = cast("dict[str, Any]", self._ask("GET", f"/pulls/{number}")).get("merged_by") or {}
                    approvals = self._approvals(number, str(each["head"]["sha"]))
                    return Merged(number=number, url=str(each["html_url"]), by=str(by.get("login", "")), approvals=approvals)
            if len(got) < PAGE:
                return None
            page += 1

    def set_status(self, commit: str, *, context: str, state: str, description: str, target_url: str) -> None:
        """Set a commit status (docs.github.com/en/rest/commits/statuses)."""
        if not _COMMIT.fullmatch(commit):
            msg = f"head is {commit!r}: the whole id of a commit is needed, 40 hexadecimal digits."
            raise SlipwayError(msg)
        asked = {"context": context, "state": state, "description": description, "target_url": target_url}
        if self.dry_run:
            print(f"dry run: would set {context} on {commit} to {state}")
            return
        self._ask("POST", f"/statuses/{commit}", asked)

    def _approvals(self, number: int, commit: str) -> tuple[str, ...]:
        """Whose last verdict on a commit is an approval."""
        verdicts: dict[str, bool] = {}
        page = 1
        while True:
            got = cast("list[dict[str, Any]]", self._ask("GET", f"/pulls/{number}/reviews?per_page={PAGE}&page={page}"))
            for each in got:
                if each["user"] and each["state"] != "COMMENTED":
                    verdicts[str(each["user"]["login"])] = each["state"] == "APPROVED" and each["commit_id"] == commit
            if len(got) < PAGE:
                return tuple(login for login, approves in verdicts.items() if approves)
            page += 1

    def release_at(self, tag: str) -> str:
        """Address of the release of a tag; "" without one."""
        try:
            return str(cast("dict[str, Any]", self._ask("GET", f"/releases/tags/{tag}"))["html_url"])
        except RefusedError as error:
            if error.status == _GONE:
                return ""
            raise

    def publish(self, *, tag: str, name: str, body: str) -> str:
        """Make the release of a tag that is there; its address, or "" in a dry run."""
        if self.dry_run:
            print(f"dry run: would make the release {tag}: {name}\n\n{body}")
            return ""
        asked = {"tag_name": tag, "name": name[:TITLE_LENGTH], "body": body}
        return str(cast("dict[str, Any]", self._ask("POST", "/releases", asked))["html_url"])

    def statuses(self, commits: Sequence[str]) -> list[list[Status]]:
        """The statuses of commits, at most `PAGE` of them, by one request; none of a commit that GitHub does not have.

        https://docs.github.com/en/graphql/reference/objects#commit
        """
        asked = "... on Commit { status { contexts { context state description createdAt } } }"
        wanted = " ".join(f'c{number}: object(oid: "{commit}") {{ {asked} }}' for number, commit in enumerate(commits))
        query = f"query Statuses($owner: String!, $name: String!) {{ repository(owner: $owner, name: $name) {{ {wanted} }} }}"
        owner, _, name = self.repository.partition("/")
        # GitHub Enterprise Server has /api/graphql beside /api/v3: docs.github.com, Forming calls with GraphQL.
        url = f"{self.api.rstrip('/').removesuffix('/v3')}/graphql"
        body = {"query": query, "variables": {"owner": owner, "name": name}}
        got = cast("dict[str, Any]", self._send("POST", url, "/graphql", body))
        if errors := cast("list[dict[str, Any]]", got.get("errors") or []):
            said = "; ".join(dict.fromkeys(str(each.get("message", each)) for each in errors))
            msg = (
                f"GitHub does not tell the statuses of commits: {said}. The token needs commit statuses, read, on this "
                "repository: check the App's permissions."
            )
            raise SlipwayError(msg)
        found = cast("dict[str, Any]", got["data"]["repository"])
        return [
            [
                Status(
                    context=str(each["context"]),
                    state=str(each["state"]).lower(),
                    description=str(each["description"] or ""),
                    created=str(each["createdAt"]),
                )
                for each in ((found[f"c{number}"] or {}).get("status") or {}).get("contexts", [])
            ]
            for number in range(len(commits))
        ]

    def compared(self, repository: str, old: str, new: str, *, most: int) -> Compared | None:
        """The commits of another repository between two of its commits; None where they cannot be had: they are a courtesy.

        https://docs.github.com/en/rest/commits/commits#compare-two-commits
        """
        path = f"/compare/{old}...{new}?per_page={most}"
        try:
            got = cast("dict[str, Any]", self._ask("GET", path, repository=repository))
        except SlipwayError:
            return None
        commits = [
            Commit(sha=str(each["sha"]), subject=str(each["commit"]["message"]).partition("\n")[0])
            for each in cast("list[dict[str, Any]]", got["commits"])[:most]
            if _COMMIT.fullmatch(str(each["sha"]))
        ]
        return Compared(total=int(got["total_commits"]), commits=tuple(commits))

    def _ask(self, method: str, path: str, body: object = None, *, repository: str = "") -> object:
        return self._send(method, f"{self.api}/repos/{repository or self.repository}{path}", path, body)

    def _send(self, method: str, url: str, path: str, body: object) -> object:
        if not url.startswith(("https://", "http://")):
            msg = f"GITHUB_API_URL is {self.api!r}: an address that begins with https:// is allowed. Correct it."
            raise SlipwayError(msg)
        request = urllib.request.Request(url, method=method)  # noqa: S310 — the scheme is checked above
        request.add_header("Accept", "application/vnd.github+json")
        request.add_header("X-GitHub-Api-Version", "2022-11-28")
        request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 — the scheme is checked above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")
            error.close()
            msg = f"GitHub answers {method} {path.partition('?')[0]} with {error.code}: {said}. {_remedy(error.code)}"
            raise RefusedError(msg, error.code) from None
        except (urllib.error.URLError, TimeoutError) as error:
            msg = f"GitHub did not answer {method} {path.partition('?')[0]}: {error}. Run again."
            raise SlipwayError(msg) from None


def _pull(found: dict[str, Any]) -> Pull:
    return Pull(
        number=found["number"],
        url=found["html_url"],
        head=found["head"]["ref"],
        commit=found["head"]["sha"],
        title=found["title"],
        body=found["body"] or "",
    )


def _is_ours(found: dict[str, Any], repository: str) -> bool:
    # The repository of a deleted fork is null.
    origin = cast("dict[str, Any]", found["head"]["repo"] or {})
    return str(origin.get("full_name", "")).lower() == repository.lower()


def _remedy(status: int) -> str:
    match status:
        case 401:
            return "Give a token that is valid now in GITHUB_TOKEN."
        case 403 | 404:
            return "The token needs contents and pull requests, both write, on this repository: check the App's installation."
        case _:
            return "Run again; if it stays, see what the answer says."
