"""What the Git host speaks of: who acts, what went wrong, what was pushed, what a test may inject.

Nothing in here talks to Git or to a socket.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]

ZERO: Final = "0" * 40
"""The object id that stands for "no such ref", in hooks and in push events."""

HEADS: Final = "refs/heads/"
TAGS: Final = "refs/tags/"

LEVELS: Final = ("none", "read", "write", "admin")
"""Access levels of an App's permission, each including those before it.
https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app"""

ROLES: Final = ("read", "triage", "write", "maintain", "admin")
"""Repository roles of a person, each including those before it.
https://docs.github.com/en/organizations/managing-user-access-to-your-organizations-repositories/managing-repository-roles/repository-roles-for-an-organization"""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who a request comes from: a person, an App's installation, or the console.

    Attributes:
        login: Name on GitHub; an App acts as `<slug>[bot]`.
        user_id: Number in the no-reply address.
        role: A person's role in every repository (see `ROLES`); of no meaning for an App.
        teams: Ids of a person's teams, for bypass lists.
        owner: Whether the person is an organisation owner.
        app_id: The App, or None for a person.
        permissions: An App's granted permissions, such as `{"contents": "write"}`.
        repositories: Full names an App's token reaches, or None for all.
        console: True for the console, which stands above permissions and rules.
    """

    login: str
    user_id: int
    role: str = "read"
    teams: frozenset[int] = frozenset()
    owner: bool = False
    app_id: int | None = None
    permissions: Mapping[str, str] = field(default_factory=dict[str, str])
    repositories: frozenset[str] | None = None
    console: bool = False

    @property
    def email(self) -> str:
        """The no-reply address that GitHub writes into commits made through its API or web pages."""
        return f"{self.user_id}+{self.login}@users.noreply.github.com"

    @property
    def kind(self) -> str:
        """`Bot` for an App, `User` for a person."""
        return "User" if self.app_id is None else "Bot"

    def sees(self, full_name: str) -> bool:
        """Whether the repository exists for this actor. GitHub answers 404, not 403, where it does not."""
        return self.repositories is None or full_name.lower() in self.repositories

    def may(self, permission: str, level: str) -> bool:
        """Whether the actor holds a permission at a level (one of `LEVELS`), rules aside."""
        if self.console:
            return True
        if self.app_id is not None:
            # Every App may read metadata: the permission cannot be withheld.
            granted = self.permissions.get(permission, "read" if permission == "metadata" else "none")
            return LEVELS.index(granted) >= LEVELS.index(level)
        if permission == "repository_hooks" or level == "admin":
            return self.role == "admin"
        # Whoever may read may open a pull request and review one; whether the review counts is another matter.
        needed = "write" if level == "write" and permission != "pull_requests" else "read"
        return ROLES.index(self.role) >= ROLES.index(needed)


class Problem(Exception):  # noqa: N818 — GitHub's refusals are answers of the host, not its errors
    """A refusal with the words that GitHub uses.

    Attributes:
        status: HTTP status over REST. Over GraphQL the status is 200 and `kind` tells.
        message: What GitHub's `message` says.
        kind: GraphQL error type, such as `NOT_FOUND`.
        errors: REST's list of details.
    """

    def __init__(self, status: int, message: str, *, kind: str = "UNPROCESSABLE", errors: Sequence[Json] = ()) -> None:
        """Hold the parts."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.errors = list(errors)


def not_found(message: str = "Not Found") -> Problem:
    """What does not exist, or does not exist for this actor."""
    return Problem(404, message, kind="NOT_FOUND")


def forbidden(message: str = "Resource not accessible by integration") -> Problem:
    """What the token's permissions do not allow."""
    return Problem(403, message, kind="FORBIDDEN")


def rule_violation(violations: Sequence[str], *, status: int = 422) -> Problem:
    """What a ruleset refuses: 422 for refs, 405 for merges, FORBIDDEN over GraphQL."""
    text = "".join(f"{line}\n\n" for line in violations)
    return Problem(status, f"Repository rule violations found\n\n{text}", kind="FORBIDDEN")


@dataclass(frozen=True, kw_only=True)
class PushEvent:
    """A branch moved, by whatever way: git push, API commit, merge, or the console.

    Attributes:
        repository: Full name.
        branch: Short name.
        before: Commit before, None for a new branch.
        after: Commit after, None for a deleted one.
        pusher: Login.
        changed_paths: Sorted paths that differ between the two commits; for a new branch all its files, for a
            deleted one none.
        forced: Whether `before` is no ancestor of `after`.
    """

    repository: str
    branch: str
    before: str | None
    after: str | None
    pusher: str
    changed_paths: tuple[str, ...]
    forced: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """An API request, as a fault hook sees it before anything is done.

    Attributes:
        number: Counts the host's API requests from 1.
        method: HTTP verb.
        path: Path without the query.
        operation: For GraphQL the operation's name, else its top-level fields joined by `+`; for REST the route,
            such as `/repos/<owner>/<name>/pulls`.
        actor: Login, or "" before or without authentication.
        body: The request's body.
    """

    number: int
    method: str
    path: str
    operation: str
    actor: str
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the client gets in place of the real answer.

    Attributes:
        status: HTTP status.
        headers: Headers, `Retry-After` for instance.
        body: Body.
        after: Carry the request out first, and only then lie about it: the case that makes clients repeat themselves.
        drop: Close the connection without any answer; status, headers and body are not used.
        cut: Announce a longer body than is sent, and close the connection after it.
    """

    status: int = 502
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    after: bool = False
    drop: bool = False
    cut: bool = False


Faults: TypeAlias = Callable[[Call], Fault | None]
"""Consulted before each API request (not before git's own requests); None lets the request pass."""


def no_faults(_: Call) -> Fault | None:
    """Let every request pass."""
    return None


@dataclass(frozen=True, kw_only=True)
class Request:
    """An API request that was answered, for assertions. Fields as in `Call`.

    Attributes:
        method: HTTP verb.
        path: Path without the query.
        operation: See `Call`.
        actor: Login, or "".
        status: HTTP status sent; 0 when the connection was dropped.
        seconds: From the request's arrival to the answer, latency included.
        fault: Whether a fault replaced the answer.
        errors: GraphQL error types in the answer; validation errors appear by their extension code.
        content: Whether the request counts against the limits on content.
        limited: The limit that refused it, `primary` or `secondary`; "" for none.
    """

    method: str
    path: str
    operation: str
    actor: str
    status: int
    seconds: float
    fault: bool = False
    errors: tuple[str, ...] = ()
    content: bool = False
    limited: str = ""
