"""components/gitops.py: one stack owns the repository, fills it once, and rules it."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from components import gitops
from components.platform import Platform
from components.service import Service, ServiceArgs
from components.settings import Settings, parse
from rehearsal.program import Declared, Program, ProgramError, evaluate, stack_config
from tests.components.test_settings import changed, stack_value
from tests.rehearsal.githost_kit import DEV_APP, PROMOTER_APP, REPOSITORY, STG_APP, World, world
from tests.rehearsal.githost_kit import ruleset as rest_ruleset
from tests.scaffold_repository.kit import platform_of


def test_only_the_owning_stack_declares_the_repository(programs: Mapping[str, Program]) -> None:
    owners = [stack for stack, program in programs.items() if program.of("github:index/repository:Repository")]
    assert owners == ["prd"]
    for stack in ("dev", "stg"):
        ours = {each.type for each in programs[stack].resources if each.type.startswith("github:")}
        assert ours == {"github:index/repositoryWebhook:RepositoryWebhook"}


def test_repository_and_branches_outlive_the_stack(programs: Mapping[str, Program]) -> None:
    prd = programs["prd"]
    repository = prd.one("github:index/repository:Repository")
    branches = prd.of("github:index/branch:Branch")
    assert sorted(each.inputs["branch"] for each in branches) == ["dev", "stg"]
    for each in (repository, *branches):
        assert each.protect
        assert each.retain_on_delete


def test_only_merge_commits_are_possible(programs: Mapping[str, Program]) -> None:
    prd = programs["prd"]
    inputs = prd.one("github:index/repository:Repository").inputs
    assert (inputs["allowMergeCommit"], inputs["allowSquashMerge"], inputs["allowRebaseMerge"]) == (True, False, False)
    assert [each["pullRequest"]["allowedMergeMethods"] for each in of_branches(prd).values()] == [["merge"]] * 3


def rulesets(program: Program) -> Mapping[str, Any]:
    """The GitOps repository's rulesets by name; application repositories have their own."""
    return {each.inputs["name"]: each.inputs for each in declared_rulesets(program)}


def declared_rulesets(program: Program) -> list[Declared]:
    """The GitOps repository's rulesets as they are declared."""
    return [each for each in program.of("RepositoryRuleset") if each.inputs["repository"] == "gitops"]


def of_branches(program: Program) -> Mapping[str, Any]:
    """The rules by branch that its writer passes."""
    found = {name: inputs for name, inputs in rulesets(program).items() if ":" not in name}
    for name, inputs in found.items():
        assert inputs["conditions"]["refName"]["includes"] == [f"refs/heads/{name.removeprefix('slipway ')}"]
    return {name.removeprefix("slipway "): inputs["rules"] for name, inputs in found.items()}


def passing(program: Program) -> Mapping[str, Any]:
    """Who passes which ruleset."""
    return {
        name: [(actor["actorId"], actor["bypassMode"]) for actor in inputs.get("bypassActors", [])]
        for name, inputs in rulesets(program).items()
    }


def approvals(program: Program) -> Mapping[str, int]:
    return {branch: each["pullRequest"]["requiredApprovingReviewCount"] for branch, each in of_branches(program).items()}


def test_every_environment_branch_takes_reviewed_pull_requests_only(programs: Mapping[str, Program]) -> None:
    """A release's author is a bot, so the person who starts it could be its one reviewer."""
    assert approvals(programs["prd"]) == {"dev": 1, "stg": 1, "master": 2}
    assert all(each["pullRequest"]["requireCodeOwnerReview"] for each in of_branches(programs["prd"]).values())
    assert {inputs["enforcement"] for inputs in rulesets(programs["prd"]).values()} == {"active"}


def test_nobody_forces_or_deletes_an_environment_s_branch_or_moves_or_deletes_a_release_s_tag(
    programs: Mapping[str, Program],
) -> None:
    found = rulesets(programs["prd"])
    for name, target, refs, rules in (
        (
            "slipway: history",
            "branch",
            ["refs/heads/dev", "refs/heads/master", "refs/heads/stg"],
            {"deletion": True, "nonFastForward": True},
        ),
        ("slipway: release-tags", "tag", ["refs/tags/release-*"], {"deletion": True, "update": True}),
    ):
        inputs = found[name]
        assert (inputs["target"], inputs["conditions"]["refName"]["includes"], inputs["rules"]) == (target, refs, rules)
        assert not inputs.get("bypassActors")


