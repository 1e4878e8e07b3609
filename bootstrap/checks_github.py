"""Checks of GitHub: the organization, its repositories, the Apps, and the environments that hold their keys."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from bootstrap.apps import DEPLOYER_VARIABLE, App, apps, excess_permissions, missing_permissions
from bootstrap.checks_aws import key_fault
from bootstrap.github import GitHubError, KeyRefusedError
from bootstrap.look import Check, Look
from bootstrap.place import Place, secret_exists, secret_value
from bootstrap.report import Row, State, Step
from components.settings import Settings

DEPLOYER_KEY: Final = "SLIPWAY_DEPLOYER_KEY"
PROMOTER_KEY: Final = "SLIPWAY_PROMOTER_KEY"
PROMOTER_ENVIRONMENT: Final = "slipway-promoter"
VERIFY_ENVIRONMENT: Final = "slipway-verify"
DEPLOY_SWITCH: Final = "SLIPWAY_DEPLOY"
# Of the platform repository: .github/workflows/deploy.yml runs from it only.
PLATFORM_BRANCH: Final = "main"


# Organization, team, repositories


def organization(look: Look, check: Check) -> Iterator[Row]:
    """Look whether the organization is the one of the settings, and whether its plan has what the rules need."""
    wanted = look.place.settings.organization
    found = look.outside.github.get(f"/orgs/{wanted.name}")
    if found is None:
        yield check.missing(f"organization {wanted.name} is not there", "Correct slipway:organization.name: gh org list")
        return
    if found["id"] == wanted.id:
        yield check.ready(f"organization {wanted.name} has the id {wanted.id}", name="id")
    else:
        yield check.missing(
            f"organization {wanted.name} has the id {found['id']}, and slipway:organization.id is {wanted.id}",
            f"gh api orgs/{wanted.name} --jq .id, and correct slipway:organization.id in every stack file",
            name="id",
        )
    plan = str(cast("Mapping[str, Any]", found.get("plan") or {}).get("name") or "")
    page = f"https://github.com/organizations/{wanted.name}/billing/plans"
    if not plan:
        yield check.not_looked_at(
            "the organization's plan: GitHub shows it to owners only", f"Take an owner's token, or look at {page}", name="plan"
        )
    elif plan == "free":
        yield check.missing(
            "the organization's plan is free, which has no rulesets for private repositories",
            f"Choose Team or Enterprise: {page}",
            name="plan",
        )
    else:
        # https://docs.github.com/en/get-started/learning-about-github/githubs-plans
        reviewers = "" if plan == "enterprise" else "; it has no required reviewers of environments for private repositories"
        yield check.ready(f"the organization's plan is {plan}, which has rulesets{reviewers}", name="plan")


def team(look: Look, check: Check) -> Iterator[Row]:
    """Look whether the code owners are there: a team that does not exist, or has no member, owns nothing."""
    org, slug = look.place.settings.organization.name, look.place.settings.gitops.team
    if look.outside.github.get(f"/orgs/{org}/teams/{slug}") is None:
        yield check.missing(
            f"team {slug} does not exist", f"gh api --method POST orgs/{org}/teams -f name={slug} -f privacy=closed"
        )
        return
    members = look.outside.github.items(f"/orgs/{org}/teams/{slug}/members") or []
    needed = look.place.settings.gitops.reviewers + 1
    add = f"gh api --method PUT orgs/{org}/teams/{slug}/memberships/LOGIN"
    if len(members) >= needed:
        yield check.ready(f"team {slug} has {len(members)} members")
    else:
        yield check.missing(
            f"team {slug} has {len(members)} members: whoever opens a pull request cannot approve it, so {needed} are needed", add
        )


def repositories(look: Look, check: Check) -> Iterator[Row]:
    """Look whether each application repository has the branches that this stack's pipelines build."""
    settings = look.place.settings
    org = settings.organization.name
    tracks = settings.tracks if settings.owns_gitops else settings.hosted_tracks
    branches = sorted({each.application_branch for each in tracks.values()})
    for name in look.repositories:
        found = look.outside.github.get(f"/repos/{org}/{name}")
        if found is None:
            yield check.missing(
                f"application repository {org}/{name} is not there, or the token may not see it",
                f"gh repo create {org}/{name} --private, or take the service out of services.py for now",
                name=name,
            )
            continue
        absent = [each for each in branches if look.outside.github.get(f"/repos/{org}/{name}/branches/{each}") is None]
        if absent:
            yield check.missing(
                f"{org}/{name} has no branch {' and no branch '.join(absent)}: its pipeline runs once when it is made, and fails",
                " && ".join(
                    f"gh api --method POST repos/{org}/{name}/git/refs -f ref=refs/heads/{each} "
                    f'-f sha="$(gh api repos/{org}/{name}/commits/{found["default_branch"]} --jq .sha)"'
                    for each in absent
                ),
                name=name,
            )
        else:
            yield check.ready(f"{org}/{name} has {' and '.join(branches)}", name=name)


