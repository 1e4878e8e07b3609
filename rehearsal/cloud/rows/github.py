"""What the program declares at GitHub, made at the rehearsal's Git host.

The provider acts as an organization owner, whom the branches' rules hold unless a bypass list names owners.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows
from rehearsal.cloud.rows.parts import ours, told
from rehearsal.githost.identity import PROVIDER
from rehearsal.githost.model import Problem
from rehearsal.program import Created

if TYPE_CHECKING:
    from rehearsal.githost.records import Repository
    from rehearsal.githost.webhooks import Hook

_KEPT: Final = "the Git host keeps it; what it stands for is not played"
# GitHub's own default, which an organization may have changed: the program must not count on it.
_FIRST_BRANCH: Final = "main"
# A renaming that is not waited for is not seen by the next request.
_UNSEEN_READS: Final = 2

P = ParamSpec("P")
R = TypeVar("R")


def _refused(row: Callable[Concatenate[Ask, P], R]) -> Callable[Concatenate[Ask, P], R]:
    """What the Git host refuses is why the resource cannot be made."""

    @functools.wraps(row)
    def guarded(ask: Ask, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return row(ask, *args, **kwargs)
        except (Problem, ValueError) as error:
            msg = f"the Git host refused it: {error}"
            raise RealiseError(msg) from error

    return guarded


def _full_name(ask: Ask, key: str = "repository") -> str:
    return f"{ask.owner}/{ask.inputs.needed(key)}"


def _repo(ask: Ask, name: str) -> "Repository | None":
    return ask.github.repository(f"{ask.owner}/{name}")


# Repository


_SWITCHES: Final = {
    "allowAutoMerge": "allow_auto_merge",
    "allowMergeCommit": "allow_merge_commit",
    "allowRebaseMerge": "allow_rebase_merge",
    "allowSquashMerge": "allow_squash_merge",
    "deleteBranchOnMerge": "delete_branch_on_merge",
    "description": "description",
    "hasIssues": "has_issues",
    "hasProjects": "has_projects",
    "hasWiki": "has_wiki",
    "visibility": "visibility",
}
# Of a private repository: https://docs.github.com/en/rest/repos/repos#create-an-organization-repository
_SWITCH_DEFAULTS: Final = {
    "allowAutoMerge": False,
    "allowMergeCommit": True,
    "allowRebaseMerge": True,
    "allowSquashMerge": True,
    "deleteBranchOnMerge": False,
    "hasIssues": True,
    "hasProjects": True,
    "hasWiki": True,
    "visibility": "private",
}


@_refused
def _repository(ask: Ask) -> Created:
    inputs, name = ask.inputs, _full_name(ask, "name")
    ask.github.create_repository(name, default_branch=_FIRST_BRANCH, auto_init=inputs.flag("autoInit"))
    _switch(ask, name)
    inputs.leave("archiveOnDestroy", "counts when it is deleted")
    return ask.done(inputs.needed("name"), **_repository_outputs(ask, inputs.needed("name")))


def _switch(ask: Ask, full_name: str) -> None:
    inputs = ask.inputs
    ask.github.edit_repository(full_name, inputs.renamed(_SWITCHES))
    inputs.lost("visibility", "every repository of the Git host is private")
    for switch in ("allowMergeCommit", "allowSquashMerge", "allowRebaseMerge"):
        inputs.lost(switch, "the branches' rules say the same, and are held")
    for switch in ("allowAutoMerge", "deleteBranchOnMerge", "description", "hasIssues", "hasProjects", "hasWiki"):
        inputs.lost(switch, _KEPT)


def _repository_outputs(ask: Ask, name: str) -> dict[str, Any]:
    repo = _repo(ask, name)
    if repo is None:
        msg = f"{ask.owner} has no repository {name}"
        raise RealiseError(msg)
    return {
        "name": name,
        "fullName": repo.full_name,
        "nodeId": f"R_{repo.full_name}",
        "repoId": repo.id,
        "defaultBranch": repo.default_branch,
    }


@_refused
def _read_repository(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    repo = _repo(ask, id_)
    if repo is None:
        return None
    # `autoInit` and `archiveOnDestroy` say what happens at its two ends.
    switches = {**_SWITCH_DEFAULTS, **ours(repo.settings, _SWITCHES)}
    return told(ask, {**_repository_outputs(ask, id_), **switches, "archived": repo.archived}, archived=False, **_SWITCH_DEFAULTS)


@_refused
def _update_repository(ask: Ask, id_: str) -> Created:
    # What is no longer declared goes back to GitHub's default.
    defaults = {theirs: _SWITCH_DEFAULTS.get(mine, "") for mine, theirs in _SWITCHES.items()}
    ask.github.edit_repository(f"{ask.owner}/{id_}", defaults)
    _switch(ask, f"{ask.owner}/{id_}")
    return ask.done(id_, **_repository_outputs(ask, id_))


@_refused
def _delete_repository(ask: Ask, id_: str) -> None:
    repo = _repo(ask, id_)
    if repo is None:
        return
    if ask.inputs.flag("archiveOnDestroy"):
        ask.github.archive_repository(repo.full_name)
    else:
        ask.github.delete_repository(repo.full_name)


# Branches


@_refused
def _default_branch(ask: Ask) -> Created:
    name, branch = _full_name(ask), ask.inputs.needed("branch")
    repo = _repo(ask, ask.inputs.needed("repository"))
    rename, wait = ask.inputs.flag("rename"), ask.inputs.flag("waitForRename")
    if rename and repo is not None and repo.default_branch != branch:
        ask.github.rename_branch(name, repo.default_branch, branch, unseen_reads=_UNSEEN_READS)
        while wait and not ask.github.sees_branch(name, branch):
            pass
    else:
        ask.github.set_default_branch(name, branch)
    return ask.done(ask.inputs.needed("repository"))


def _seen(ask: Ask, branch: str) -> None:
    """Look a branch up as the provider does before it writes there.

    Raises:
        RealiseError: it is not found.
    """
    if not ask.github.sees_branch(_full_name(ask), branch):
        msg = f"branch {branch} not found in repository {_full_name(ask)}. After a renaming, declare waitForRename"
        raise RealiseError(msg)


@_refused
def _read_default_branch(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    repo = _repo(ask, id_)
    # `rename` and `waitForRename` say how it came to be. There is one from the first commit on.
    if repo is None or repo.store.head(repo.default_branch) is None:
        return None
    return {"repository": id_, "branch": repo.default_branch}


def _keep_default_branch(ask: Ask, id_: str) -> None:
    """A repository is never without a default branch: what is taken away is only that the program says which.

    The provider sends GitHub an empty default branch, which changes nothing.
    """


@_refused
def _branch(ask: Ask) -> Created:
    inputs = ask.inputs
    branch, source = inputs.needed("branch"), inputs.needed("sourceBranch")
    if ask.github.head(_full_name(ask), branch) is not None:
        msg = f"{branch}: Reference already exists"
        raise RealiseError(msg)
    _seen(ask, source)
    ask.github.create_branch(_full_name(ask), branch, source=source, actor=PROVIDER)
    return ask.done(f"{inputs.needed('repository')}:{branch}", ref=f"refs/heads/{branch}")


@_refused
def _read_branch(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    name, _, branch = id_.partition(":")
    repo = _repo(ask, name)
    if repo is None or repo.store.head(branch) is None:
        return None
    # Git does not know what a branch was made from.
    return {"repository": name, "branch": branch, "ref": f"refs/heads/{branch}"}


@_refused
def _delete_branch(ask: Ask, id_: str) -> None:
    name, _, branch = id_.partition(":")
    repo = _repo(ask, name)
    if repo is not None and repo.store.head(branch) is not None:
        ask.github.delete_branch(repo.full_name, branch, actor=PROVIDER)


# Files


@_refused
def _file(ask: Ask) -> Created:
    inputs, may = ask.inputs, ask.inputs.flag("overwriteOnCreate")
    there = ask.github.read(_full_name(ask), inputs.needed("branch"), inputs.needed("file"))
    if there is not None and not may:
        msg = f"{inputs.needed('file')} is there already, and overwriteOnCreate is not set: refusing to overwrite it"
        raise RealiseError(msg)
    return _put_file(ask)


def _put_file(ask: Ask) -> Created:
    inputs = ask.inputs
    path, branch = inputs.needed("file"), inputs.needed("branch")
    _seen(ask, branch)
    content = inputs.needed("content").encode()
    commit = ask.github.put_contents(_full_name(ask), branch, {path: content}, inputs.needed("commitMessage"))
    return ask.done(f"{inputs.needed('repository')}/{path}", commitSha=commit)


def _file_of(ask: Ask, id_: str) -> "tuple[Repository, str, str] | None":
    """Repository, branch and path of an id, to which an import may add `:` and the branch."""
    rest, _, named = id_.partition(":")
    name, _, path = rest.partition("/")
    repo = _repo(ask, name)
    if repo is None:
        return None
    return repo, named or ask.inputs.text("branch", repo.default_branch), path


@_refused
def _read_file(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    place = _file_of(ask, id_)
    content = ask.github.read(place[0].full_name, place[1], place[2]) if place else None
    if place is None or content is None:
        return None
    # Not `commitMessage`: whoever has changed the file since has said something else.
    return {
        "repository": place[0].full_name.partition("/")[2],
        "branch": place[1],
        "file": place[2],
        "content": content.decode(errors="replace"),
    }


@_refused
def _update_file(ask: Ask, id_: str) -> Created:
    del id_  # repository and path, which the inputs say too
    return _put_file(ask)


@_refused
def _delete_file(ask: Ask, id_: str) -> None:
    place = _file_of(ask, id_)
    if place is not None and ask.github.read(place[0].full_name, place[1], place[2]) is not None:
        changes = {place[2]: None}
        ask.github.put_contents(place[0].full_name, place[1], changes, f"Delete {place[2]}")


# Rulesets


_SIMPLE_RULES: Final = {
    "creation": "creation",
    "deletion": "deletion",
    "nonFastForward": "non_fast_forward",
    "requiredLinearHistory": "required_linear_history",
    "update": "update",
}
_PULL_REQUEST: Final = {
    "allowedMergeMethods": "allowed_merge_methods",
    "dismissStaleReviewsOnPush": "dismiss_stale_reviews_on_push",
    "requireCodeOwnerReview": "require_code_owner_review",
    "requireLastPushApproval": "require_last_push_approval",
    "requiredApprovingReviewCount": "required_approving_review_count",
    "requiredReviewThreadResolution": "required_review_thread_resolution",
}
_CHECK: Final = {"context": "context", "integrationId": "integration_id"}
_STRICT: Final = {"strictRequiredStatusChecksPolicy": "strict_required_status_checks_policy"}
_BYPASS: Final = {"actorId": "actor_id", "actorType": "actor_type", "bypassMode": "bypass_mode"}


@_refused
def _ruleset(ask: Ask) -> Created:
    number = ask.github.add_ruleset(_full_name(ask), _as_rest(ask.inputs))
    return ask.done(str(number), rulesetId=number)


def _as_rest(inputs: Inputs) -> Mapping[str, Any]:
    names = inputs.block("conditions").block("refName")
    return {
        "name": inputs.needed("name"),
        "target": inputs.needed("target"),
        "enforcement": inputs.needed("enforcement"),
        "conditions": {"ref_name": {"include": names.texts("includes"), "exclude": names.texts("excludes")}},
        "bypass_actors": [each.renamed(_BYPASS) for each in inputs.blocks("bypassActors")],
        "rules": list(_rules(inputs.block("rules"))),
    }


def _rules(rules: Inputs) -> Sequence[Mapping[str, Any]]:
    """Pulumi's block of rules as REST's list: https://docs.github.com/en/rest/repos/rules ."""
    found: list[Mapping[str, Any]] = [{"type": theirs} for mine, theirs in _SIMPLE_RULES.items() if rules.flag(mine)]
    if rules.has("pullRequest"):
        found.append({"type": "pull_request", "parameters": rules.block("pullRequest").renamed(_PULL_REQUEST)})
    if rules.has("requiredStatusChecks"):
        wanted = rules.block("requiredStatusChecks")
        checks: list[Mapping[str, Any]] = []
        for each in wanted.blocks("requiredChecks"):
            each.needed("context")
            checks.append(each.renamed(_CHECK))
        found.append(
            {
                "type": "required_status_checks",
                "parameters": {"required_status_checks": checks, **wanted.renamed(_STRICT)},
            }
        )
    return found


