"""components/gitops.py: one stack owns the repository, fills it once, and rules it."""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from components import gitops
from rehearsal.program import Program, ProgramError, evaluate
from tests.components.test_settings import changed
from tests.rehearsal.githost_kit import DEV_APP, PROMOTER_APP, REPOSITORY, STG_APP, world
from tests.rehearsal.githost_kit import ruleset as rest_ruleset


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
    for ruleset in prd.of("RepositoryRuleset"):
        assert ruleset.inputs["rules"]["pullRequest"]["allowedMergeMethods"] == ["merge"]


def test_every_environment_branch_refuses_force_pushes_deletion_and_unreviewed_changes(
    programs: Mapping[str, Program],
) -> None:
    rulesets = {
        each.inputs["conditions"]["refName"]["includes"][0]: each.inputs for each in programs["prd"].of("RepositoryRuleset")
    }
    assert sorted(rulesets) == ["refs/heads/dev", "refs/heads/master", "refs/heads/stg"]
    for inputs in rulesets.values():
        assert inputs["enforcement"] == "active"
        assert inputs["rules"]["deletion"] is True
        assert inputs["rules"]["nonFastForward"] is True
        assert inputs["rules"]["pullRequest"]["requiredApprovingReviewCount"] == 1


def test_each_writer_passes_the_rule_of_its_own_branch_and_of_no_other(programs: Mapping[str, Program]) -> None:
    passes = {
        each.inputs["conditions"]["refName"]["includes"][0]: [actor["actorId"] for actor in each.inputs.get("bypassActors", [])]
        for each in programs["prd"].of("RepositoryRuleset")
    }
    assert passes == {"refs/heads/dev": [1100001], "refs/heads/stg": [1100002], "refs/heads/master": []}


@pytest.fixture(scope="module")
def emergency() -> Program:
    """The stack prd with emergency pins."""
    return evaluate("prd", config=changed("slipway:gitops", "emergencyPins", value=True, stack="prd"))


def test_emergency_pins_let_the_promoter_pass_where_releases_lead_to_and_nowhere_else(emergency: Program) -> None:
    passes = {
        each.inputs["name"]: [(actor["actorId"], actor["bypassMode"]) for actor in each.inputs.get("bypassActors", [])]
        for each in emergency.of("RepositoryRuleset")
    }
    assert passes == {
        "slipway dev": [(1100001, "always")],
        "slipway stg": [(1100002, "always")],
        "slipway master": [(1100003, "always")],
        "slipway master history": [],
    }


def test_in_an_emergency_the_promoter_may_commit_and_neither_force_nor_delete(emergency: Program, tmp_path: Path) -> None:
    with world(tmp_path) as it:
        for each in emergency.of("RepositoryRuleset"):
            (ref,) = each.inputs["conditions"]["refName"]["includes"]
            rules: list[dict[str, object]] = [
                {"type": theirs}
                for ours, theirs in (
                    ("deletion", "deletion"),
                    ("nonFastForward", "non_fast_forward"),
                    ("pullRequest", "pull_request"),
                )
                if each.inputs["rules"].get(ours)
            ]
            # The numbers of the Git host's Apps in place of those of the settings.
            apps = [int(actor["actorId"]) - 1_100_000 + 100 for actor in each.inputs.get("bypassActors", [])]
            it.host.add_ruleset(REPOSITORY, rest_ruleset(each.inputs["name"], ref.removeprefix("refs/heads/"), *rules, apps=apps))
        before = it.host.head(REPOSITORY, "master") or ""
        for app, refused in ((DEV_APP, True), (STG_APP, True), (PROMOTER_APP, False)):
            done = it.commit(it.app_token(app), "master", before, {"pin": b"1"})
            assert ("errors" in done) is refused, done
        promoter = it.app_token(PROMOTER_APP)
        assert "errors" in it.commit(promoter, "stg", it.host.head(REPOSITORY, "stg"), {"pin": b"1"})
        forced = it.repo("PATCH", "/git/refs/heads/master", promoter, {"sha": before, "force": True})
        deleted = it.repo("DELETE", "/git/refs/heads/master", promoter)
        assert ("Cannot force-push" in forced.body["message"], forced.status) == (True, 422)
        assert ("Cannot delete" in deleted.body["message"], deleted.status) == (True, 422)


