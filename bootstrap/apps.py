"""The GitHub Apps of the platform: what each may do, where, and where its key is kept.

`SCOPES` is the one place that says which permissions an App needs. docs/adopt.md's table is tested against it.
Names are those of https://docs.github.com/en/rest/apps/apps#get-an-installation-for-the-authenticated-app (`permissions`);
`actions_variables` is the permission that GitHub's pages call "Variables".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components import naming
from components.settings import Settings

LEVELS: Final = ("read", "write", "admin")
APPS_BY_FILE: Final = ("promoter", "deployer")
"""Apps whose keys are in no account: GitHub environments keep them."""
DEPLOYER_VARIABLE: Final = "SLIPWAY_DEPLOYER_APP"

SCOPES: Final[Mapping[str, Mapping[str, str]]] = {
    "writer": {"contents": "write"},
    # It opens, approves and merges pull requests and reports the status `verify <branch>`.
    "promoter": {"contents": "write", "pull_requests": "write", "statuses": "write"},
    "reader": {"contents": "read"},
    # With `gitops.reportHealth`.
    "reader that reports health": {"contents": "read", "statuses": "write"},
    # It sets the status of each built commit (components/build_reports.py).
    "reporter": {"statuses": "write"},
    # Every cluster registers a webhook in the GitOps repository.
    "deployer": {"repository_hooks": "write"},
    # It declares the GitOps repository: its rules, branches, first files, environments and variables.
    "deployer of the owner": {
        "repository_hooks": "write",
        "administration": "write",
        "contents": "write",
        "workflows": "write",
        "environments": "write",
        "actions_variables": "write",
    },
}
# GitHub grants it to every App that has any repository permission:
# https://docs.github.com/en/apps/creating-github-apps/registering-a-github-app/choosing-permissions-for-a-github-app
_GIVEN: Final = {"metadata": "read"}


@dataclass(frozen=True, kw_only=True)
class App:
    """One App as this stack needs it.

    Attributes:
        name: For people, such as `writer of develop`.
        key: Key of its rows, such as `app:writer-develop`.
        app_id: Its id in the settings; None for a deployer, which a variable of GitHub names by its client id.
        installation_id: Id of its installation; None likewise.
        permissions: What it needs, and no more.
        repositories: Names of the repositories that its installation selects once the GitOps repository exists.
        tolerated: Names of repositories that it may select as well.
        secret: Name of the Secrets Manager secret with its key, "" where its key is in no account.
        by_file: Its name for `--app-key`, "" where its key is in Secrets Manager.
        environment: GitHub environment of the platform repository whose variable names it, "" where the settings do.
    """

    name: str
    key: str
    app_id: int | None
    installation_id: int | None
    permissions: Mapping[str, str]
    repositories: Sequence[str]
    tolerated: Sequence[str] = ()
    secret: str = ""
    by_file: str = ""
    environment: str = ""


def apps(settings: Settings, applications: Sequence[str] = ()) -> Iterator[App]:
    """Yield the Apps that this stack uses.

    Args:
        settings: The stack's settings.
        applications: Names of the application repositories. The owner declares their rules (`protect_repository`).
    """
    gitops = settings.gitops
    for name, track in settings.hosted_tracks.items():
        yield App(
            name=f"writer of {name}",
            key=f"app:writer-{name}",
            app_id=track.writer.app_id,
            installation_id=track.writer.installation_id,
            permissions=SCOPES["writer"],
            repositories=[gitops.repository],
            secret=naming.app_key_secret(name),
        )
    if settings.clusters:
        yield App(
            name="reader",
            key="app:reader",
            app_id=gitops.reader.app_id,
            installation_id=gitops.reader.installation_id,
            permissions=SCOPES["reader that reports health" if gitops.report_health else "reader"],
            repositories=[gitops.repository],
            secret=naming.argocd_secret("reader"),
        )
    reporter = settings.builds.reporter if settings.builds and settings.hosted_tracks else None
    if reporter is not None:
        yield App(
            name="reporter",
            key="app:reporter",
            app_id=reporter.app_id,
            installation_id=reporter.installation_id,
            permissions=SCOPES["reporter"],
            repositories=applications,
            secret=naming.reporter_key_secret(),
        )
    if settings.owns_gitops:
        yield App(
            name="promoter",
            key="app:promoter",
            app_id=gitops.promoter.app_id,
            installation_id=gitops.promoter.installation_id,
            permissions=SCOPES["promoter"],
            repositories=[gitops.repository],
            by_file="promoter",
        )
    yield App(
        name=f"deployer of {settings.stack}",
        key="app:deployer",
        app_id=None,
        installation_id=None,
        permissions=SCOPES["deployer of the owner" if settings.owns_gitops else "deployer"],
        repositories=[gitops.repository],
        tolerated=applications if settings.owns_gitops else (),
        by_file="deployer",
        environment=settings.access.deploy_environment,
    )


def missing_permissions(needed: Mapping[str, str], granted: Mapping[str, str]) -> Sequence[str]:
    """Return the permissions that an installation lacks, as `name: level`."""
    return [f"{name}: {level}" for name, level in sorted(needed.items()) if _level(granted.get(name)) < _level(level)]


def excess_permissions(needed: Mapping[str, str], granted: Mapping[str, str]) -> Sequence[str]:
    """Return the permissions that an installation has and does not need, as `name: level`."""
    allowed = {**_GIVEN, **needed}
    return [f"{name}: {level}" for name, level in sorted(granted.items()) if _level(level) > _level(allowed.get(name))]


def _level(level: str | None) -> int:
    return LEVELS.index(level) + 1 if level in LEVELS else 0