def platform(look: Look, check: Check) -> Iterator[Row]:
    """Look whether the platform repository is the one that the roles of GitHub Actions trust."""
    settings = look.place.settings
    wanted, org = settings.access.repository, settings.organization.name
    found = look.outside.github.get(f"/repos/{org}/{wanted.name}")
    if found is None:
        yield check.missing(
            f"platform repository {org}/{wanted.name} is not there", f"gh repo create {org}/{wanted.name} --private"
        )
    elif found["id"] != wanted.id:
        yield check.missing(
            f"{org}/{wanted.name} has the id {found['id']}, and slipway:access.repository.id is {wanted.id}",
            f"gh api repos/{org}/{wanted.name} --jq .id, and correct slipway:access.repository.id in every stack file",
        )
    elif found["default_branch"] != PLATFORM_BRANCH:
        yield check.missing(
            f"the default branch of {org}/{wanted.name} is {found['default_branch']}, and deploy.yml runs from {PLATFORM_BRANCH}",
            f"gh api --method POST repos/{org}/{wanted.name}/branches/{found['default_branch']}/rename "
            f"-f new_name={PLATFORM_BRANCH}",
        )
    else:
        yield check.ready(f"platform repository {org}/{wanted.name} has the id {wanted.id}")


def gitops(look: Look, check: Check) -> Iterator[Row]:
    """Look whether the owner has made the GitOps repository, and whether the settings know its id."""
    settings = look.place.settings
    name, wanted = settings.gitops_repository, settings.gitops.id
    found = look.outside.github.get(f"/repos/{name}")
    command = f"gh api repos/{name} --jq .id"
    if found is None:
        yield check.missing(f"the GitOps repository {name} is not there", f"pulumi up --stack {settings.gitops.owner}")
    elif wanted is None:
        yield check.missing(
            f"{name} is there, and slipway:gitops.id is not set", f"{command}, and set slipway:gitops.id in every stack file"
        )
    elif found["id"] != wanted:
        yield check.missing(
            f"{name} has the id {found['id']}, and slipway:gitops.id is {wanted}", f"{command}, and correct slipway:gitops.id"
        )
    else:
        yield check.ready(f"the GitOps repository {name} has the id {wanted}")


# Apps


def app(look: Look, check: Check, wanted: App) -> Iterator[Row]:
    """Look at an App's installation: what it may do, and where."""
    settings = look.place.settings
    org = settings.organization.name
    identity: int | str | None = wanted.app_id
    if identity is None:
        identity = _variable_of(look, wanted.environment)
        if identity is None:
            yield check.missing(
                f"{wanted.name}: environment {wanted.environment} has no variable {DEPLOYER_VARIABLE}",
                f"gh variable set {DEPLOYER_VARIABLE} --env {wanted.environment} --repo {_platform(settings)} --body CLIENT_ID",
            )
            return
    key = _key_of(look, wanted)
    if wanted.secret and not key:
        yield check.not_looked_at(
            f"{wanted.name}: its key is not in secret {wanted.secret}", f"Fill the secret, or: {check.see.format(org=org)}"
        )
        return
    try:
        found = _installation(look, wanted, identity, key)
    except KeyRefusedError:
        yield check.missing(
            f"{wanted.name}: GitHub does not accept its key as one of App {identity}",
            "Make a new private key on the App's page, and put it where the old one is",
        )
        return
    if found is None:
        yield check.missing(
            f"{wanted.name}: App {identity} has no installation {wanted.installation_id or 'in the organization'}",
            f"Install the App on selected repositories, and note the number at the end of the address: https://github.com/organizations/{org}/settings/installations",
        )
        return
    yield from _judge(look, check, wanted, found)
    if key:
        yield from _selected(look, check, wanted, identity, key)


