"""What the deployer App's token must be able to do at GitHub, from what a stack declares. Pure.

The deploy workflow asks for exactly this (`python -m bootstrap.deployer`), so that a stolen token of dev's reaches no setting
of the GitOps repository. tests/components/test_deployer.py holds the table against the declared resources.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from components.catalogue import Catalogue
from components.settings import Settings

# Permissions by resource type, as https://docs.github.com/en/rest/authentication/permissions-required-for-github-apps lists
# them for the calls that the provider makes; names as in the API of installation tokens.
PERMISSIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "github:index/branch:Branch": {"contents": "write"},
    "github:index/branchDefault:BranchDefault": {"administration": "write", "contents": "write"},
    "github:index/repository:Repository": {"administration": "write"},
    "github:index/repositoryEnvironment:RepositoryEnvironment": {"administration": "write"},
    "github:index/repositoryEnvironmentDeploymentPolicy:RepositoryEnvironmentDeploymentPolicy": {"administration": "write"},
    "github:index/repositoryRuleset:RepositoryRuleset": {"administration": "write"},
    "github:index/repositoryWebhook:RepositoryWebhook": {"repository_hooks": "write"},
    "github:index/teamRepository:TeamRepository": {"administration": "write", "members": "read"},
    "github:index/workflowRepositoryPermissions:WorkflowRepositoryPermissions": {"administration": "write"},
}
# Types that the workflow's `up` never writes, each with the reason.
BY_PEOPLE: Final[Mapping[str, str]] = {
    "github:index/actionsVariable:ActionsVariable": "ids of Apps and repositories change by a person's `up` (docs/adopt.md)",
    "github:index/repositoryFile:RepositoryFile": "files are written only while the repository is being made, by a person's `up`",
}


@dataclass(frozen=True, kw_only=True)
class Scopes:
    """What one stack's deployer token is limited to.

    Attributes:
        permissions: Level by permission, in the names of GitHub's API.
        repositories: Names within the organization.
    """

    permissions: Mapping[str, str]
    repositories: tuple[str, ...]


def scopes(settings: Settings, catalogue: Catalogue) -> Scopes:
    """Return the scopes of a stack's deployer token; both empty where the stack declares nothing at GitHub."""
    permissions: dict[str, str] = {}
    repositories: set[str] = set()
    if settings.clusters or settings.owns_gitops:
        repositories.add(settings.gitops.repository)
    if settings.clusters:
        permissions["repository_hooks"] = "write"
    if settings.owns_gitops:
        permissions |= {"administration": "write", "contents": "write", "members": "read"}
        repositories |= set(catalogue.protected_repositories)
    return Scopes(permissions=dict(sorted(permissions.items())), repositories=tuple(sorted(repositories)))
