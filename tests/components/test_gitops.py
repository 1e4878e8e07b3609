"""components/gitops.py: one stack owns the repository, fills it once, and rules it."""

from collections.abc import Mapping
from itertools import pairwise

from rehearsal.program import Program


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