def test_each_writer_passes_the_rule_of_its_own_branch_and_of_no_other(programs: Mapping[str, Program]) -> None:
    assert passing(programs["prd"]) == {
        "slipway: history": [],
        "slipway: release-tags": [],
        "slipway dev": [(1100001, "always")],
        "slipway stg": [(1100002, "always")],
        "slipway master": [],
    }


@pytest.fixture(scope="module")
def emergency() -> Program:
    """The stack prd with emergency pins."""
    return evaluate("prd", config=changed("slipway:gitops", "emergencyPins", value=True, stack="prd"))


def test_emergency_pins_let_the_promoter_pass_where_releases_lead_to_and_nowhere_else(
    emergency: Program, programs: Mapping[str, Program]
) -> None:
    assert passing(emergency) == {**passing(programs["prd"]), "slipway master": [(1100003, "always")]}


def hold(it: World, program: Program) -> None:
    """Let the Git host hold the declared rules of branches' history, of reviews, and of tags."""
    for inputs in rulesets(program).values():
        rules: list[dict[str, object]] = [
            {"type": theirs}
            for ours, theirs in (
                ("deletion", "deletion"),
                ("nonFastForward", "non_fast_forward"),
                ("update", "update"),
                ("pullRequest", "pull_request"),
            )
            if inputs["rules"].get(ours)
        ]
        # The numbers of the Git host's Apps in place of those of the settings.
        apps = [int(actor["actorId"]) - 1_100_000 + 100 for actor in inputs.get("bypassActors", [])]
        refs: dict[str, object] = {"include": inputs["conditions"]["refName"]["includes"], "exclude": list[str]()}
        held = rest_ruleset(inputs["name"], "", *rules, apps=apps) | {
            "target": inputs["target"],
            "conditions": {"ref_name": refs},
        }
        it.host.add_ruleset(REPOSITORY, held)


def test_a_writer_may_commit_to_its_branch_and_neither_force_nor_delete_it(
    programs: Mapping[str, Program], tmp_path: Path
) -> None:
    with world(tmp_path) as it:
        hold(it, programs["prd"])
        assert "errors" in it.commit(it.app_token(PROMOTER_APP), "master", it.host.head(REPOSITORY, "master"), {"pin": b"1"})
        for app, branch in ((DEV_APP, "dev"), (STG_APP, "stg")):
            token, before = it.app_token(app), it.host.head(REPOSITORY, branch) or ""
            assert "errors" not in it.commit(token, branch, before, {"image": b"1"})
            refused(it, token, branch, before)


def test_in_an_emergency_the_promoter_may_commit_and_neither_force_nor_delete(emergency: Program, tmp_path: Path) -> None:
    with world(tmp_path) as it:
        hold(it, emergency)
        before = it.host.head(REPOSITORY, "master") or ""
        for app, stops in ((DEV_APP, True), (STG_APP, True), (PROMOTER_APP, False)):
            done = it.commit(it.app_token(app), "master", before, {"pin": b"1"})
            assert ("errors" in done) is stops, done
        promoter = it.app_token(PROMOTER_APP)
        assert "errors" in it.commit(promoter, "stg", it.host.head(REPOSITORY, "stg"), {"pin": b"1"})
        refused(it, promoter, "master", before)


def refused(it: World, token: str, branch: str, before: str) -> None:
    """Who has moved the branch on from `before` can neither take it back nor delete it."""
    forced = it.repo("PATCH", f"/git/refs/heads/{branch}", token, {"sha": before, "force": True})
    deleted = it.repo("DELETE", f"/git/refs/heads/{branch}", token)
    assert ("Cannot force-push" in forced.body["message"], forced.status) == (True, 422)
    assert ("Cannot delete" in deleted.body["message"], deleted.status) == (True, 422)


