"""Repository rulesets: which change of a branch or tag they refuse, and to whom.

The shape is REST's, https://docs.github.com/en/rest/repos/rules#create-a-repository-ruleset; what each rule means is from
https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/available-rules-for-rulesets.
A rule or setting that this host does not hold is an error when it is added: a rule that is silently not held would let a
rehearsal pass that GitHub refuses.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import pathspec

from rehearsal.githost.model import HEADS, TAGS, Actor, Json

RULES: Final[Mapping[str, frozenset[str]]] = {
    "creation": frozenset(),
    "deletion": frozenset(),
    "non_fast_forward": frozenset(),
    "update": frozenset({"update_allows_fetch_and_merge"}),
    "pull_request": frozenset(
        {
            "allowed_merge_methods",
            "dismiss_stale_reviews_on_push",
            "require_code_owner_review",
            "require_last_push_approval",
            "required_approving_review_count",
            "required_review_thread_resolution",  # there are no threads here: always resolved
        }
    ),
    "required_status_checks": frozenset(
        {"do_not_enforce_on_create", "required_status_checks", "strict_required_status_checks_policy"}
    ),
}
"""Rules that are held, and the parameters of each that are read."""

_ACTOR_TYPES: Final = ("Integration", "OrganizationAdmin", "RepositoryRole", "Team")
_BYPASS_MODES: Final = ("always", "pull_request", "exempt")
_ENFORCEMENTS: Final = ("active", "disabled", "evaluate")
_TARGETS: Final[Mapping[str, str]] = {"branch": HEADS, "tag": TAGS}

REPOSITORY_ROLE_IDS: Final[Mapping[int, str]] = {2: "maintain", 4: "write", 5: "admin"}
"""Ids of the built-in roles in bypass lists, as the Terraform provider documents them:
https://registry.terraform.io/providers/integrations/github/latest/docs/resources/repository_ruleset#bypass_actors"""


@dataclass(frozen=True, kw_only=True)
class Ruleset:
    """A checked ruleset.

    Attributes:
        id: Number in the repository.
        name: Its name.
        active: Whether it is enforced.
        target: `branch` or `tag`: of which of the two it speaks.
        include: Ref patterns, with `~ALL` and `~DEFAULT_BRANCH`.
        exclude: Patterns taken out again.
        rules: Parameters by rule type.
        bypass: Bypass actors as given.
        given: The whole as it was given.
    """

    id: int
    name: str
    active: bool
    target: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    rules: Mapping[str, Json]
    bypass: tuple[Json, ...]
    given: Mapping[str, Any]

    def covers(self, ref: str, default_branch: str) -> bool:
        """Whether the ruleset speaks of a ref."""

        def among(patterns: Sequence[str]) -> bool:
            return any(_matches(pattern, ref, default_branch) for pattern in patterns)

        return self.active and ref.startswith(_TARGETS[self.target]) and among(self.include) and not among(self.exclude)

    def lets_pass(self, actor: Actor, *, merging: bool) -> bool:
        """Whether an actor is on the bypass list, for a push or for the merge of a pull request."""
        return actor.console or any(
            _is_actor(entry, actor) and (merging or entry.get("bypass_mode", "always") != "pull_request") for entry in self.bypass
        )


def _matches(pattern: str, ref: str, default_branch: str) -> bool:
    if pattern == "~ALL":
        return True
    if pattern == "~DEFAULT_BRANCH":
        return ref == HEADS + default_branch

    def walk(wanted: Sequence[str], got: Sequence[str]) -> bool:
        # Ruby's fnmatch with FNM_PATHNAME: `*` stays within one segment, and `**` spans segments only before a slash.
        # https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/creating-rulesets-for-a-repository#using-fnmatch-syntax
        if not wanted or not got:
            return not wanted and not got
        if wanted[0] == "**" and len(wanted) > 1:
            return any(walk(wanted[1:], got[skipped:]) for skipped in range(len(got)))
        return fnmatch.fnmatchcase(got[0], wanted[0]) and walk(wanted[1:], got[1:])

    return walk(pattern.split("/"), ref.split("/"))


def _is_actor(entry: Json, actor: Actor) -> bool:
    match entry["actor_type"]:
        case "Integration":
            return actor.app_id is not None and actor.app_id == entry["actor_id"]
        case "OrganizationAdmin":
            return actor.owner
        case "Team":
            return entry["actor_id"] in actor.teams
        case _:
            return actor.app_id is None and actor.role == REPOSITORY_ROLE_IDS.get(entry["actor_id"])


