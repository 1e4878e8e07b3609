"""What the host remembers beside Git: repositories' rules, pull requests, reviews, checks."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rehearsal.githost.model import Actor, Json
from rehearsal.githost.rules import Ruleset
from rehearsal.githost.store import Store


@dataclass(kw_only=True)
class Review:
    """A review of a pull request.

    Attributes:
        actor: Reviewer.
        state: `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED` or `DISMISSED`.
        commit: Head that was reviewed.
        body: Text.
        seconds: When, since 1970.
    """

    actor: Actor
    state: str
    commit: str
    body: str
    seconds: float


@dataclass(kw_only=True)
class Pull:
    """A pull request within one repository.

    Attributes:
        number: Counts the repository's pull requests from 1.
        title: Title.
        body: Description.
        head: Branch to merge.
        base: Branch to merge into.
        head_oid: Head's commit; follows the branch while open.
        base_oid: Base's commit when it was opened, and before the merge once merged.
        author: Who opened it.
        seconds: When, since 1970.
        draft: Whether it is a draft.
        state: `open` or `closed`.
        merge_oid: What the merge made, None while unmerged.
        merged_by: Who merged.
        reviews: In order.
    """

    number: int
    title: str
    body: str
    head: str
    base: str
    head_oid: str
    base_oid: str
    author: Actor
    seconds: float
    draft: bool = False
    state: str = "open"
    merge_oid: str | None = None
    merged_by: Actor | None = None
    reviews: list[Review] = field(default_factory=list[Review])

    def reviewers(self, verdict: str) -> frozenset[str]:
        """Logins with write access whose latest verdict is this one; a mere comment is no verdict."""
        latest = {review.actor.login: review for review in self.reviews if review.state != "COMMENTED"}
        found = (review for review in latest.values() if review.state == verdict)
        return frozenset(review.actor.login for review in found if review.actor.may("contents", "write"))


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of a tag.

    Attributes:
        id: Number in the repository.
        tag: Name of the tag.
        name: Title.
        body: Description.
        author: Who made it.
        seconds: When, since 1970.
    """

    id: int
    tag: str
    name: str
    body: str
    author: Actor
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Status:
    """A commit status: the newest of its context, for older ones nobody asks.

    Attributes:
        state: `success`, `failure`, `error` or `pending`.
        description: Text beside it, or None.
        target_url: Where it leads, or None.
        creator: Who set it.
        seconds: When, since 1970.
        count: How many the commit has had of this context, with this one.
    """

    state: str
    description: str | None
    target_url: str | None
    creator: Actor
    seconds: float
    count: int


@dataclass(kw_only=True)
class Repository:
    """One repository.

    Attributes:
        id: Number on the host.
        full_name: `owner/name`.
        store: The bare repository.
        default_branch: Short name.
        rulesets: By number.
        pulls: By number.
        releases: By tag, in the order in which they were made.
        statuses: Newest status by context by commit.
        pushers: Who last moved a branch.
        settings: What else the owner has said of it, such as `description`, in REST's names: kept and not acted on.
        teams: Permission by team: kept and not acted on, for people have one role in every repository.
        variables: Variables of Actions by name.
        archived: Whether nothing may change any more.
        lock: Held around read, check and update.
    """

    id: int
    full_name: str
    store: Store
    default_branch: str
    rulesets: dict[int, Ruleset] = field(default_factory=dict[int, Ruleset])
    pulls: dict[int, Pull] = field(default_factory=dict[int, Pull])
    releases: dict[str, Release] = field(default_factory=dict[str, Release])
    statuses: dict[str, dict[str, Status]] = field(default_factory=dict[str, dict[str, Status]])
    pushers: dict[str, str] = field(default_factory=dict[str, str])
    settings: Json = field(default_factory=dict[str, Any])
    teams: dict[str, str] = field(default_factory=dict[str, str])
    variables: dict[str, str] = field(default_factory=dict[str, str])
    archived: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def passed(self, commit: str | None) -> frozenset[str]:
        """Contexts of the status checks that succeeded on a commit."""
        found: Mapping[str, Status] = self.statuses.get(commit or "", {})
        return frozenset(context for context, status in found.items() if status.state == "success")