def test_a_release_s_tag_is_made_once_and_stays_where_it_is(programs: Mapping[str, Program], tmp_path: Path) -> None:
    with world(tmp_path) as it:
        hold(it, programs["prd"])
        copy = it.clone(it.app_token(PROMOTER_APP), "copy", "master")
        tag = f"release-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"

        def push(what: str) -> str:
            done = it.git("push", "--force", "origin", what, cwd=copy)
            return done.stderr if done.returncode else ""

        assert push(f"HEAD:refs/tags/{tag}") == ""
        it.change(copy, "notes.txt", "further on")
        assert "Cannot update this protected ref." in push(f"HEAD:refs/tags/{tag}")
        assert "Cannot delete this tag" in push(f":refs/tags/{tag}")
        assert (push("HEAD:refs/tags/other"), push(":refs/tags/other")) == ("", "")


@pytest.fixture(scope="module")
def first() -> Program:
    """The stack prd while its repository is being made: it has no id yet."""
    return evaluate("prd", config=new())


def new() -> Mapping[str, object]:
    return changed("slipway:gitops", "id", None, "prd")


def test_files_come_one_after_another_before_branches_and_rules_and_belong_to_people_afterwards(first: Program) -> None:
    files = first.of("RepositoryFile")
    assert any(each.inputs["file"].startswith(".github/workflows/") for each in files)
    urns = [each.urn for each in files]
    for before, after in pairwise(files):
        assert before.urn in after.dependencies
    for each in files:
        assert "content" in each.ignore_changes
        assert each.retain_on_delete
    for branch in first.of("github:index/branch:Branch"):
        assert urns[-1] in branch.dependencies
    branches = {each.urn for each in first.of("github:index/branch:Branch")}
    for ruleset in declared_rulesets(first):
        assert branches <= set(ruleset.dependencies)