def _judge(look: Look, check: Check, wanted: App, found: Mapping[str, Any]) -> Iterator[Row]:
    org = look.place.settings.organization.name
    page = f"https://github.com/organizations/{org}/settings/installations/{found['id']}"
    if str(found["account"]["login"]).lower() != org.lower():
        yield check.missing(
            f"{wanted.name} is installed at {found['account']['login']}, not at {org}", "Correct its ids in the settings"
        )
        return
    if found.get("suspended_at"):
        yield check.missing(f"{wanted.name} is suspended", f"Unsuspend it: {page}", name="suspended")
    granted = cast("Mapping[str, str]", found["permissions"])
    lacking = missing_permissions(wanted.permissions, granted)
    excess = excess_permissions(wanted.permissions, granted)
    if lacking:
        yield check.missing(
            f"{wanted.name} lacks {', '.join(lacking)}",
            f"Add it on the App's page (Permissions & events), then accept it for the installation: {page}",
            name="permissions",
        )
    if excess:
        yield check.missing(
            f"{wanted.name} may do more than it needs: {', '.join(excess)}",
            f"Take it away on the App's page (Permissions & events): https://github.com/organizations/{org}/settings/apps",
            name="excess",
        )
    if not lacking and not excess:
        listed = ", ".join(f"{name}: {level}" for name, level in sorted(wanted.permissions.items()))
        yield check.ready(f"{wanted.name} has {listed}, and no more", name="permissions")
    if found["repository_selection"] != "selected":
        yield check.missing(
            f"{wanted.name} is installed on all repositories of {org}",
            f"Choose 'Only select repositories': {page}",
            name="selection",
        )


def _selected(look: Look, check: Check, wanted: App, identity: int | str, key: str) -> Iterator[Row]:
    """Look which of the platform's repositories the installation selects, without a token of it."""
    settings, github = look.place.settings, look.outside.github
    org = settings.organization.name
    # Before the owner's first `up` there is no GitOps repository, and the platform repository stands in for it.
    exists = github.get_as_app(f"/repos/{settings.gitops_repository}/installation", identity, key) is not None
    known = sorted({settings.gitops.repository, settings.access.repository.name, *look.repositories})
    selected = [each for each in known if github.get_as_app(f"/repos/{org}/{each}/installation", identity, key) is not None]
    lacking = sorted(set(wanted.repositories) - set(selected))
    more = sorted(set(selected) - set(wanted.repositories) - set(wanted.tolerated))
    page = f"https://github.com/organizations/{org}/settings/installations/{wanted.installation_id or ''}".rstrip("/")
    moving = _row_after(check, look, exists=exists)
    if lacking:
        yield moving(f"{wanted.name} is not installed on {', '.join(lacking)}", f"Select it: {page}", "repositories")
    if more:
        yield moving(
            f"{wanted.name} is installed on {', '.join(more)} as well", f"Take it off there: {page}", "more-repositories"
        )
    if not lacking and not more:
        yield check.ready(f"{wanted.name} is installed on {', '.join(selected)} alone", name="repositories")


def _row_after(check: Check, look: Look, *, exists: bool) -> Any:  # noqa: ANN401 — a function that makes a row
    """Return what makes a row of the step that moves installations: the owner's `up` comes before it."""

    def make(text: str, fix: str, name: str) -> Row:
        later = not exists and look.place.settings.owns_gitops and not look.up
        state = State.LATER if later else State.MISSING
        return Row(key=f"{check.key}:{name}", step=Step.HAND_OVER, state=state, text=text, fix=fix)

    return make