def _ruleset_of(ask: Ask, id_: str) -> "tuple[Repository, int, Mapping[str, Any]] | None":
    """A ruleset by its number, which is unique at GitHub; an import puts the repository and `:` before it."""
    number = id_.rpartition(":")[2]
    for repo in ask.github.repositories(ask.owner):
        if number.isdecimal() and int(number) in repo.rulesets:
            return repo, int(number), repo.rulesets[int(number)].given
    return None


@_refused
def _read_ruleset(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    place = _ruleset_of(ask, id_)
    if place is None:
        return None
    repo, number, given = place
    names: Mapping[str, Any] = given["conditions"]["ref_name"]
    bypass: Sequence[Mapping[str, Any]] = given.get("bypass_actors", [])
    there = {
        "repository": repo.full_name.partition("/")[2],
        "rulesetId": number,
        **{key: given[key] for key in ("name", "target", "enforcement")},
        "conditions": {"refName": {"includes": names["include"], "excludes": names.get("exclude", [])}},
        "bypassActors": [ours(each, _BYPASS) for each in bypass],
        "rules": _shown_rules(given["rules"], ask.request.inputs.get("rules") or {}),
    }
    return told(ask, there)


def _shown_rules(rules: Sequence[Mapping[str, Any]], declared: Mapping[str, Any]) -> dict[str, Any]:
    held: dict[str, Mapping[str, Any]] = {each["type"]: each.get("parameters", {}) for each in rules}
    # One that is declared as false is no rule at GitHub.
    found: dict[str, Any] = {
        mine: theirs in held for mine, theirs in _SIMPLE_RULES.items() if theirs in held or declared.get(mine) is not None
    }
    if "pull_request" in held:
        found["pullRequest"] = ours(held["pull_request"], _PULL_REQUEST)
    if "required_status_checks" in held:
        checks = held["required_status_checks"]
        found["requiredStatusChecks"] = {
            "requiredChecks": [ours(each, _CHECK) for each in checks["required_status_checks"]],
            **ours(checks, _STRICT),
        }
    return found


@_refused
def _update_ruleset(ask: Ask, id_: str) -> Created:
    number = int(id_.rpartition(":")[2])
    ask.github.set_ruleset(_full_name(ask), number, _as_rest(ask.inputs))
    return ask.done(id_, rulesetId=number)


@_refused
def _delete_ruleset(ask: Ask, id_: str) -> None:
    place = _ruleset_of(ask, id_)
    if place is not None:
        ask.github.delete_ruleset(place[0].full_name, place[1])


# Webhooks


@_refused
def _webhook(ask: Ask) -> Created:
    parts = _webhook_parts(ask.inputs)
    there = ask.github.webhooks(_full_name(ask))
    if any((each.url, set(each.events)) == (parts["url"], set(parts["events"])) for each in there):
        msg = f"{parts['url']}: Hook already exists on this repository"
        raise RealiseError(msg)
    number = ask.github.add_webhook(_full_name(ask), **parts)
    return ask.done(str(number), url=_hook_url(ask, _full_name(ask), number))


def _hook_url(ask: Ask, full_name: str, number: int) -> str:
    """Where the API has it, not where it leads."""
    return f"{ask.github.url}/repos/{full_name}/hooks/{number}"


def _webhook_parts(inputs: Inputs) -> dict[str, Any]:
    wanted = inputs.block("configuration")
    wanted.lost("insecureSsl", "deliveries always check the certificate")
    return {
        "url": wanted.needed("url"),
        "content_type": wanted.needed("contentType"),
        "secret": wanted.text("secret"),
        "insecure_ssl": wanted.flag("insecureSsl"),
        "events": inputs.texts("events"),
        "active": inputs.flag("active", default=True),
    }


def _hook_of(ask: Ask, id_: str) -> "Hook | None":
    """A webhook by its number, which is unique at GitHub; an import puts the repository and `/` before it."""
    number = id_.rpartition("/")[2]
    repos = ask.github.repositories(ask.owner)
    hooks = (each for repo in repos for each in ask.github.webhooks(repo.full_name))
    return next((each for each in hooks if str(each.id) == number), None)


@_refused
def _read_webhook(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _hook_of(ask, id_)
    if found is None:
        return None
    declared: Mapping[str, Any] = ask.request.inputs.get("configuration") or {}
    configuration: dict[str, Any] = {"url": found.url, "contentType": found.content_type}
    if declared.get("secret") is not None:
        # GitHub hands back asterisks: the provider keeps what it knows.
        configuration["secret"] = declared["secret"]
    if found.insecure_ssl or declared.get("insecureSsl") is not None:
        configuration["insecureSsl"] = found.insecure_ssl
    there = {
        "repository": found.repository.partition("/")[2],
        "url": _hook_url(ask, found.repository, found.id),
        "configuration": configuration,
        "events": list(found.events),
        "active": found.active,
    }
    return told(ask, there, active=True)


@_refused
def _update_webhook(ask: Ask, id_: str) -> Created:
    found, parts = _hook_of(ask, id_), _webhook_parts(ask.inputs)
    if found is None:
        msg = f"{ask.owner} has no webhook {id_}"
        raise RealiseError(msg)
    ask.github.set_webhook(dataclasses.replace(found, **{**parts, "events": tuple(parts["events"])}))
    return ask.done(id_, url=_hook_url(ask, found.repository, found.id))


@_refused
def _delete_webhook(ask: Ask, id_: str) -> None:
    found = _hook_of(ask, id_)
    if found is not None:
        ask.github.delete_webhook(found.id)


# Teams and variables


@_refused
def _team_repository(ask: Ask) -> Created:
    inputs = ask.inputs
    team, permission = inputs.needed("teamId"), inputs.text("permission", "pull")
    ask.github.set_team_permission(_full_name(ask), team, permission)
    inputs.lost("permission", "it decides who can own code; people have one role in every repository of the Git host")
    return ask.done(f"{team}:{inputs.needed('repository')}")


@_refused
def _read_team_repository(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    team, _, name = id_.partition(":")
    repo = _repo(ask, name)
    if repo is None or team not in repo.teams:
        return None
    return told(ask, {"teamId": team, "repository": name, "permission": repo.teams[team]}, permission="pull")


@_refused
def _delete_team_repository(ask: Ask, id_: str) -> None:
    team, _, name = id_.partition(":")
    repo = _repo(ask, name)
    if repo is not None:
        ask.github.set_team_permission(repo.full_name, team, None)


@_refused
def _variable(ask: Ask) -> Created:
    name, repo = ask.inputs.needed("variableName"), _repo(ask, ask.inputs.needed("repository"))
    if repo is not None and name in repo.variables:
        msg = f"{name}: Already exists - Variable already exists"
        raise RealiseError(msg)
    return _put_variable(ask)


def _put_variable(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("variableName")
    ask.github.set_variable(_full_name(ask), name, inputs.needed("value"))
    return ask.done(f"{inputs.needed('repository')}:{name}")


@_refused
def _read_variable(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    name, _, variable = id_.partition(":")
    repo = _repo(ask, name)
    if repo is None or variable not in repo.variables:
        return None
    return {"repository": name, "variableName": variable, "value": repo.variables[variable]}


@_refused
def _update_variable(ask: Ask, id_: str) -> Created:
    del id_  # repository and name, which the inputs say too
    return _put_variable(ask)


@_refused
def _delete_variable(ask: Ask, id_: str) -> None:
    name, _, variable = id_.partition(":")
    repo = _repo(ask, name)
    if repo is not None:
        ask.github.set_variable(repo.full_name, variable, None)


# Environments and the tokens of workflow runs


@_refused
def _environment(ask: Ask) -> Created:
    name = ask.inputs.needed("environment")
    repo = _repo(ask, ask.inputs.needed("repository"))
    policy = ask.inputs.block("deploymentBranchPolicy")
    if policy.flag("protectedBranches"):
        msg = "the Git host does not play protectedBranches: give the branches as policies, with customBranchPolicies"
        raise RealiseError(msg)
    there = repo.environments.get(name) if repo else None
    custom = policy.flag("customBranchPolicies")
    ask.github.set_environment(
        _full_name(ask),
        name,
        # The policies are resources of their own, and stay.
        branches=(there.branches or () if there else ()) if custom else None,
        can_admins_bypass=ask.inputs.flag("canAdminsBypass", default=True),
    )
    ask.inputs.lost("canAdminsBypass", "the Git host keeps it; nobody passes an environment's protection there")
    return ask.done(f"{ask.inputs.needed('repository')}:{name}", repositoryId=repo.id if repo else 0)


@_refused
def _read_environment(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    name, _, environment = id_.partition(":")
    repo = _repo(ask, name)
    found = repo.environments.get(environment) if repo else None
    if repo is None or found is None:
        return None
    limits = {"deploymentBranchPolicy": {"customBranchPolicies": True, "protectedBranches": False}} if found.limited else {}
    there = {
        "repository": name,
        "environment": environment,
        "repositoryId": repo.id,
        "canAdminsBypass": found.can_admins_bypass,
        **limits,
    }
    return told(ask, there, canAdminsBypass=True)


@_refused
def _delete_environment(ask: Ask, id_: str) -> None:
    name, _, environment = id_.partition(":")
    repo = _repo(ask, name)
    if repo is not None:
        ask.github.delete_environment(repo.full_name, environment)


@_refused
def _branch_policy(ask: Ask) -> Created:
    name, environment = ask.inputs.needed("repository"), ask.inputs.needed("environment")
    repo = _repo(ask, name)
    number = ask.github.add_branch_policy(_full_name(ask), environment, ask.inputs.needed("branchPattern"))
    return ask.done(f"{name}:{environment}:{number}", policyId=number, repositoryId=repo.id if repo else 0)


def _policies_of(ask: Ask, id_: str) -> "tuple[Repository, str, dict[int, str], int] | None":
    """Return repository, environment, its policies and the number of one, if it exists."""
    name, _, rest = id_.partition(":")
    environment, _, number = rest.rpartition(":")
    repo = _repo(ask, name)
    found = repo.environments.get(environment) if repo else None
    if repo is None or found is None or not number.isdecimal() or int(number) not in found.policies:
        return None
    return repo, environment, found.policies, int(number)


@_refused
def _read_branch_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    place = _policies_of(ask, id_)
    if place is None:
        return None
    repo, environment, policies, number = place
    return {
        "repository": repo.full_name.partition("/")[2],
        "environment": environment,
        "branchPattern": policies[number],
        "policyId": number,
        "repositoryId": repo.id,
    }


@_refused
def _update_branch_policy(ask: Ask, id_: str) -> Created:
    place = _policies_of(ask, id_)
    if place is None:
        msg = f"{ask.owner} has no deployment branch policy {id_}"
        raise RealiseError(msg)
    repo, _, policies, number = place
    policies[number] = ask.inputs.needed("branchPattern")
    return ask.done(id_, policyId=number, repositoryId=repo.id)


@_refused
def _delete_branch_policy(ask: Ask, id_: str) -> None:
    place = _policies_of(ask, id_)
    if place is not None:
        del place[2][place[3]]


@_refused
def _workflow_permissions(ask: Ask) -> Created:
    inputs = ask.inputs
    ask.github.set_workflow_permissions(
        _full_name(ask),
        default=inputs.needed("defaultWorkflowPermissions"),
        can_approve=inputs.flag("canApprovePullRequestReviews"),
    )
    return ask.done(inputs.needed("repository"))


@_refused
def _read_workflow_permissions(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    repo = _repo(ask, id_)
    if repo is None:
        return None
    return {
        "repository": id_,
        "defaultWorkflowPermissions": repo.workflow_permissions,
        "canApprovePullRequestReviews": repo.actions_may_approve,
    }


@_refused
def _reset_workflow_permissions(ask: Ask, id_: str) -> None:
    """Set what the provider sets when the resource is deleted: a repository is never without these."""
    repo = _repo(ask, id_)
    if repo is not None:
        ask.github.set_workflow_permissions(repo.full_name, default="read", can_approve=False)


ROWS: Final[Rows] = {
    "github:index/actionsVariable:ActionsVariable": Row(
        create=_variable,
        read=_read_variable,
        update=_update_variable,
        delete=_delete_variable,
        replaces=frozenset({"repository", "variableName"}),
    ),
    # Not from another branch, nor under another name: a branch of these is one of an environment.
    "github:index/branch:Branch": Row(create=_branch, read=_read_branch, delete=_delete_branch),
    "github:index/branchDefault:BranchDefault": Row(
        create=_default_branch,
        read=_read_default_branch,
        update=lambda ask, _: _default_branch(ask),
        delete=_keep_default_branch,
        replaces=frozenset({"repository"}),
    ),
    # GitHub would rename it; an id here is a name, and stays.
    "github:index/repository:Repository": Row(
        create=_repository,
        read=_read_repository,
        update=_update_repository,
        delete=_delete_repository,
        replaces=frozenset({"name"}),
    ),
    "github:index/repositoryFile:RepositoryFile": Row(
        create=_file,
        read=_read_file,
        update=_update_file,
        delete=_delete_file,
        replaces=frozenset({"repository", "branch", "file"}),
    ),
    "github:index/repositoryEnvironment:RepositoryEnvironment": Row(
        create=_environment,
        read=_read_environment,
        update=lambda ask, _: _environment(ask),
        delete=_delete_environment,
        replaces=frozenset({"repository", "environment"}),
    ),
    "github:index/repositoryEnvironmentDeploymentPolicy:RepositoryEnvironmentDeploymentPolicy": Row(
        create=_branch_policy,
        read=_read_branch_policy,
        update=_update_branch_policy,
        delete=_delete_branch_policy,
        replaces=frozenset({"repository", "environment"}),
    ),
    # https://docs.github.com/en/rest/repos/rules#update-a-repository-ruleset takes all but the repository.
    "github:index/repositoryRuleset:RepositoryRuleset": Row(
        create=_ruleset,
        read=_read_ruleset,
        update=_update_ruleset,
        delete=_delete_ruleset,
        replaces=frozenset({"repository"}),
    ),
    "github:index/repositoryWebhook:RepositoryWebhook": Row(
        create=_webhook,
        read=_read_webhook,
        update=_update_webhook,
        delete=_delete_webhook,
        replaces=frozenset({"repository"}),
    ),
    "github:index/teamRepository:TeamRepository": Row(
        create=_team_repository,
        read=_read_team_repository,
        update=lambda ask, _: _team_repository(ask),
        delete=_delete_team_repository,
        replaces=frozenset({"repository", "teamId"}),
    ),
    "github:index/workflowRepositoryPermissions:WorkflowRepositoryPermissions": Row(
        create=_workflow_permissions,
        read=_read_workflow_permissions,
        update=lambda ask, _: _workflow_permissions(ask),
        delete=_reset_workflow_permissions,
        replaces=frozenset({"repository"}),
    ),
}