def _one_of(what: str, got: object, allowed: Sequence[str]) -> None:
    if got not in allowed:
        msg = f"{what} is {got!r}: this Git host holds {', '.join(sorted(allowed))}."
        raise ValueError(msg)


def parse(number: int, ruleset: Mapping[str, Any]) -> Ruleset:
    """Check a ruleset in REST's shape.

    Raises:
        ValueError: When it holds a rule, parameter, target or actor type that this host does not hold.
    """
    name = str(ruleset.get("name", f"ruleset {number}"))
    _one_of(f"{name}: target", ruleset.get("target", "branch"), list(_TARGETS))
    _one_of(f"{name}: enforcement", ruleset.get("enforcement", "active"), _ENFORCEMENTS)
    rules: dict[str, Json] = {}
    for rule in cast("Sequence[Json]", ruleset["rules"]):
        _one_of(f"{name}: rule type", rule["type"], list(RULES))
        parameters = cast("Json", rule.get("parameters") or {})
        for parameter in parameters:
            _one_of(f"{name}: parameter of {rule['type']}", parameter, sorted(RULES[rule["type"]]))
        for check in cast("Sequence[Json]", parameters.get("required_status_checks") or ()):
            for key in check:
                _one_of(f"{name}: key of a required check", key, ("context", "integration_id"))
        rules[rule["type"]] = parameters
    bypass = tuple(cast("Sequence[Json]", ruleset.get("bypass_actors") or ()))
    for entry in bypass:
        _one_of(f"{name}: bypass actor_type", entry["actor_type"], _ACTOR_TYPES)
        _one_of(f"{name}: bypass_mode", entry.get("bypass_mode", "always"), _BYPASS_MODES)
    names = cast("Json", cast("Json", ruleset["conditions"])["ref_name"])
    return Ruleset(
        id=number,
        name=name,
        active=ruleset.get("enforcement", "active") == "active",
        target=str(ruleset.get("target", "branch")),
        include=tuple(names["include"]),
        exclude=tuple(names.get("exclude") or ()),
        rules=rules,
        bypass=bypass,
        given=dict(ruleset),
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """The newest result of a status check on a commit: a commit status, or an App's check run.

    Attributes:
        context: Name of the check.
        app_id: The App that reported it, or None for a person.
        passed: Whether it lets a change pass.
        status: True for a commit status, False for a check run.
    """

    context: str
    app_id: int | None
    passed: bool
    status: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """A ref that is about to move.

    Attributes:
        ref: Full name.
        before: Commit before, or a tag's own object; None when it is created.
        after: Likewise after; None when it is deleted.
        forced: Whether `before` would no longer be an ancestor.
        reports: Results of the status checks on `after`.
    """

    ref: str
    before: str | None
    after: str | None
    forced: bool = False
    reports: tuple[Report, ...] = ()


def _passes(check: Json, reports: Sequence[Report]) -> bool:
    """Return whether a required check has passed.

    Where the rule names no App, a status and a check run of the same name are both required:
    https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/troubleshooting-required-status-checks
    Where it names one, a result that anyone else reported does not count. A commit has one status per context, the newest: one
    from elsewhere hides the App's. GitHub does not document that case; here the check is missing then, the strictest reading.
    https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/available-rules-for-rulesets#require-status-checks-to-pass-before-merging
    """
    named = [report for report in reports if report.context == check["context"]]
    app = check.get("integration_id")
    if app is not None:
        if any(report.status and report.app_id != app for report in named):
            return False
        named = [report for report in named if report.app_id == app]
    return bool(named) and all(report.passed for report in named)


def _missing_checks(parameters: Json, reports: Sequence[Report]) -> list[str]:
    checks = cast("Sequence[Json]", parameters.get("required_status_checks") or ())
    missing = [check for check in checks if not _passes(check, reports)]
    return [f"{len(missing)} of {len(checks)} required status checks are expected."] if missing else []


def _push_refusals(rules: Mapping[str, Json], change: Change) -> list[str]:
    """What one ruleset says to a push, an API commit or a change of a ref."""
    created, deleted = change.before is None, change.after is None
    moved = not created and not deleted
    kind = "tag" if change.ref.startswith(TAGS) else "branch"
    said: list[str] = []
    if deleted and "deletion" in rules:
        said.append(f"Cannot delete this {kind}")
    if created and "creation" in rules:
        said.append("Cannot create ref due to creations being restricted.")
    if moved and "update" in rules:
        said.append("Cannot update this protected ref.")
    if moved and change.forced and "non_fast_forward" in rules:
        said.append(f"Cannot force-push to this {kind}")
    if moved and "pull_request" in rules:
        said.append("Changes must be made through a pull request.")
    checks = rules.get("required_status_checks")
    if checks is not None and not deleted and not (created and checks.get("do_not_enforce_on_create")):
        said += _missing_checks(checks, change.reports)
    return said


def push_violations(rulesets: Sequence[Ruleset], default_branch: str, change: Change, actor: Actor) -> list[str]:
    """What refuses a change of a ref outside of a pull request, in GitHub's words; empty when nothing does."""
    return [
        line
        for ruleset in rulesets
        if ruleset.covers(change.ref, default_branch) and not ruleset.lets_pass(actor, merging=False)
        for line in _push_refusals(ruleset.rules, change)
    ]


@dataclass(frozen=True, kw_only=True)
class Merge:
    """A pull request that is about to be merged.

    Attributes:
        ref: Full name of the base.
        method: `merge`, `squash` or `rebase`.
        approvals: Logins with write access whose latest review approves the present head.
        last_pusher: Who pushed the head.
        reports: Results of the status checks on the head.
        up_to_date: Whether the head contains the base.
        owners: Owners of each changed path with a CODEOWNERS entry: any one of a path's owners suffices.
    """

    ref: str
    method: str
    approvals: frozenset[str]
    last_pusher: str
    reports: tuple[Report, ...]
    up_to_date: bool
    owners: tuple[frozenset[str], ...]


def _merge_refusals(rules: Mapping[str, Json], merge: Merge) -> list[str]:
    """What one ruleset says to the merge of a pull request."""
    said: list[str] = []
    if "update" in rules:
        said.append("Cannot update this protected ref.")
    if "pull_request" in rules:
        wants = rules["pull_request"]
        methods = cast("Sequence[str]", wants.get("allowed_merge_methods") or ("merge", "squash", "rebase"))
        if merge.method not in methods:
            said.append(f"Merge method {merge.method} is not allowed on this branch. Allowed: {', '.join(methods)}.")
        count = int(wants.get("required_approving_review_count") or 0)
        if len(merge.approvals) < count:
            verb = "review is" if count == 1 else "reviews are"
            said.append(f"At least {count} approving {verb} required by reviewers with write access.")
        if wants.get("require_code_owner_review"):
            waiting = {owner for owners in merge.owners if not owners & merge.approvals for owner in owners}
            if waiting:
                said.append(f"Waiting on code owner review from {' and/or '.join(sorted(waiting))}.")
        if wants.get("require_last_push_approval") and not merge.approvals - {merge.last_pusher}:
            said.append("New changes require approval from someone other than the last pusher.")
    checks = rules.get("required_status_checks")
    if checks is not None:
        said += _missing_checks(checks, merge.reports)
        if checks.get("strict_required_status_checks_policy") and not merge.up_to_date:
            said.append("The head branch is not up to date with the base branch.")
    return said


def merge_violations(rulesets: Sequence[Ruleset], default_branch: str, merge: Merge, actor: Actor) -> list[str]:
    """What refuses the merge of a pull request, in GitHub's words; empty when nothing does."""
    return [
        line
        for ruleset in rulesets
        if ruleset.covers(merge.ref, default_branch) and not ruleset.lets_pass(actor, merging=True)
        for line in _merge_refusals(ruleset.rules, merge)
    ]


def dismisses_stale_reviews(rulesets: Sequence[Ruleset], default_branch: str, ref: str) -> bool:
    """Whether an approval of a pull request into this ref is lost when its head moves."""
    return any(
        ruleset.rules.get("pull_request", {}).get("dismiss_stale_reviews_on_push")
        for ruleset in rulesets
        if ruleset.covers(ref, default_branch)
    )


def code_owners(text: str, paths: Sequence[str], members: Callable[[str], frozenset[str]]) -> tuple[frozenset[str], ...]:
    """Return the owners of each path that has any: the last matching line of a CODEOWNERS file counts.

    A path whose line names only owners that GitHub does not accept has none.
    https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners#codeowners-syntax

    Args:
        text: The file.
        paths: Changed paths.
        members: Logins of the people behind an owner, `login` or `organisation/team`, both without the `@`; none for an
            owner that GitHub does not accept.
    """
    lines = [line.split("#", 1)[0].split() for line in text.splitlines()]
    entries = [
        (pathspec.PathSpec.from_lines("gitignore", [words[0]]), [word.lstrip("@") for word in words[1:]])
        for words in lines
        if words
    ]
    found: list[frozenset[str]] = []
    for path in paths:
        matching = [owners for spec, owners in entries if spec.match_file(path)]
        people = frozenset[str]().union(*(members(owner) for owner in matching[-1])) if matching else frozenset[str]()
        if people:
            found.append(people)
    return tuple(found)
