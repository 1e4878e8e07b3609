"""The few requests to GitHub's REST API that the workflows need (docs.github.com/en/rest/pulls/pulls)."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final, cast

from slipway.layout import SlipwayError

TIMEOUT_SECONDS: Final = 30
PAGE: Final = 100
TITLE_LENGTH: Final = 256


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

    def _ask(self, method: str, path: str, body: object = None) -> object:
        url = f"{self.api}/repos/{self.repository}{path}"
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
            raise SlipwayError(msg) from None
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
