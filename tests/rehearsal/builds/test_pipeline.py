"""Which pushes start a declared pipeline, and what the build is then given. Shapes are those of `codepipeline.get_pipeline`."""

import copy
import json
from typing import Any, Final

import pytest

from rehearsal.builds import PipelineError, build_of, match_trigger, reach_artifact, source_of, use_connection
from rehearsal.registry.policy import Identity

REPOSITORY, COMMIT = "example-org/storefront", "0123456789abcdef0123456789abcdef01234567"

# botocore's shape of what components/pipeline.py declares.
DECLARED: Final[dict[str, Any]] = {
    "pipeline": {
        "name": "slipway-0123456789ab.develop.storefront",
        "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": "artifacts"},
        "triggers": [
            {
                "providerType": "CodeStarSourceConnection",
                "gitConfiguration": {"sourceActionName": "Source", "push": [{"branches": {"includes": ["develop"]}}]},
            }
        ],
        "stages": [
            {
                "name": "Source",
                "actions": [
                    {
                        "name": "Source",
                        "actionTypeId": {
                            "category": "Source",
                            "owner": "AWS",
                            "provider": "CodeStarSourceConnection",
                            "version": "1",
                        },
                        "namespace": "SourceVariables",
                        "outputArtifacts": [{"name": "source"}],
                        "configuration": {
                            "ConnectionArn": "arn:aws:codeconnections:eu-central-1:111111111111:connection/1",
                            "FullRepositoryId": REPOSITORY,
                            "BranchName": "develop",
                            "DetectChanges": "false",
                        },
                    }
                ],
            },
            {
                "name": "Build",
                "actions": [
                    {
                        "name": "Build",
                        "actionTypeId": {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"},
                        "inputArtifacts": [{"name": "source"}],
                        "configuration": {
                            "ProjectName": "slipway-develop-storefront",
                            "EnvironmentVariables": json.dumps(
                                [
                                    {"name": "SOURCE_COMMIT", "value": "#{SourceVariables.CommitId}", "type": "PLAINTEXT"},
                                    {
                                        "name": "FROM",
                                        "value": "#{SourceVariables.BranchName} of #{SourceVariables.FullRepositoryName}",
                                    },
                                ]
                            ),
                        },
                    }
                ],
            },
        ],
    },
    "metadata": {},
}


CONNECTION: Final = DECLARED["pipeline"]["stages"][0]["actions"][0]["configuration"]["ConnectionArn"]


