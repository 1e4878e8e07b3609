"""What the host remembers beside Git: repositories' rules, pull requests, reviews, checks."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rehearsal.githost.model import Actor, Json
from rehearsal.githost.rules import Report, Ruleset
from rehearsal.githost.store import Store

PASSING: Final = frozenset({"success", "skipped", "neutral"})
"""Conclusions of a check run that a required check accepts.
https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-protected-branches/about-protected-branches#require-status-checks-before-merging"""


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
        """Return the logins with write access whose latest verdict is this one; a mere comment is no verdict.

        An App needs write access to pull requests to review at all, and its review counts as any other.
        """
        latest = {review.actor.login: review for review in self.reviews if review.state != "COMMENTED"}
        found = (review for review in latest.values() if review.state == verdict)
        return frozenset(
            review.actor.login for review in found if review.actor.app_id is not None or review.actor.may("contents", "write")
        )

    def dismiss_approvals(self) -> None:
        """Dismiss every approval, as GitHub does to a stale one."""
        for review in self.reviews:
            if review.state == "APPROVED":
                review.state = "DISMISSED"


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
class CheckRun:
    """A check run: an App's result on a commit. https://docs.github.com/en/rest/checks/runs .

    Attributes:
        id: Number on the host.
        name: Its name.
        commit: The commit that was checked.
        app: The App that reports it.
        status: `queued`, `in_progress` or `completed`.
        conclusion: Its result once it is completed, else None.
        seconds: When it was last changed, since 1970.
    """

    id: int
    name: str
    commit: str
    app: Actor
    status: str
    conclusion: str | None
    seconds: float


@dataclass(kw_only=True)
class Environment:
    """An environment for the jobs of workflows.

    https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments

    Attributes:
        name: Its name.
        limited: Whether only runs of branches that match a policy may use it.
        policies: Name patterns of these branches, by number.
        can_admins_bypass: Whether administrators may pass its protection rules.
        secrets: Secrets of its jobs by name.
        variables: Variables of its jobs by name.
    """

    name: str
    limited: bool = False
    policies: dict[int, str] = field(default_factory=dict[int, str])
    can_admins_bypass: bool = True
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    variables: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def branches(self) -> tuple[str, ...] | None:
        """Name patterns of the branches whose runs may use it; None for all branches and tags."""
        return tuple(self.policies.values()) if self.limited else None


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
        checks: Check runs by number, in the order in which they were made.
        pushers: Who last moved a branch.
        unsettled: How many reads still do not find a branch, since it has its name by a renaming.
        settings: What else the owner has said of it, such as `description`, in REST's names: kept and not acted on.
        teams: Permission by team; it decides whether the team can own code. People have one role in every repository.
        variables: Variables of Actions by name.
        secrets: Secrets of Actions by name: any pushed workflow can read them.
        environments: Environments by name.
        workflow_permissions: What the token of a workflow run may do where the workflow does not say: `read` or `write`.
            An organization can choose either, so the program must not rely on the safer one.
        actions_may_approve: Whether workflow runs may open and approve pull requests; as `workflow_permissions`.
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
    checks: dict[int, CheckRun] = field(default_factory=dict[int, CheckRun])
    unsettled: dict[str, int] = field(default_factory=dict[str, int])
    pushers: dict[str, str] = field(default_factory=dict[str, str])
    settings: Json = field(default_factory=dict[str, Any])
    teams: dict[str, str] = field(default_factory=dict[str, str])
    variables: dict[str, str] = field(default_factory=dict[str, str])
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    environments: dict[str, Environment] = field(default_factory=dict[str, Environment])
    workflow_permissions: str = "write"
    actions_may_approve: bool = True
    archived: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def sees(self, branch: str) -> bool:
        """Return whether a read finds a branch's name by now; each call is one read.

        A renaming takes a while to be seen: https://github.com/integrations/terraform-provider-github/pull/3216
        """
        left = self.unsettled.pop(branch, 0)
        if left > 1:
            self.unsettled[branch] = left - 1
        return not left

    def reports(self, commit: str | None) -> tuple[Report, ...]:
        """Return the newest results on a commit: one status per context, one check run per App and name."""
        statuses: Mapping[str, Status] = self.statuses.get(commit or "", {})
        runs = {(run.app.app_id, run.name): run for run in self.checks.values() if run.commit == commit}
        return (
            *(
                Report(context=context, app_id=each.creator.app_id, passed=each.state == "success", status=True)
                for context, each in statuses.items()
            ),
            *(
                Report(context=name, app_id=app_id, passed=run.conclusion in PASSING, status=False)
                for (app_id, name), run in runs.items()
            ),
        )