def test_files_come_one_after_another_before_branches_and_rules_and_belong_to_people_afterwards(
    programs: Mapping[str, Program],
) -> None:
    prd = programs["prd"]
    files = prd.of("RepositoryFile")
    assert any(each.inputs["file"].startswith(".github/workflows/") for each in files)
    urns = [each.urn for each in files]
    for before, after in pairwise(files):
        assert before.urn in after.dependencies
    for each in files:
        assert "content" in each.ignore_changes
        assert each.retain_on_delete
    for branch in prd.of("github:index/branch:Branch"):
        assert urns[-1] in branch.dependencies
    branches = {each.urn for each in prd.of("github:index/branch:Branch")}
    for ruleset in prd.of("RepositoryRuleset"):
        assert branches <= set(ruleset.dependencies)


def first_files(program: Program) -> Mapping[str, str]:
    return {each.inputs["file"]: each.inputs["content"] for each in program.of("RepositoryFile")}


def test_the_repository_s_workflows_are_told_the_platform_as_the_settings_have_it(programs: Mapping[str, Program]) -> None:
    told = json.loads(first_files(programs["prd"])[".github/slipway/platform.json"])
    assert told == {
        "environments": {"dev": {"branch": "dev"}, "stg": {"branch": "stg"}, "prd": {"branch": "master"}},
        "tracks": {
            "develop": {"branch": "dev", "overlay": "dev", "environments": ["dev"]},
            "release": {"branch": "stg", "overlay": None, "environments": ["stg", "prd"]},
        },
        "applications": {"host": "https://github.com", "owner": "example-org", "repositories": {}},
    }


def test_owners_and_branches_in_the_first_files_are_those_of_the_settings() -> None:
    tracks = changed("slipway:tracks", "develop.gitopsBranch", "trunk", "prd")
    program = evaluate("prd", config={**tracks, **changed("slipway:gitops", "team", "sre", "prd")})
    files = first_files(program)
    assert "/.github/ @example-org/sre" in files[".github/CODEOWNERS"]
    assert "branches: [trunk]" in files[".github/workflows/promote.yml"]
    assert "branches: [master]" in files[".github/workflows/released.yml"]
    assert program.one("TeamRepository").inputs["teamId"] == "sre"


def test_a_release_is_noted_on_the_branches_that_releases_lead_to_and_on_no_other() -> None:
    environments = changed("slipway:environments", "prd.gitopsBranch", "live", "prd")
    released = first_files(evaluate("prd", config=environments))[".github/workflows/released.yml"]
    assert "branches: [live]" in released


def test_each_branch_asks_for_a_check_of_its_own_from_github_s_workflows_alone(programs: Mapping[str, Program]) -> None:
    for ruleset in programs["prd"].of("RepositoryRuleset"):
        branch = ruleset.inputs["conditions"]["refName"]["includes"][0].removeprefix("refs/heads/")
        checks = ruleset.inputs["rules"]["requiredStatusChecks"]["requiredChecks"]
        assert checks == [{"context": f"verify {branch}", "integrationId": 15368}]


def test_the_promoter_app_is_known_by_its_id_and_no_key_is_declared(programs: Mapping[str, Program]) -> None:
    variable = programs["prd"].one("ActionsVariable")
    assert (variable.inputs["variableName"], variable.inputs["value"]) == ("SLIPWAY_PROMOTER_APP", "1100003")
    assert programs["prd"].of("ActionsSecret") == []


def test_a_missing_scaffold_stops_before_any_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitops, "SCAFFOLD", gitops.SCAFFOLD / "nowhere")
    with pytest.raises(ProgramError, match="the GitOps repository's first files are needed there") as caught:
        evaluate("prd")
    assert caught.value.registered == ()