def _installation(look: Look, wanted: App, identity: int | str, key: str) -> Mapping[str, Any] | None:
    """Return an App's installation: as the App sees it where its key is at hand, else as an owner of the organization does."""
    github, org = look.outside.github, look.place.settings.organization.name
    if key and wanted.installation_id is not None:
        about = github.get_as_app("/app", identity, key)
        if about is None:
            msg = f"GitHub has no App {identity}"
            raise GitHubError(msg)
        return github.get_as_app(f"/app/installations/{wanted.installation_id}", identity, key)
    listed = github.items(f"/orgs/{org}/installations", "installations")
    if listed is None:
        msg = "GitHub shows the organization's installations to its owners only"
        raise GitHubError(msg)
    same = [each for each in listed if str(identity) in {str(each.get("client_id")), str(each["app_id"])}]
    return next((each for each in same if wanted.installation_id in {None, each["id"]}), None)


def _key_of(look: Look, wanted: App) -> str:
    if wanted.by_file:
        path = look.app_keys.get(wanted.by_file)
        text = path.read_text(encoding="utf-8") if path else ""
    else:
        client = look.place.client("secretsmanager")
        text = (secret_value(client, wanted.secret) or "") if secret_exists(client, wanted.secret) else ""
    return "" if text and key_fault(text, pem=True) else text


def _variable_of(look: Look, environment: str) -> str | None:
    path = f"/repos/{_platform(look.place.settings)}/environments/{environment}/variables/{DEPLOYER_VARIABLE}"
    found = look.outside.github.get(path)
    return None if found is None else str(found["value"])


# Environments


def _platform(settings: Settings) -> str:
    return f"{settings.organization.name}/{settings.access.repository.name}"


def make_environment(repository: str, environment: str, branch: str) -> str:
    """Return the commands that make an environment and limit it to one branch.

    https://docs.github.com/en/rest/deployments/environments#create-or-update-an-environment
    """
    at = f"repos/{repository}/environments/{environment}"
    return (
        f"gh api --method PUT {at} -F 'deployment_branch_policy[protected_branches]=false' "
        "-F 'deployment_branch_policy[custom_branch_policies]=true' && "
        f"gh api --method POST {at}/deployment-branch-policies -f name={branch}"
    )


def _limited(look: Look, check: Check, repository: str, environment: str, branch: str) -> Iterator[Row]:
    """Look whether an environment exists and whether only one branch's jobs get its secrets."""
    github = look.outside.github
    at = f"/repos/{repository}/environments/{environment}"
    found = github.get(at)
    if found is None:
        yield check.missing(
            f"{repository} has no environment {environment}", make_environment(repository, environment, branch), name=environment
        )
        return
    policies = github.items(f"{at}/deployment-branch-policies", "branch_policies") or []
    policy = cast("Mapping[str, Any]", found.get("deployment_branch_policy") or {})
    custom = bool(policy.get("custom_branch_policies"))
    named = sorted(str(each["name"]) for each in policies) if custom else []
    if named == [branch]:
        yield check.ready(f"environment {environment} of {repository} is limited to {branch}", name=environment)
    else:
        allowed = ", ".join(named) if custom else "any branch that may push to it"
        yield check.missing(
            f"environment {environment} of {repository} gives its secrets to {allowed}, not to {branch} alone",
            make_environment(repository, environment, branch),
            name=environment,
        )


def _names(look: Look, path: str, key: str) -> set[str]:
    return {str(each["name"]) for each in look.outside.github.items(path, key) or []}


