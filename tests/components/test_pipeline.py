"""components/pipeline.py: which push is built, by what, with which rights, and in which order."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import naming
from components.pipeline import BUILDSPEC
from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.cloud.policy import may_assume
from rehearsal.program import Declared, Program, evaluate
from rehearsal.registry.policy import Identity, Request, judge
from tests.components.kit import awaited, identity, may
from tests.components.test_settings import changed

# Stack, its account, the track it hosts, the branch it builds.
HOSTS = [("dev", "111111111111", "develop", "develop"), ("stg", "222222222222", "release", "master")]
ARCHITECTURES = [
    ("arm64", "ARM_CONTAINER", "aws/codebuild/amazonlinux-aarch64-standard:3.0", "linux/arm64"),
    ("amd64", "LINUX_CONTAINER", "aws/codebuild/amazonlinux-x86_64-standard:5.0", "linux/amd64"),
]


def pipeline_of(program: Program, service: str = "storefront") -> Declared:
    return program.one("codepipeline/pipeline:Pipeline", service)


def project_of(program: Program, service: str = "storefront") -> Declared:
    return program.one("codebuild/project:Project", service)


def artifacts_of(name: str) -> str:
    """The folder of a pipeline's artifacts, as CodePipeline makes it from the pipeline's name.

    https://repost.aws/questions/QUI91tw7A9SUOMohJurNqmgA/code-pipeline-truncates-folder-names-in-output-artifact-s-3-bucket
    """
    return name[:20]


def action(pipeline: Declared, stage: str) -> dict[str, Any]:
    """The only action of a stage."""
    (found,) = (each for each in pipeline.inputs["stages"] if each["name"] == stage)
    (only,) = found["actions"]
    return only


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_a_push_to_the_track_s_branch_starts_the_pipeline_and_nothing_else_does(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del account, track
    pipeline = pipeline_of(programs[stack])
    source = action(pipeline, "Source")
    (trigger,) = pipeline.inputs["triggers"]
    assert trigger["providerType"] == "CodeStarSourceConnection"
    assert trigger["gitConfiguration"] == {
        "sourceActionName": source["name"],
        "pushes": [{"branches": {"includes": [branch]}}],
    }
    assert source["configuration"]["BranchName"] == branch
    assert source["configuration"]["DetectChanges"] == "false"


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_the_source_is_the_service_s_own_repository_through_the_account_s_connection(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del track, branch
    for service in ("storefront", "invoices"):
        configuration = action(pipeline_of(programs[stack], service), "Source")["configuration"]
        assert configuration["FullRepositoryId"] == f"example-org/{service}"
        assert configuration["ConnectionArn"].startswith(f"arn:aws:codeconnections:eu-central-1:{account}:connection/")


@pytest.mark.parametrize("stack", ["dev", "stg"])
def test_runs_queue_up_so_that_a_newer_one_never_overtakes(stack: str, programs: Mapping[str, Program]) -> None:
    inputs = pipeline_of(programs[stack]).inputs
    assert inputs["pipelineType"] == "V2"
    assert inputs["executionMode"] == "QUEUED"
    # Over such a limit a start fails; what exceeds the account's quota waits.
    assert "concurrentBuildLimit" not in project_of(programs[stack]).inputs


@pytest.mark.parametrize("stack", ["dev", "stg"])
def test_the_buildspec_is_the_project_s_own_and_reads_as_the_file_does(stack: str, programs: Mapping[str, Program]) -> None:
    source = project_of(programs[stack]).inputs["source"]
    assert Path(__file__).resolve().parents[2] / "components" / "buildspec.yml" == BUILDSPEC
    assert source["type"] == "CODEPIPELINE"
    assert source["buildspec"] == BUILDSPEC.read_text(encoding="utf-8")
    # Not the name of a file in the application's repository, which a pull request could change.
    assert yaml.safe_load(source["buildspec"])["phases"]["post_build"]["commands"]


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_the_build_is_told_where_its_image_goes_and_which_commit_it_is(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del branch
    program = programs[stack]
    project = project_of(program)
    told = {each["name"]: each["value"] for each in project.inputs["environment"]["environmentVariables"]}
    assert told == {
        "REPOSITORY_URL": f"{account}.dkr.ecr.eu-central-1.amazonaws.com/{track}/storefront",
        "DOCKERFILE": "Dockerfile",
        "CONTEXT": ".",
        "PLATFORM": "linux/arm64",
    }
    source, build = action(pipeline_of(program), "Source"), action(pipeline_of(program), "Build")
    assert build["configuration"]["ProjectName"] == project.inputs["name"]
    assert build["inputArtifacts"] == source["outputArtifacts"]
    assert json.loads(build["configuration"]["EnvironmentVariables"]) == [
        {"name": "SOURCE_COMMIT", "value": f"#{{{source['namespace']}.CommitId}}", "type": "PLAINTEXT"}
    ]


@pytest.mark.parametrize("stack", ["dev", "stg"])
def test_every_variable_of_the_buildspec_is_set_by_somebody(stack: str, programs: Mapping[str, Program]) -> None:
    text = BUILDSPEC.read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    spec = yaml.safe_load(text)
    declared = {each["name"] for each in project_of(programs[stack]).inputs["environment"]["environmentVariables"]}
    passed = {
        each["name"]
        for each in json.loads(action(pipeline_of(programs[stack]), "Build")["configuration"]["EnvironmentVariables"])
    }
    # https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html
    by_codebuild = {"AWS_REGION", "CODEBUILD_BUILD_SUCCEEDING"}
    own = set(spec["env"]["exported-variables"])
    assert used <= declared | passed | by_codebuild | own
    assert declared | passed <= used


@pytest.mark.parametrize(("architecture", "container", "image", "platform"), ARCHITECTURES)
def test_images_are_built_on_the_architecture_that_is_set(architecture: str, container: str, image: str, platform: str) -> None:
    node = "m7g.large" if architecture == "arm64" else "m7i.large"
    config = {
        **changed("slipway:tracks", "develop.architecture", architecture),
        **changed("slipway:clusters", "blue.nodes.instanceTypes", [node]),
    }
    environment = project_of(evaluate("dev", config=config)).inputs["environment"]
    assert (environment["type"], environment["image"]) == (container, image)
    assert {"name": "PLATFORM", "value": platform} in environment["environmentVariables"]
    assert environment["privilegedMode"] is True


def test_a_service_says_where_its_dockerfile_is_and_how_long_a_build_may_take() -> None:
    def catalogue(platform: Platform) -> None:
        Service(
            "shop",
            ServiceArgs(
                platform=platform,
                repository="mono",
                port=8080,
                dockerfile="docker/Dockerfile",
                context="shop",
                build_timeout_minutes=90,
            ),
        )

    program = evaluate("dev", catalogue=catalogue)
    inputs = project_of(program, "shop").inputs
    told = {each["name"]: each["value"] for each in inputs["environment"]["environmentVariables"]}
    assert (told["DOCKERFILE"], told["CONTEXT"], inputs["buildTimeout"]) == ("docker/Dockerfile", "shop", 90)
    assert action(pipeline_of(program, "shop"), "Source")["configuration"]["FullRepositoryId"] == "example-org/mono"


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_rule_target_queue_policy_function_and_catalogue_stand_before_the_pipeline_runs_for_the_first_time(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del account, branch
    program = programs[stack]
    for service in ("storefront", "invoices"):
        before = awaited(program, pipeline_of(program, service))
        needed = [
            program.one("cloudwatch/eventRule:EventRule", service),
            program.one("cloudwatch/eventTarget:EventTarget", service),
            program.one("ssm/parameter:Parameter", service),
            program.one("sqs/queue:Queue", f"{track}-images"),
            program.one("sqs/queuePolicy:QueuePolicy", f"{track}-images"),
            program.one("sqs/queuePolicy:QueuePolicy", f"{track}-undelivered"),
            program.one("lambda/function:Function"),
            program.one("lambda/eventSourceMapping:EventSourceMapping"),
            program.one("iam/rolePolicy:RolePolicy", f"{service}-{track}-pipeline"),
            program.one("iam/rolePolicy:RolePolicy", f"{service}-{track}-build"),
            program.one("s3/bucketPolicy:BucketPolicy", "builds"),
        ]
        assert [each.name for each in needed if each.urn not in before] == []


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_a_build_pushes_to_its_own_repository_and_reads_its_own_source_and_no_more(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del branch
    build = identity(programs[stack], f"storefront-{track}-build", account)
    repository = f"arn:aws:ecr:eu-central-1:{account}:repository/{track}"
    bucket = f"arn:aws:s3:::slipway-artifacts-{account}-eu-central-1"
    own = f"{bucket}/{artifacts_of(pipeline_of(programs[stack]).inputs['name'])}"
    for each in ("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage"):
        assert may(build, each, f"{repository}/storefront")
        assert not may(build, each, f"{repository}/invoices")
        assert not may(build, each, f"{repository}/storefront-admin")
    assert may(build, "ecr:GetAuthorizationToken", "*")
    assert may(build, "s3:GetObject", f"{own}/source/x.zip")
    assert not may(build, "s3:PutObject", f"{own}/source/x.zip")
    others = artifacts_of(pipeline_of(programs[stack], "invoices").inputs["name"])
    assert not may(build, "s3:GetObject", f"{bucket}/{others}/source/x.zip")
    assert may(
        build, "logs:PutLogEvents", f"arn:aws:logs:eu-central-1:{account}:log-group:/slipway/{track}/builds/storefront:log"
    )
    assert not may(build, "logs:PutLogEvents", f"arn:aws:logs:eu-central-1:{account}:log-group:/aws/lambda/x:log")
    for each in ("ecr:BatchDeleteImage", "ecr:PutLifecyclePolicy", "ecr:SetRepositoryPolicy"):
        assert not may(build, each, f"{repository}/storefront")


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_a_pipeline_uses_its_connection_and_starts_its_own_build_and_no_more(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del branch
    program = programs[stack]
    pipeline = identity(program, f"storefront-{track}-pipeline", account)
    project = f"arn:aws:codebuild:eu-central-1:{account}:project/slipway-{track}"
    bucket = f"arn:aws:s3:::slipway-artifacts-{account}-eu-central-1"
    prefix = artifacts_of(pipeline_of(program).inputs["name"])
    for each in ("codebuild:StartBuild", "codebuild:BatchGetBuilds"):
        assert may(pipeline, each, f"{project}-storefront")
        assert not may(pipeline, each, f"{project}-invoices")
        assert not may(pipeline, each, f"{project}-storefront-admin")
    assert not may(pipeline, "codebuild:UpdateProject", f"{project}-storefront")
    assert may(pipeline, "s3:PutObject", f"{bucket}/{prefix}/source/x.zip")
    assert not may(pipeline, "iam:PassRole", f"arn:aws:iam::{account}:role/slipway-{track}-storefront-build")


def uses(caller: Identity, connection: str, *, writes: bool, **keys: str | None) -> list[bool]:
    """Whether `caller` may use a connection for a request with these keys, under each name of the service.

    An ARN has one service, and which names a request is judged by has changed before: the other's keys are absent.
    """
    found: list[bool] = []
    for service, other in (("codeconnections", "codestar-connections"), ("codestar-connections", "codeconnections")):
        given = {"FullRepositoryId": None, "BranchName": None, **keys}
        given["ProviderPermissionsRequired"] = "read_write" if writes else "read_only"
        context = {f"{service}:{key}": value for key, value in given.items()}
        absent = {f"{other}:{key}": None for key in given}
        found.append(may(caller, f"{service}:UseConnection", connection, {**context, **absent}))
    return found


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_a_pipeline_reads_one_branch_of_its_repository_over_the_connection_and_writes_nowhere(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    pipeline = identity(program, f"storefront-{track}-pipeline", account)
    connection = action(pipeline_of(program), "Source")["configuration"]["ConnectionArn"]
    own, yes, no = "example-org/storefront", [True, True], [False, False]
    assert uses(pipeline, connection, writes=False, FullRepositoryId=own, BranchName=branch) == yes
    assert uses(pipeline, connection, writes=False, FullRepositoryId=own) == yes
    # The state of an upload: a request about no repository.
    assert uses(pipeline, connection, writes=False) == yes
    assert uses(pipeline, connection, writes=False, FullRepositoryId="example-org/invoices", BranchName=branch) == no
    assert uses(pipeline, connection, writes=False, FullRepositoryId="example-org/invoices") == no
    assert uses(pipeline, connection, writes=False, FullRepositoryId=f"{own}-admin", BranchName=branch) == no
    for elsewhere in ({"develop", "master", "main"} - {branch}) | {f"{branch}2"}:
        assert uses(pipeline, connection, writes=False, FullRepositoryId=own, BranchName=elsewhere) == no
    # GitPush, CreateCommit, UpdatePullRequest and the like.
    assert uses(pipeline, connection, writes=True, FullRepositoryId=own, BranchName=branch) == no
    assert uses(pipeline, connection, writes=True) == no
    another = connection.replace("/0f6ab1c2", "/ffffffff")
    assert another != connection
    assert uses(pipeline, another, writes=False, FullRepositoryId=own, BranchName=branch) == no
    build = identity(program, f"storefront-{track}-build", account)
    assert uses(build, connection, writes=False, FullRepositoryId=own, BranchName=branch) == no


def test_no_build_reads_the_sources_of_another_service_or_track_whose_name_begins_alike() -> None:
    services = ("shop", "shop-admin", "shop-a", "shop-admin-of-a-very-long-name", "shop-admin-of-a-very-long-nature")

    def catalogue(platform: Platform) -> None:
        for number, name in enumerate(services):
            Service(name, ServiceArgs(platform=platform, repository=name, port=8080, priority=1000 + number))

    program = evaluate("dev", catalogue=catalogue)
    bucket = f"arn:aws:s3:::slipway-artifacts-{HOSTS[0][1]}-eu-central-1"
    names = {each: pipeline_of(program, f"{each}-develop").inputs["name"] for each in services}
    for reader in services:
        for role in ("build", "pipeline"):
            caller = identity(program, f"{reader}-develop-{role}", HOSTS[0][1])
            reached = [each for each in services if may(caller, "s3:GetObject", f"{bucket}/{artifacts_of(names[each])}/source/x")]
            assert reached == [reader]
            # Another track's pipeline of the same service, and what stands beside the folder.
            for other in (naming.pipeline("release", reader), naming.pipeline("develop-2", reader)):
                assert not may(caller, "s3:GetObject", f"{bucket}/{artifacts_of(other)}/source/x")
            assert not may(caller, "s3:GetObject", f"{bucket}/{artifacts_of(names[reader])}2/source/x")
            assert not may(caller, "s3:GetObject", f"{bucket}/x")


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_only_pipelines_and_the_service_s_own_project_take_on_its_roles(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del branch
    program = programs[stack]

    def assumes(purpose: str, source: str, principal: str) -> bool:
        role = program.one("iam/role:Role", f"storefront-{track}-{purpose}")
        return bool(may_assume(role.inputs["assumeRolePolicy"], role.outputs["arn"], principal, source))

    project = f"arn:aws:codebuild:eu-central-1:{account}:project/slipway-{track}"
    assert assumes("build", f"{project}-storefront", "codebuild.amazonaws.com")
    assert not assumes("build", f"{project}-invoices", "codebuild.amazonaws.com")
    assert not assumes("build", f"{project}-storefront".replace(account, "999999999999"), "codebuild.amazonaws.com")
    assert not assumes("build", f"{project}-storefront", "lambda.amazonaws.com")
    # CodePipeline names no source (components/pipeline.py).
    pipeline = f"arn:aws:codepipeline:eu-central-1:{account}:{pipeline_of(program).inputs['name']}"
    assert assumes("pipeline", pipeline, "codepipeline.amazonaws.com")
    assert not assumes("pipeline", pipeline, "codebuild.amazonaws.com")


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_sources_lie_in_one_closed_encrypted_bucket_that_forgets_them_after_a_week(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del track, branch
    program = programs[stack]
    bucket = program.one("s3/bucket:Bucket", "builds")
    for pipeline in program.of("codepipeline/pipeline:Pipeline"):
        assert pipeline.inputs["artifactStores"] == [{"location": bucket.inputs["bucket"], "type": "S3"}]
    closed = program.one("BucketPublicAccessBlock", "builds").inputs
    assert closed["bucket"] == bucket.id
    for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
        assert closed[key] is True
    (encryption,) = program.one("BucketServerSideEncryptionConfiguration", "builds").inputs["rules"]
    assert encryption["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "AES256"
    (rule,) = program.one("BucketLifecycleConfiguration", "builds").inputs["rules"]
    assert (rule["status"], rule["expiration"], rule["filter"]) == ("Enabled", {"days": 7}, {"prefix": ""})
    policy = program.one("BucketPolicy", "builds").inputs["policy"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    anybody = Identity(account=account, principal_arn=f"arn:aws:iam::{account}:role/anybody", policies=[everything])
    for action_name in ("s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"):
        for tls, allowed in (("true", True), ("false", False)):
            request = Request(
                caller=anybody,
                action=action_name,
                resource=f"arn:aws:s3:::{bucket.inputs['bucket']}/x",
                resource_account=account,
                context={"aws:SecureTransport": tls},
            )
            assert bool(judge(request, resource_policy=policy)) is allowed


@pytest.mark.parametrize("stack", ["dev", "stg"])
def test_a_build_s_log_is_its_own_and_ends(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    project = project_of(program)
    track = "develop" if stack == "dev" else "release"
    group = program.one("cloudwatch/logGroup:LogGroup", f"storefront-{track}")
    assert project.inputs["logsConfig"] == {"cloudwatchLogs": {"groupName": group.inputs["name"]}}
    assert group.inputs["retentionInDays"] == 30
    assert project.inputs["cache"] == {"type": "LOCAL", "modes": ["LOCAL_DOCKER_LAYER_CACHE"]}
