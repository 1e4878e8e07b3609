"""What the program declares at GitHub, made at the rehearsal's Git host."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rehearsal.cloud.row import Ask, Inputs, Row, Rows
from rehearsal.program import Created

_NOT_KEPT: Final = "the Git host has no such switch; what it stands for is not played"
# GitHub's own default, which an organization may have changed: the program must not count on it.
_FIRST_BRANCH: Final = "main"


def _full_name(ask: Ask, key: str = "repository") -> str:
    return f"{ask.owner}/{ask.inputs.needed(key)}"


def _repository(ask: Ask) -> Created:
    inputs, name = ask.inputs, _full_name(ask, "name")
    ask.github.create_repository(name, default_branch=_FIRST_BRANCH, auto_init=inputs.flag("autoInit"))
    inputs.leave("visibility", "every repository of the Git host is private")
    for switch in ("allowMergeCommit", "allowSquashMerge", "allowRebaseMerge"):
        inputs.leave(switch, "the branches' rules say the same, and are held")
    for switch in (
        "allowAutoMerge",
        "archiveOnDestroy",
        "deleteBranchOnMerge",
        "description",
        "hasIssues",
        "hasProjects",
        "hasWiki",
    ):
        inputs.leave(switch, _NOT_KEPT)
    return ask.done(inputs.needed("name"), fullName=name, nodeId=f"R_{name}", repoId=1, defaultBranch=_FIRST_BRANCH)


def _default_branch(ask: Ask) -> Created:
    name, branch = _full_name(ask), ask.inputs.needed("branch")
    if ask.inputs.flag("rename"):
        ask.github.rename_branch(name, _FIRST_BRANCH, branch)
    ask.github.set_default_branch(name, branch)
    return ask.done(ask.inputs.needed("repository"))


def _file(ask: Ask) -> Created:
    inputs = ask.inputs
    path = inputs.needed("file")
    commit = ask.github.put_file(
        _full_name(ask),
        inputs.needed("branch"),
        path,
        inputs.needed("content").encode(),
        inputs.needed("commitMessage"),
        author="pulumi",
    )
    inputs.leave("overwriteOnCreate", "the Git host overwrites in any case")
    return ask.done(f"{inputs.needed('repository')}/{path}", commitSha=commit)


def _branch(ask: Ask) -> Created:
    inputs = ask.inputs
    branch, source = inputs.needed("branch"), inputs.needed("sourceBranch")
    ask.github.create_branch(_full_name(ask), branch, source=source)
    return ask.done(f"{inputs.needed('repository')}:{branch}", ref=f"refs/heads/{branch}")


def _ruleset(ask: Ask) -> Created:
    inputs = ask.inputs
    names = inputs.block("conditions").block("refName")
    ruleset = {
        "name": inputs.needed("name"),
        "target": inputs.needed("target"),
        "enforcement": inputs.needed("enforcement"),
        "conditions": {"ref_name": {"include": names.texts("includes"), "exclude": names.texts("excludes")}},
        "bypass_actors": [
            {
                "actor_id": each.number("actorId"),
                "actor_type": each.needed("actorType"),
                "bypass_mode": each.needed("bypassMode"),
            }
            for each in inputs.blocks("bypassActors")
        ],
        "rules": list(_rules(inputs.block("rules"))),
    }
    number = ask.github.add_ruleset(_full_name(ask), ruleset)
    return ask.done(str(number), rulesetId=number)


def _rules(rules: Inputs) -> Sequence[Mapping[str, Any]]:
    """Pulumi's block of rules as REST's list: https://docs.github.com/en/rest/repos/rules ."""
    found: list[Mapping[str, Any]] = [
        {"type": theirs}
        for ours, theirs in (
            ("creation", "creation"),
            ("deletion", "deletion"),
            ("nonFastForward", "non_fast_forward"),
            ("requiredLinearHistory", "required_linear_history"),
            ("update", "update"),
        )
        if rules.flag(ours)
    ]
    if rules.has("pullRequest"):
        wanted = rules.block("pullRequest")
        parameters = wanted.renamed(
            {
                "allowedMergeMethods": "allowed_merge_methods",
                "dismissStaleReviewsOnPush": "dismiss_stale_reviews_on_push",
                "requireCodeOwnerReview": "require_code_owner_review",
                "requireLastPushApproval": "require_last_push_approval",
                "requiredApprovingReviewCount": "required_approving_review_count",
                "requiredReviewThreadResolution": "required_review_thread_resolution",
            }
        )
        found.append({"type": "pull_request", "parameters": parameters})
    if rules.has("requiredStatusChecks"):
        wanted = rules.block("requiredStatusChecks")
        checks: list[Mapping[str, str]] = []
        for each in wanted.blocks("requiredChecks"):
            checks.append({"context": each.needed("context")})
            each.leave("integrationId", "the Git host takes a check's result from whoever may report one")
        parameters = {
            "required_status_checks": checks,
            "strict_required_status_checks_policy": wanted.flag("strictRequiredStatusChecksPolicy"),
        }
        found.append({"type": "required_status_checks", "parameters": parameters})
    return found


def _webhook(ask: Ask) -> Created:
    inputs = ask.inputs
    wanted = inputs.block("configuration")
    number = ask.github.add_webhook(
        _full_name(ask),
        url=wanted.needed("url"),
        content_type=wanted.needed("contentType"),
        secret=wanted.text("secret"),
        events=inputs.texts("events"),
    )
    wanted.leave("insecureSsl", "deliveries always check the certificate")
    inputs.leave("active", "every webhook of the Git host is active")
    return ask.done(str(number), url=wanted.needed("url"))


ROWS: Final[Rows] = {
    "github:index/branch:Branch": Row(create=_branch),
    "github:index/branchDefault:BranchDefault": Row(create=_default_branch),
    "github:index/repository:Repository": Row(create=_repository),
    "github:index/repositoryFile:RepositoryFile": Row(create=_file),
    "github:index/repositoryRuleset:RepositoryRuleset": Row(create=_ruleset),
    "github:index/repositoryWebhook:RepositoryWebhook": Row(create=_webhook),
}