def deploy_environment(look: Look, check: Check) -> Iterator[Row]:
    """Look whether the deploy workflow finds its environment, its App and its App's key."""
    settings = look.place.settings
    repository, environment = _platform(settings), settings.access.deploy_environment
    rows = list(_limited(look, check, repository, environment, PLATFORM_BRANCH))
    yield from rows
    at = f"/repos/{repository}/environments/{environment}"
    if look.outside.github.get(at) is None:
        return
    for kind, key, wanted, command in (
        (
            "secret",
            "secrets",
            DEPLOYER_KEY,
            f"gh secret set {DEPLOYER_KEY} --env {environment} --repo {repository} < deployer-{settings.stack}.pem",
        ),
        (
            "variable",
            "variables",
            DEPLOYER_VARIABLE,
            f"gh variable set {DEPLOYER_VARIABLE} --env {environment} --repo {repository} --body CLIENT_ID",
        ),
    ):
        if wanted in _names(look, f"{at}/{key}", key):
            yield check.ready(f"environment {environment} has the {kind} {wanted}", name=wanted)
        else:
            yield check.missing(f"environment {environment} has no {kind} {wanted}", command, name=wanted)


def variables(look: Look, check: Check) -> Iterator[Row]:
    """Look whether the workflows know this stack, and have a runner for each purpose."""
    settings = look.place.settings
    repository = _platform(settings)
    found = {
        str(each["name"]): str(each["value"])
        for each in look.outside.github.items(f"/repos/{repository}/actions/variables", "variables") or []
    }
    for name, wanted in wanted_variables(settings).items():
        fix = f"gh variable set {name} --repo {repository} --body {wanted}"
        if found.get(name) == wanted:
            yield check.ready(f"variable {name} is {wanted}", name=name)
        else:
            got = f"is {found[name]}" if name in found else "is not set"
            yield check.missing(f"variable {name} of {repository} {got}, and {wanted} is meant", fix, name=name)
    preview, deploy = runner_variables(settings.stack)
    for name in (preview, deploy):
        fix = f"gh variable set {name} --repo {repository} --body LABEL"
        if not found.get(name):
            yield check.missing(
                f"variable {name} of {repository} is not set: GitHub's own runners do not reach the clusters", fix, name=name
            )
        elif found.get(preview) == found.get(deploy):
            yield check.missing(
                f"{preview} and {deploy} are both {found[name]}: a pull request's code would leave its traces for a deployment",
                fix,
                name=name,
            )
        else:
            yield check.ready(f"variable {name} is {found[name]}", name=name)


def wanted_variables(settings: Settings) -> Mapping[str, str]:
    """Return the repository variables of the platform repository that follow from the settings."""
    prefix = f"SLIPWAY_{settings.stack.upper().replace('-', '_')}"
    return {
        f"{prefix}_ACCOUNT": settings.environment.account,
        f"{prefix}_REGION": settings.environment.region,
        DEPLOY_SWITCH: "true",
    }


def runner_variables(stack: str) -> tuple[str, str]:
    """Return the variables with the labels of the preview's and of the deployment's runners."""
    prefix = f"SLIPWAY_{stack.upper().replace('-', '_')}"
    return f"{prefix}_PREVIEW_RUNNER", f"{prefix}_DEPLOY_RUNNER"


