"""A client of GitHub's REST API that can only read."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import jwt
import urllib3

# https://docs.github.com/en/rest/about-the-rest-api/api-versions
_VERSION: Final = "2022-11-28"
_SECONDS: Final = 15.0
_PAGE: Final = 100
_LAST_PAGE: Final = 50
_OK, _NOT_FOUND, _UNAUTHORIZED = 200, 404, 401
# https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
_JWT_SECONDS: Final = 540
_CLOCK_DRIFT_SECONDS: Final = 60


class GitHubError(Exception):
    """GitHub did not answer, or refuses to answer this question."""


class KeyRefusedError(GitHubError):
    """GitHub does not know the App's key."""


class NoTokenError(GitHubError):
    """Nobody has given a token."""


@dataclass(kw_only=True)
class GitHub:
    """Reads from one GitHub, with a person's token or as an App.

    Attributes:
        url: Address of the API.
        token: A person's token, "" without one.
        now: The clock.
    """

    url: str
    token: str = ""
    now: Callable[[], float] = time.time
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=_SECONDS), repr=False)
    _seen: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any], repr=False)
    _assertions: dict[tuple[int | str, str], tuple[str, int]] = field(
        default_factory=dict[tuple[int | str, str], tuple[str, int]], repr=False
    )

    def get(self, path: str) -> Any:  # noqa: ANN401 — JSON
        """Return what stands at a path, None where GitHub says that there is nothing.

        Raises:
            NoTokenError: there is no token.
            GitHubError: GitHub does not answer, or refuses.
        """
        if not self.token:
            msg = "no token is set"
            raise NoTokenError(msg)
        return self._get(path, f"Bearer {self.token}")

    def items(self, path: str, key: str = "") -> list[Mapping[str, Any]] | None:
        """Return all pages of a list, None where GitHub says that there is nothing.

        Args:
            path: The list's path.
            key: Key of the list in each page's object; "" where a page is the list itself.

        Raises:
            GitHubError: as `get`.
        """
        found: list[Mapping[str, Any]] = []
        for page in range(1, _LAST_PAGE + 1):
            answer = self.get(f"{path}{'&' if '?' in path else '?'}per_page={_PAGE}&page={page}")
            if answer is None:
                return None
            some = cast("list[Mapping[str, Any]]", answer[key] if key else answer)
            found += some
            if len(some) < _PAGE:
                break
        return found

    def get_as_app(self, path: str, app_id: int | str, key: str) -> Any:  # noqa: ANN401 — JSON
        """Return what stands at a path as an App sees it, None where there is nothing.

        Args:
            path: The path.
            app_id: The App's id or client id.
            key: Its private key.

        Raises:
            KeyRefusedError: the key is not the App's.
            GitHubError: as `get`.
        """
        now = int(self.now())
        assertion, until = self._assertions.get((app_id, key), ("", 0))
        if until <= now:
            # Reading a key takes longer than a request.
            claims = {"iat": now - _CLOCK_DRIFT_SECONDS, "exp": now + _JWT_SECONDS, "iss": str(app_id)}
            assertion, until = jwt.encode(claims, key, algorithm="RS256"), now + _JWT_SECONDS - _CLOCK_DRIFT_SECONDS
            self._assertions[app_id, key] = assertion, until
        return self._get(path, f"Bearer {assertion}", seen_as=str(app_id))

    def _get(self, path: str, authorization: str, seen_as: str = "") -> Any:  # noqa: ANN401 — JSON
        if (path, seen_as) not in self._seen:
            self._seen[path, seen_as] = self._ask(path, authorization, app=bool(seen_as))
        return self._seen[path, seen_as]

    def _ask(self, path: str, authorization: str, *, app: bool) -> Any:  # noqa: ANN401 — JSON
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": authorization,
            "User-Agent": "slipway-bootstrap",
            "X-GitHub-Api-Version": _VERSION,
        }
        try:
            answer = self._pool.request("GET", f"{self.url}{path}", headers=headers)
        except urllib3.exceptions.HTTPError as error:
            msg = f"{self.url} does not answer ({type(error).__name__})"
            raise GitHubError(msg) from None
        if answer.status == _NOT_FOUND:
            return None
        if answer.status == _UNAUTHORIZED and app:
            msg = "GitHub does not accept the App's key"
            raise KeyRefusedError(msg)
        if answer.status != _OK:
            msg = f"GitHub answers {answer.status} for {path.partition('?')[0]}: {_message(answer.data)}"
            raise GitHubError(msg)
        return json.loads(answer.data)


def find_token() -> str:
    """Return a person's token: GITHUB_TOKEN, GH_TOKEN or the GitHub CLI's; "" without one."""
    if token := os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or "":
        return token
    if (cli := shutil.which("gh")) is None:
        return ""
    done = subprocess.run([cli, "auth", "token"], capture_output=True, text=True, check=False)  # noqa: S603 — no input of anybody's
    return done.stdout.strip() if done.returncode == 0 else ""


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return "no reason is given"