def test_a_repository_that_is_there_gets_no_file_not_even_one_that_a_later_version_adds(
    programs: Mapping[str, Program], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert programs["prd"].of("RepositoryFile") == []
    later = tmp_path / "scaffold"
    shutil.copytree(gitops.SCAFFOLD, later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "LATER.md").write_text("Of a later version.\n", encoding="utf-8")
    monkeypatch.setattr(gitops, "SCAFFOLD", later)
    assert evaluate("prd").of("RepositoryFile") == []
    # While it is being made, it is one of the first files.
    assert "LATER.md" in first_files(evaluate("prd", config=new()))


def test_the_default_branch_is_there_under_its_name_before_files_come(first: Program) -> None:
    default = first.one("BranchDefault").inputs
    assert (default["branch"], default["rename"], default["waitForRename"]) == ("master", True, True)


def test_a_key_is_of_an_environment_that_admits_the_default_branch_alone(programs: Mapping[str, Program]) -> None:
    prd = programs["prd"]
    found = {each.inputs["environment"]: each.inputs for each in prd.of("RepositoryEnvironment")}
    assert sorted(found) == ["slipway-promoter", "slipway-verify"]
    for each in found.values():
        assert each["deploymentBranchPolicy"] == {"protectedBranches": False, "customBranchPolicies": True}
        assert each["canAdminsBypass"] is False
    policies = [each.inputs for each in prd.of("RepositoryEnvironmentDeploymentPolicy")]
    assert sorted((each["environment"], each["branchPattern"]) for each in policies) == [
        ("slipway-promoter", "master"),
        ("slipway-verify", "master"),
    ]


def test_a_run_s_own_token_approves_nothing_and_writes_only_where_its_workflow_says_so(programs: Mapping[str, Program]) -> None:
    inputs = programs["prd"].one("WorkflowRepositoryPermissions").inputs
    assert (inputs["defaultWorkflowPermissions"], inputs["canApprovePullRequestReviews"]) == ("read", False)


def first_files(program: Program) -> Mapping[str, str]:
    return {each.inputs["file"]: each.inputs["content"] for each in program.of("RepositoryFile")}


def test_the_repository_s_workflows_are_told_the_platform_as_the_settings_have_it(
    programs: Mapping[str, Program], first: Program
) -> None:
    told = json.loads(first_files(first)[".github/slipway/platform.json"])
    assert told == {
        "environments": {
            name: {"branch": branch, "kubernetes": ["1.34"]}
            for name, branch in {"dev": "dev", "stg": "stg", "prd": "master"}.items()
        },
        "tracks": {
            "develop": {
                "branch": "dev",
                "overlay": "dev",
                "environments": ["dev"],
                "registry": "111111111111.dkr.ecr.eu-central-1.amazonaws.com/develop",
            },
            "release": {
                "branch": "stg",
                "overlay": None,
                "environments": ["stg", "prd"],
                "registry": "222222222222.dkr.ecr.eu-central-1.amazonaws.com/release",
            },
        },
        "applications": {"host": "https://github.com", "owner": "example-org", "repositories": {}},
        "forbidden": told["forbidden"],
    }
    (project,) = programs["prd"].of("kubernetes:argoproj.io/v1alpha1:AppProject")
    refused = [f"{each['group']}/{each['kind']}".lstrip("/") for each in project.inputs["spec"]["namespaceResourceBlacklist"]]
    assert sorted(told["forbidden"]) == sorted(refused)


def test_the_scaffold_s_own_platform_is_the_example_s(first: Program) -> None:
    """What the scripts are tested with is what the example's settings make of it."""
    own = json.loads((gitops.SCAFFOLD / gitops.PLATFORM_FILE).read_text(encoding="utf-8"))
    assert own == json.loads(first_files(first)[gitops.PLATFORM_FILE])


def test_owners_and_branches_in_the_first_files_are_those_of_the_settings() -> None:
    tracks = changed("slipway:tracks", "develop.gitopsBranch", "trunk", "prd")
    environments = changed("slipway:environments", "dev.gitopsBranch", "trunk", "prd")
    repository = stack_value("slipway:gitops", "prd") | {"team": "sre", "id": None}
    program = evaluate("prd", config={**tracks, **environments, "slipway:gitops": repository})
    files = first_files(program)
    owners_ = [line for line in files[".github/CODEOWNERS"].splitlines() if not line.startswith("#")]
    assert owners_ == ["* @example-org/sre", "/.github/ @example-org/sre"]
    assert "branches: [trunk, master]" in files[".github/workflows/moved.yml"]
    assert "branches: [trunk]" in files[".github/workflows/promote.yml"]
    assert "branches: [master]" in files[".github/workflows/released.yml"]
    assert program.one("TeamRepository").inputs["teamId"] == "sre"


def test_a_release_is_noted_on_the_branches_that_releases_lead_to_and_on_no_other() -> None:
    environments = changed("slipway:environments", "prd.gitopsBranch", "live", "prd")
    released = first_files(evaluate("prd", config={**environments, **new()}))[".github/workflows/released.yml"]
    assert "branches: [live]" in released


TOOLING = {
    "account": "444444444444",
    "region": "eu-central-1",
    "zone": "tools.example.com",
    "gitopsBranch": "tools",
    "cidr": "10.40.0.0/16",
}


def two_environments() -> Settings:
    """The settings of a platform with dev and prd alone: prd tries its own images, and nothing is released.

    A tooling stack owns the repository, for both branches have a writer.
    """
    given = {
        key.removeprefix("slipway:"): json.loads(value) for key, value in stack_config("prd").items() if key[:7] == "slipway"
    }
    del given["environments"]["stg"]
    given["environments"]["tools"] = TOOLING
    given["tracks"]["release"] |= {"host": "prd", "gitopsBranch": "master", "environments": ["prd"]}
    given["gitops"] |= {"owner": "tools"}
    for key in ("network", "clusters"):
        given.pop(key, None)
    return parse(given, stack="tools")


def test_a_workflow_that_no_branch_would_start_is_left_out_since_github_takes_no_empty_list(tmp_path: Path) -> None:
    settings = two_environments()
    files = gitops.repository_files(settings, {})
    workflows = sorted(path.removeprefix(".github/workflows/") for path in files if path.startswith(".github/workflows/"))
    assert workflows == ["moved.yml", "pin.yml", "promote.yml", "verify.yml"]
    assert "branches: [dev]" in files[".github/workflows/promote.yml"]
    assert "branches: [dev]" in files[".github/workflows/moved.yml"]
    assert gitops.passing_by_branch(settings)["master"] == [1100002]
    assert gitops.reviewers_by_branch(settings, "tools") == {"dev": 1, "master": 1, "tools": 2}
    told = platform_of(files[".github/slipway/platform.json"], tmp_path)
    assert ([str(step) for step in told.promotions], told.releases) == (["dev → prd"], ())


@pytest.mark.parametrize(("owner", "track"), [("dev", "develop"), ("stg", "release")])
def test_no_writer_commits_to_the_default_branch_whose_scripts_hold_the_promoter_s_key(owner: str, track: str) -> None:
    with pytest.raises(ProgramError) as caught:
        evaluate("prd", config=changed("slipway:gitops", "owner", owner, "prd"))
    assert (
        f"slipway:gitops.owner is '{owner}', whose branch '{owner}' is written by the track {track}. The owner's branch is the "
        "GitOps repository's default branch: its workflows and scripts hold the promoter's key, so no track may commit there. "
        "Name a stack whose branch no track writes, such as prd, or a tooling stack with a branch of its own."
    ) in str(caught.value)
    assert caught.value.registered == ()


def test_a_tooling_stack_is_no_environment_of_the_gitops_repository(first: Program, tmp_path: Path) -> None:
    environments = changed("slipway:environments", "tools", {**TOOLING, "gitopsBranch": "master"}, "prd")
    program = evaluate("prd", config={**environments, **new()})
    files = first_files(program)
    assert files == first_files(first)
    assert list(platform_of(files[".github/slipway/platform.json"], tmp_path).environments) == ["dev", "stg", "prd"]
    assert sorted(of_branches(program)) == ["dev", "master", "stg"]


def test_an_application_s_repository_of_another_name_is_told_to_the_workflows() -> None:
    def services(platform: Platform) -> None:
        Service("storefront", ServiceArgs(platform=platform, repository="shop-web", port=8080))
        Service("invoices", ServiceArgs(platform=platform, repository="invoices"))

    told = json.loads(first_files(evaluate("prd", catalogue=services, config=new()))[".github/slipway/platform.json"])
    assert told["applications"]["repositories"] == {"storefront": "shop-web"}


def test_each_branch_asks_for_a_status_of_its_own_from_the_promoter_app_alone(programs: Mapping[str, Program]) -> None:
    for branch, rules in of_branches(programs["prd"]).items():
        assert rules["requiredStatusChecks"]["requiredChecks"] == [{"context": f"verify {branch}", "integrationId": 1100003}]


def test_the_promoter_app_is_known_by_its_id_and_no_key_is_declared(programs: Mapping[str, Program]) -> None:
    variables = {each.inputs["variableName"]: each.inputs["value"] for each in programs["prd"].of("ActionsVariable")}
    assert variables["SLIPWAY_PROMOTER_APP"] == "1100003"
    assert programs["prd"].of("ActionsSecret") == []


def test_the_workflows_are_told_the_very_roles_that_the_tracks_hosts_declare(programs: Mapping[str, Program]) -> None:
    variables = {each.inputs["variableName"]: each.inputs["value"] for each in programs["prd"].of("ActionsVariable")}
    declared = {
        track: f"arn:aws:iam::{account}:role/{programs[host].one('iam/role:Role', f'access-{track}-images').inputs['name']}"
        for track, host, account in (("develop", "dev", "111111111111"), ("release", "stg", "222222222222"))
    }
    assert json.loads(variables["SLIPWAY_IMAGE_READERS"]) == declared


def test_before_the_repository_has_an_id_nobody_looks_images_up() -> None:
    for stack in ("dev", "stg", "prd"):
        program = evaluate(stack, config=changed("slipway:gitops", "id", None, stack))
        assert not [each for each in program.of("iam/role:Role") if each.name.endswith("-images")]
        assert "SLIPWAY_IMAGE_READERS" not in {each.inputs["variableName"] for each in program.of("ActionsVariable")}


def test_a_missing_scaffold_stops_before_any_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitops, "SCAFFOLD", gitops.SCAFFOLD / "nowhere")
    with pytest.raises(ProgramError, match="the GitOps repository's first files are needed there") as caught:
        evaluate("prd")
    assert caught.value.registered == ()
