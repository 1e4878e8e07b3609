"""Rows of GitHub's types hold the provider to what GitHub holds it to."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pytest

from rehearsal.cloud import Emulators, Place, RealiseError
from rehearsal.cloud.row import Ask
from rehearsal.cloud.rows import github
from rehearsal.githost import GitHost
from rehearsal.program import Created, Request

OWNER: Final = "example-org"
FILE: Final = {"repository": "a", "branch": "master", "file": "f", "content": "x\n", "commitMessage": "Add f"}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """GitHub's rows at a Git host."""

    host: GitHost

    def ask(self, kind: str, inputs: Mapping[str, Any]) -> tuple[Ask, str]:
        """Return what a row is asked, and its type."""
        (type_,) = [each for each in github.ROWS if each.endswith(f":{kind}")]
        request = Request(stack="prd", type=type_, name="thing", inputs=dict(inputs), custom=True, parent="")
        # No row of GitHub's calls AWS.
        nothing = cast("Emulators", None)
        place = Place(account="1", region="r")
        return Ask(request=request, place=place, emulators=nothing, owner=OWNER, host=self.host), type_

    def create(self, kind: str, **inputs: object) -> Created:
        """Create a resource, of which every input must be read."""
        ask, type_ = self.ask(kind, inputs)
        made = github.ROWS[type_].create(ask)
        assert ask.inputs.unread() == []
        return made

    def update(self, kind: str, id_: str, **inputs: object) -> Created:
        """Update it."""
        ask, type_ = self.ask(kind, inputs)
        update = github.ROWS[type_].update
        assert update is not None
        return update(ask, id_)

    def read(self, kind: str, id_: str, **inputs: object) -> Mapping[str, Any] | None:
        """Read it."""
        ask, type_ = self.ask(kind, inputs)
        read = github.ROWS[type_].read
        assert read is not None
        return read(ask, id_)

    def delete(self, kind: str, id_: str, **inputs: object) -> None:
        """Delete it."""
        ask, type_ = self.ask(kind, inputs)
        delete = github.ROWS[type_].delete
        assert delete is not None
        delete(ask, id_)


@pytest.fixture
def provider(tmp_path: Path) -> Generator[Provider]:
    with GitHost(tmp_path) as host:
        made = Provider(host=host)
        made.create("Repository", name="a", autoInit=True)
        yield made


def rename(provider: Provider, **more: object) -> None:
    provider.create("BranchDefault", repository="a", branch="master", rename=True, **more)


def protect(provider: Provider) -> None:
    provider.create(
        "RepositoryRuleset",
        repository="a",
        name="r",
        target="branch",
        enforcement="active",
        conditions={"refName": {"includes": ["refs/heads/master"], "excludes": []}},
        rules={"pullRequest": {"requiredApprovingReviewCount": 1.0}, "deletion": True},
    )


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [("RepositoryFile", FILE), ("Branch", {"repository": "a", "branch": "dev", "sourceBranch": "master"})],
)
def test_what_is_written_right_after_a_renaming_fails_unless_it_was_waited_for(
    provider: Provider, kind: str, inputs: Mapping[str, object]
) -> None:
    rename(provider)
    with pytest.raises(RealiseError, match="branch master not found in repository example-org/a"):
        provider.create(kind, **inputs)
    provider.create("Repository", name="b", autoInit=True)
    provider.create("BranchDefault", repository="b", branch="master", rename=True, waitForRename=True)
    provider.create(kind, **{**inputs, "repository": "b"})


def test_a_file_cannot_be_written_changed_or_deleted_where_a_pull_request_is_required(provider: Provider) -> None:
    rename(provider, waitForRename=True)
    made = provider.create("RepositoryFile", **FILE)
    protect(provider)
    refusal = "Repository rule violations found\\s+Changes must be made through a pull request"
    with pytest.raises(RealiseError, match=refusal):
        provider.create("RepositoryFile", **{**FILE, "file": "g"})
    with pytest.raises(RealiseError, match=refusal):
        provider.update("RepositoryFile", made.id, **{**FILE, "content": "y\n"})
    with pytest.raises(RealiseError, match=refusal):
        provider.delete("RepositoryFile", made.id, **FILE)
    assert provider.host.read("example-org/a", "master", "f") == b"x\n"