def role(*, folder: str = "slipway-0123456789ab", **keys: str) -> Identity:
    """A pipeline's role: `keys` are conditions on the connection's use."""
    conditions = {f"codeconnections:{key}": value for key, value in keys.items()}
    use: dict[str, Any] = {"Effect": "Allow", "Action": "codeconnections:UseConnection", "Resource": CONNECTION}
    if keys:
        use["Condition"] = {"StringEqualsIfExists": conditions}
    store = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::artifacts/{folder}/*"}
    policy = {"Version": "2012-10-17", "Statement": [use, store]}
    return Identity(account="111111111111", principal_arn="arn:aws:iam::111111111111:role/pipeline", policies=[policy])


def changed(**pushes: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
    """The declared pipeline with another push filter."""
    definition = copy.deepcopy(DECLARED)
    definition["pipeline"]["triggers"][0]["gitConfiguration"]["push"] = [pushes]
    return definition


def test_only_a_push_to_the_branch_of_the_repository_starts_it() -> None:
    assert match_trigger(DECLARED, REPOSITORY, "develop")
    assert match_trigger(DECLARED["pipeline"], REPOSITORY, "develop")
    for repository, branch in ((REPOSITORY, "master"), (REPOSITORY, "develop/2"), ("example-org/invoices", "develop")):
        assert not match_trigger(DECLARED, repository, branch)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("develop", ["develop"], ["Develop", "xdevelop", "develop2"]),
        ("feature/*", ["feature/a"], ["feature/a/b", "feature"]),
        ("feature/**", ["feature/a", "feature/a/b"], ["features/a"]),
        ("**", ["a", "a/b"], []),
        ("v?.?", ["v1.2"], ["v1.10", "v1/2"]),
        ("{master,release/*}", ["master", "release/1"], ["release", "main"]),
        ("rel[0-9]", ["rel1"], ["rela", "rel"]),
        ("rel[!0-9]", ["rela"], ["rel1", "rel/"]),
        (r"a\*b", ["a*b"], ["axb"]),
        ("a.b,c}", ["a.b,c}"], ["axb,c}"]),
    ],
)
def test_branches_are_matched_by_glob_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    definition = changed(branches={"includes": ["never", pattern]})
    assert [each for each in (*matching, *others) if match_trigger(definition, REPOSITORY, each)] == matching


@pytest.mark.parametrize("pattern", ["{a,{b,c}}", "{a", "[a", "a\\"])
def test_a_broken_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(PipelineError, match="glob pattern"):
        match_trigger(changed(branches={"includes": [pattern]}), REPOSITORY, "a")


def test_excludes_go_before_includes_and_alone_mean_every_other_branch() -> None:
    both = changed(branches={"includes": ["release/*"], "excludes": ["release/old"]})
    assert match_trigger(both, REPOSITORY, "release/new")
    assert not match_trigger(both, REPOSITORY, "release/old")
    alone = changed(branches={"excludes": ["master"]})
    assert match_trigger(alone, REPOSITORY, "develop")
    assert not match_trigger(alone, REPOSITORY, "master")


def test_a_filter_on_tags_does_not_hear_branches() -> None:
    assert not match_trigger(changed(tags={"includes": ["**"]}), REPOSITORY, "develop")


def test_without_triggers_change_detection_decides() -> None:
    definition = copy.deepcopy(DECLARED)
    del definition["pipeline"]["triggers"]
    configuration = definition["pipeline"]["stages"][0]["actions"][0]["configuration"]
    assert not match_trigger(definition, REPOSITORY, "develop")
    configuration["DetectChanges"] = "true"
    assert match_trigger(definition, REPOSITORY, "develop")
    assert not match_trigger(definition, REPOSITORY, "master")
    del configuration["DetectChanges"]
    assert match_trigger(definition, REPOSITORY, "develop")


def test_what_is_not_known_is_an_error() -> None:
    with pytest.raises(PipelineError, match="filePaths"):
        match_trigger(changed(branches={"includes": ["develop"]}, filePaths={"includes": ["**"]}), REPOSITORY, "develop")
    old = copy.deepcopy(DECLARED)
    old["pipeline"]["pipelineType"] = "V1"
    with pytest.raises(PipelineError, match="need V2"):
        match_trigger(old, REPOSITORY, "develop")
    lost = copy.deepcopy(DECLARED)
    lost["pipeline"]["triggers"][0]["gitConfiguration"]["sourceActionName"] = "Elsewhere"
    with pytest.raises(PipelineError, match=r"'Elsewhere'.*\['Source'\]"):
        match_trigger(lost, REPOSITORY, "develop")


def test_the_build_is_given_the_pushed_commit() -> None:
    source = source_of(changed(branches={"includes": ["dev*"]}), REPOSITORY, "dev2", COMMIT, "Fix the bell", caller=role())
    assert (source.namespace, source.artifact) == ("SourceVariables", "source")
    assert source.variables["BranchName"] == "dev2"
    assert source.variables["CommitMessage"] == "Fix the bell"
    build = build_of(DECLARED, source)
    assert build.project == "slipway-develop-storefront"
    assert build.variables == {"SOURCE_COMMIT": COMMIT, "FROM": f"dev2 of {REPOSITORY}"}


def test_a_push_that_starts_nothing_has_no_source() -> None:
    with pytest.raises(PipelineError, match="does not start"):
        source_of(DECLARED, REPOSITORY, "master", COMMIT, caller=role())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("EnvironmentVariables", '[{"name": "A", "value": "#{SourceVariables.Commit}"}]', "SourceVariables.Commit}: known are"),
        ("EnvironmentVariables", '[{"name": "A", "value": "#{Other.CommitId}"}]', "Other.CommitId}: known are"),
        ("EnvironmentVariables", '[{"name": "A", "value": "x", "type": "SECRETS_MANAGER"}]', "PLAINTEXT is known"),
    ],
)
def test_a_variable_that_would_not_resolve_is_an_error(path: str, value: str, said: str) -> None:
    definition = copy.deepcopy(DECLARED)
    definition["pipeline"]["stages"][1]["actions"][0]["configuration"][path] = value
    with pytest.raises(PipelineError, match=said):
        build_of(definition, source_of(DECLARED, REPOSITORY, "develop", COMMIT, caller=role()))


def test_a_build_that_takes_another_artifact_is_an_error() -> None:
    definition = copy.deepcopy(DECLARED)
    definition["pipeline"]["stages"][1]["actions"][0]["inputArtifacts"] = [{"name": "sauce"}]
    with pytest.raises(PipelineError, match="no files would come"):
        build_of(definition, source_of(DECLARED, REPOSITORY, "develop", COMMIT, caller=role()))


READ = {"FullRepositoryId": REPOSITORY, "BranchName": "develop", "ProviderPermissionsRequired": "read_only"}


def test_a_role_that_is_limited_to_its_branch_fetches_the_source() -> None:
    assert source_of(DECLARED, REPOSITORY, "develop", COMMIT, caller=role(**READ)).key == "slipway-0123456789ab/source/0123456"


@pytest.mark.parametrize(
    "keys",
    [{"FullRepositoryId": "example-org/invoices"}, {"BranchName": "master"}, {"ProviderPermissionsRequired": "read_write"}],
)
def test_a_role_that_may_not_read_the_branch_gets_no_source(keys: dict[str, str]) -> None:
    with pytest.raises(PipelineError, match=r"sufficient permissions to use the connection, by GetBranch for example-org/store"):
        source_of(DECLARED, REPOSITORY, "develop", COMMIT, caller=role(**{**READ, **keys}))


def test_a_role_that_is_limited_by_a_key_which_not_every_request_carries_gets_no_source() -> None:
    caller = role(FullRepositoryId=REPOSITORY)
    policy = json.loads(json.dumps(caller.policies[0]).replace("StringEqualsIfExists", "StringEquals"))
    strict = Identity(account=caller.account, principal_arn=caller.principal_arn, policies=[policy])
    with pytest.raises(PipelineError, match="by GetUploadArchiveToS3Status"):
        source_of(DECLARED, REPOSITORY, "develop", COMMIT, caller=strict)


@pytest.mark.parametrize("action", ["GitPush", "CreateCommit", "UpdatePullRequest"])
def test_writing_over_the_connection_needs_the_permission_to_write(action: str) -> None:
    use_connection(role(), CONNECTION, action, repository=REPOSITORY, branch="develop", writes=True)
    with pytest.raises(PipelineError, match=action):
        use_connection(role(**READ), CONNECTION, action, repository=REPOSITORY, branch="develop", writes=True)


def test_an_artifact_lies_below_the_first_characters_of_the_pipeline_s_name() -> None:
    with pytest.raises(PipelineError, match="s3:PutObject the artifact slipway-0123456789ab/"):
        source_of(DECLARED, REPOSITORY, "develop", COMMIT, caller=role(folder="slipway-0123456789ab.develop.storefront"))
    source = source_of(DECLARED, REPOSITORY, "develop", COMMIT, caller=role())
    reach_artifact(role(), "s3:GetObject", source.bucket, source.key)
    with pytest.raises(PipelineError, match="may not s3:GetObject"):
        reach_artifact(role(folder="slipway-ba9876543210"), "s3:GetObject", source.bucket, source.key)