def promoter_key(look: Look, check: Check) -> Iterator[Row]:
    """Look whether only the default branch's workflows of the GitOps repository get the promoter's key."""
    settings, github = look.place.settings, look.outside.github
    repository, branch = settings.gitops_repository, settings.environments[settings.gitops.owner].gitops_branch
    if github.get(f"/repos/{repository}") is None:
        yield check.missing(f"the GitOps repository {repository} is not there", f"pulumi up --stack {settings.gitops.owner}")
        return
    yield from _limited(look, check, repository, PROMOTER_ENVIRONMENT, branch)
    put = f"gh secret set {PROMOTER_KEY} --env {PROMOTER_ENVIRONMENT} --repo {repository} < promoter.pem"
    if PROMOTER_KEY in _names(look, f"/repos/{repository}/environments/{PROMOTER_ENVIRONMENT}/secrets", "secrets"):
        yield check.ready(f"environment {PROMOTER_ENVIRONMENT} has the secret {PROMOTER_KEY}", name="key")
    else:
        yield check.missing(f"environment {PROMOTER_ENVIRONMENT} has no secret {PROMOTER_KEY}", put, name="key")
    org = settings.organization.name
    for kind, path, command in (
        ("repository", f"/repos/{repository}/actions/secrets", f"gh secret delete {PROMOTER_KEY} --repo {repository}"),
        ("organization", f"/repos/{repository}/actions/organization-secrets", f"gh secret delete {PROMOTER_KEY} --org {org}"),
    ):
        if PROMOTER_KEY in _names(look, path, "secrets"):
            yield check.missing(
                f"{PROMOTER_KEY} is a secret of the {kind}, which a workflow on any branch can read", command, name=kind
            )
    if github.get(f"/repos/{repository}/environments/{VERIFY_ENVIRONMENT}") is None:
        yield check.missing(
            f"{repository} has no environment {VERIFY_ENVIRONMENT}",
            f"gh api --method PUT repos/{repository}/environments/{VERIFY_ENVIRONMENT}",
            name=VERIFY_ENVIRONMENT,
        )
    elif secrets := sorted(_names(look, f"/repos/{repository}/environments/{VERIFY_ENVIRONMENT}/secrets", "secrets")):
        yield check.missing(
            f"environment {VERIFY_ENVIRONMENT} has secrets, which a pull request's files could reach: {', '.join(secrets)}",
            " && ".join(f"gh secret delete {each} --env {VERIFY_ENVIRONMENT} --repo {repository}" for each in secrets),
            name=VERIFY_ENVIRONMENT,
        )
    else:
        yield check.ready(f"environment {VERIFY_ENVIRONMENT} has no secrets", name=VERIFY_ENVIRONMENT)


def github_checks(place: Place, repositories_: Sequence[str]) -> Iterator[Check]:
    """Yield the checks that this stack needs of GitHub."""
    settings = place.settings
    yield Check(
        key="organization", step=Step.SETTINGS, subject="the organization", find=organization, see="gh api orgs/{org} --jq .id"
    )
    yield Check(
        key="platform",
        step=Step.SETTINGS,
        subject="the platform repository",
        find=platform,
        see="gh api repos/{platform} --jq .id",
    )
    if settings.owns_gitops:
        yield Check(
            key="team",
            step=Step.PEOPLE,
            subject="the team",
            find=team,
            see="gh api orgs/{org}/teams/{team}/members --jq '.[].login'",
        )
    if settings.owns_gitops or settings.hosted_tracks:
        yield Check(
            key="repository",
            step=Step.PEOPLE,
            subject="application repositories",
            find=repositories,
            see="gh repo list {org}",
        )
    yield Check(
        key="gitops",
        step=Step.OWNER,
        subject="the GitOps repository",
        find=gitops,
        see="gh api repos/{gitops} --jq .id",
        after_up=settings.owns_gitops,
    )
    for wanted in apps(settings, repositories_):
        yield Check(
            key=wanted.key,
            step=Step.ACTIONS if wanted.environment else Step.APPS,
            subject=f"App {wanted.name}",
            find=lambda look, check, wanted=wanted: app(look, check, wanted),
            see="gh api orgs/{org}/installations --jq '.installations[] | [.id, .app_slug, .permissions, .repository_selection]'",
            after_up=bool(wanted.environment),
        )
    if settings.owns_gitops:
        yield Check(
            key="promoter-key",
            step=Step.HAND_OVER,
            subject="the promoter's key",
            find=promoter_key,
            see=f"gh secret list --env {PROMOTER_ENVIRONMENT} --repo {{gitops}}",
            after_up=True,
        )
    yield Check(
        key="environment",
        step=Step.ACTIONS,
        subject=f"environment {settings.access.deploy_environment}",
        find=deploy_environment,
        see=f"gh api repos/{{platform}}/environments/{settings.access.deploy_environment}",
        after_up=True,
    )
    yield Check(
        key="variable",
        step=Step.ACTIONS,
        subject="the workflows' variables",
        find=variables,
        see="gh variable list --repo {platform}",
        after_up=True,
    )