def test_a_branch_cannot_be_deleted_where_a_rule_keeps_it(provider: Provider) -> None:
    rename(provider, waitForRename=True)
    provider.create("Branch", repository="a", branch="dev", sourceBranch="master")
    protect(provider)
    provider.host.set_default_branch("example-org/a", "dev")
    with pytest.raises(RealiseError, match="Cannot delete this branch"):
        provider.delete("Branch", "a:master")


LIMITED: Final = {"customBranchPolicies": True, "protectedBranches": False}


def test_an_environment_is_limited_to_the_branches_of_its_policies(provider: Provider) -> None:
    inputs = {"repository": "a", "environment": "e", "canAdminsBypass": False, "deploymentBranchPolicy": LIMITED}
    made = provider.create("RepositoryEnvironment", **inputs)
    assert (made.id, provider.host.environments("example-org/a")["e"].branches) == ("a:e", ())
    policy = {"repository": "a", "environment": "e", "branchPattern": "master"}
    one = provider.create("RepositoryEnvironmentDeploymentPolicy", **policy)
    assert one.id == f"a:e:{one.outputs['policyId']}"
    with pytest.raises(RealiseError, match="exists already"):
        provider.create("RepositoryEnvironmentDeploymentPolicy", **policy)
    provider.host.set_environment_secret("example-org/a", "e", "KEY", "k")
    # A change of the environment leaves its policies and secrets alone.
    provider.update("RepositoryEnvironment", made.id, **{**inputs, "canAdminsBypass": True})
    found = provider.host.environments("example-org/a")["e"]
    assert (found.branches, found.can_admins_bypass, found.secrets) == (("master",), True, {"KEY": "k"})
    assert provider.read("RepositoryEnvironment", made.id) == {
        "repository": "a",
        "environment": "e",
        "repositoryId": made.outputs["repositoryId"],
        "deploymentBranchPolicy": LIMITED,
    }
    assert (provider.read("RepositoryEnvironmentDeploymentPolicy", one.id) or {})["branchPattern"] == "master"
    provider.update("RepositoryEnvironmentDeploymentPolicy", one.id, **{**policy, "branchPattern": "main"})
    assert found.branches == ("main",)
    provider.delete("RepositoryEnvironmentDeploymentPolicy", one.id)
    assert (found.branches, provider.read("RepositoryEnvironmentDeploymentPolicy", one.id)) == ((), None)
    provider.delete("RepositoryEnvironment", made.id)
    assert provider.read("RepositoryEnvironment", made.id) is None
    provider.delete("RepositoryEnvironment", made.id)


def test_an_environment_without_a_limit_takes_no_policy_and_what_is_not_played_is_refused(provider: Provider) -> None:
    provider.create("RepositoryEnvironment", repository="a", environment="e")
    with pytest.raises(RealiseError, match="custom_branch_policies"):
        provider.create("RepositoryEnvironmentDeploymentPolicy", repository="a", environment="e", branchPattern="master")
    with pytest.raises(RealiseError, match="does not play protectedBranches"):
        provider.create(
            "RepositoryEnvironment",
            repository="a",
            environment="e",
            deploymentBranchPolicy={"customBranchPolicies": False, "protectedBranches": True},
        )


def test_a_repository_s_workflows_may_do_what_is_declared_and_less_once_it_is_not(provider: Provider) -> None:
    repo = provider.host.repository("example-org/a")
    assert repo is not None
    # An organization's default may be as wide as this: the program must say what it needs.
    assert (repo.workflow_permissions, repo.actions_may_approve) == ("write", True)
    kind, inputs = "WorkflowRepositoryPermissions", {"repository": "a", "defaultWorkflowPermissions": "read"}
    made = provider.create(kind, **inputs)
    assert (repo.workflow_permissions, repo.actions_may_approve) == ("read", False)
    assert provider.read(kind, made.id) == {**inputs, "canApprovePullRequestReviews": False}
    provider.update(kind, made.id, **{**inputs, "defaultWorkflowPermissions": "write", "canApprovePullRequestReviews": True})
    assert (repo.workflow_permissions, repo.actions_may_approve) == ("write", True)
    provider.delete(kind, made.id)
    assert (repo.workflow_permissions, repo.actions_may_approve) == ("read", False)
    with pytest.raises(RealiseError, match="GitHub takes read or write"):
        provider.create(kind, **{**inputs, "defaultWorkflowPermissions": "none"})
