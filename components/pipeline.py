"""From a pushed branch to a pushed image: one CodePipeline and one CodeBuild project per service and track."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.registry import Registry
from components.settings import Builds as BuildSettings

BUILDSPEC: Final = Path(__file__).with_name("buildspec.yml")
SOURCE_ACTION: Final = "Source"
_ARTIFACT_DAYS: Final = 7

# Build image by architecture; the container type must match.
# https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-available.html
_BUILD_MACHINES: Final = {
    "amd64": ("LINUX_CONTAINER", "aws/codebuild/amazonlinux-x86_64-standard:5.0"),
    "arm64": ("ARM_CONTAINER", "aws/codebuild/amazonlinux-aarch64-standard:3.0"),
}


@dataclass(frozen=True, kw_only=True)
class BuildsArgs:
    """Arguments of `Builds`.

    Attributes:
        account: The hosting account.
        region: Its region.
        settings: How images are built.
        boundary_arn: Permissions boundary of every role.
    """

    account: str
    region: str
    settings: BuildSettings
    boundary_arn: pulumi.Input[str]


class Builds(pulumi.ComponentResource):
    """What all pipelines of a stack share: the bucket that carries sources from one stage to the next.

    Attributes:
        boundary_arn: Permissions boundary of every pipeline's roles.
        bucket: The artifact bucket.
        ready: What a pipeline must wait for.
    """

    account: str
    region: str
    settings: BuildSettings
    boundary_arn: pulumi.Input[str]
    bucket: aws.s3.Bucket
    ready: Sequence[pulumi.Resource]

    def __init__(self, name: str, args: BuildsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the bucket."""
        super().__init__("slipway:pipeline:Builds", name, None, opts)
        self.account, self.region, self.settings = args.account, args.region, args.settings
        self.boundary_arn = args.boundary_arn
        own = pulumi.ResourceOptions(parent=self)
        self.bucket = aws.s3.Bucket(
            name,
            bucket=naming.bucket("artifacts", args.account, args.region),
            # Sources only, which Git has: an empty bucket is not asked for when the stack goes.
            force_destroy=True,
            opts=own,
        )
        closed = aws.s3.BucketPublicAccessBlock(
            name,
            bucket=self.bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=own,
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=self.bucket.id,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=own,
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=self.bucket.id,
            rules=[
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": _ARTIFACT_DAYS},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
                }
            ],
            opts=own,
        )
        policy = aws.s3.BucketPolicy(
            name,
            bucket=self.bucket.id,
            policy=iam.document(
                iam.deny_plain_http(
                    "TlsOnly",
                    actions=["s3:DeleteObject", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:PutObject"],
                    resources=[self.bucket.arn, pulumi.Output.concat(self.bucket.arn, "/*")],
                )
            ),
            # S3 refuses two changes of a bucket's access at once.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[closed]),
        )
        self.ready = [closed, policy]
        self.register_outputs({"bucket": self.bucket.bucket})


@dataclass(frozen=True, kw_only=True)
class PipelineArgs:
    """Arguments of `Pipeline`.

    Attributes:
        builds: What all pipelines of the stack share.
        registry: Where its images go; it names service and track.
        repository: Application repository, `owner/name`.
        branch: The branch whose pushes are built.
        architecture: `arm64` or `amd64`, of build machine and image.
        dockerfile: Path of the Dockerfile within `context`.
        context: Folder of the repository that is sent to the build.
        timeout_minutes: When a build is given up, 5 to 2160.
        depends: What must be in place before the pipeline, which runs once when it is made.
    """

    builds: Builds
    registry: Registry
    repository: str
    branch: str
    architecture: str
    dockerfile: str = "Dockerfile"
    context: str = "."
    timeout_minutes: int = 30
    depends: Sequence[pulumi.Resource] = ()


class Pipeline(pulumi.ComponentResource):
    """Source (by CodeConnections) → build and push. Runs queue up: a newer one never overtakes an older one.

    Attributes:
        name: Name of the pipeline.
    """

    name: str

    def __init__(self, name: str, args: PipelineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the pipeline."""
        super().__init__("slipway:pipeline:Pipeline", name, None, opts)
        registry, builds = args.registry, args.builds
        self.name = naming.pipeline(registry.track, registry.service)
        project, permissions = self._project(name, args)
        role = aws.iam.Role(
            f"{name}-pipeline",
            name=naming.role(registry.track, registry.service, "pipeline"),
            permissions_boundary=builds.boundary_arn,
            # As AWS's own page has it, without a condition on the source: none says that CodePipeline sends one, and a role is
            # passed within its account only.
            # https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-create-service-role-cli.html
            assume_role_policy=iam.document(iam.trust_service("codepipeline.amazonaws.com")),
            opts=pulumi.ResourceOptions(parent=self),
        )
        policy = aws.iam.RolePolicy(
            f"{name}-pipeline",
            role=role.id,
            policy=iam.document(
                _use_connection(args),
                _artifacts(args, write=True),
                iam.allow(
                    "Build",
                    actions=["codebuild:BatchGetBuilds", "codebuild:StartBuild"],
                    resources=[project.arn],
                ),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.codepipeline.Pipeline(
            name,
            name=self.name,
            pipeline_type="V2",
            # SUPERSEDED would let a newer run overtake: its image would be the older one afterwards.
            # https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html
            execution_mode="QUEUED",
            role_arn=role.arn,
            artifact_stores=[{"location": builds.bucket.bucket, "type": "S3"}],
            triggers=[
                {
                    "provider_type": "CodeStarSourceConnection",
                    "git_configuration": {
                        "source_action_name": SOURCE_ACTION,
                        "pushes": [{"branches": {"includes": [args.branch]}}],
                    },
                }
            ],
            stages=[
                {
                    "name": "Source",
                    "actions": [
                        {
                            "name": SOURCE_ACTION,
                            "category": "Source",
                            "owner": "AWS",
                            "provider": "CodeStarSourceConnection",
                            "version": "1",
                            "namespace": "SourceVariables",
                            "output_artifacts": ["source"],
                            "configuration": {
                                "ConnectionArn": builds.settings.connection_arn,
                                "FullRepositoryId": args.repository,
                                "BranchName": args.branch,
                                "OutputArtifactFormat": "CODE_ZIP",
                                # The trigger above decides; this would start a second run for the same push.
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
                            "category": "Build",
                            "owner": "AWS",
                            "provider": "CodeBuild",
                            "version": "1",
                            "namespace": "BuildVariables",
                            "input_artifacts": ["source"],
                            "configuration": {
                                "ProjectName": project.name,
                                "EnvironmentVariables": json.dumps(
                                    [
                                        {
                                            "name": "SOURCE_COMMIT",
                                            "value": "#{SourceVariables.CommitId}",
                                            "type": "PLAINTEXT",
                                        }
                                    ]
                                ),
                            },
                        }
                    ],
                },
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy, permissions, *builds.ready, *args.depends]),
        )
        self.register_outputs({"name": self.name})

    def _project(self, name: str, args: PipelineArgs) -> tuple[aws.codebuild.Project, aws.iam.RolePolicy]:
        """The CodeBuild project, and what its role may do."""
        registry, builds = args.registry, args.builds
        own = pulumi.ResourceOptions(parent=self)
        container, image = _BUILD_MACHINES[args.architecture]
        group = aws.cloudwatch.LogGroup(
            name,
            name=naming.log_group(registry.track, "builds", registry.service),
            retention_in_days=builds.settings.log_retention_days,
            opts=own,
        )
        project_name = naming.project(registry.track, registry.service)
        arn = f"arn:aws:codebuild:{builds.region}:{builds.account}:project/{project_name}"
        role = aws.iam.Role(
            f"{name}-build",
            name=naming.role(registry.track, registry.service, "build"),
            permissions_boundary=builds.boundary_arn,
            assume_role_policy=iam.document(iam.trust_service("codebuild.amazonaws.com", account=builds.account, source_arn=arn)),
            opts=own,
        )
        policy = aws.iam.RolePolicy(
            f"{name}-build",
            role=role.id,
            policy=iam.document(
                iam.allow(
                    "Log",
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                    resources=[pulumi.Output.concat(group.arn, ":*")],
                ),
                _artifacts(args, write=False),
                iam.allow_everywhere(
                    "LogIn",
                    actions=["ecr:GetAuthorizationToken"],
                    because="the action knows no resource: "
                    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html",
                ),
                iam.allow(
                    "Push",
                    # https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
                    actions=[
                        "ecr:BatchCheckLayerAvailability",
                        "ecr:BatchGetImage",
                        "ecr:CompleteLayerUpload",
                        "ecr:InitiateLayerUpload",
                        "ecr:PutImage",
                        "ecr:UploadLayerPart",
                    ],
                    resources=[registry.arn],
                ),
            ),
            opts=own,
        )
        project = aws.codebuild.Project(
            name,
            name=project_name,
            description=f"Builds {args.repository}@{args.branch} into {registry.name}",
            service_role=role.arn,
            build_timeout=args.timeout_minutes,
            # No `concurrent_build_limit`: the pipeline's queue is the order. Over a project's limit a start fails; over the
            # account's quota it waits. https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html
            artifacts={"type": "CODEPIPELINE"},
            source={"type": "CODEPIPELINE", "buildspec": BUILDSPEC.read_text(encoding="utf-8")},
            # Layers stay on the build host while it lives: nothing is shared between services.
            cache={"type": "LOCAL", "modes": ["LOCAL_DOCKER_LAYER_CACHE"]},
            environment={
                "type": container,
                "image": image,
                "compute_type": "BUILD_GENERAL1_SMALL",
                # The Docker daemon needs it; hence the buildspec that no pull request can change.
                "privileged_mode": True,
                "environment_variables": [
                    {"name": "REPOSITORY_URL", "value": registry.url},
                    {"name": "DOCKERFILE", "value": args.dockerfile},
                    {"name": "CONTEXT", "value": args.context},
                    {"name": "PLATFORM", "value": f"linux/{args.architecture}"},
                ],
            },
            logs_config={"cloudwatch_logs": {"group_name": group.name}},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        return project, policy


def _use_connection(args: PipelineArgs) -> iam.Statement:
    """Use the connection to read one branch of one repository.

    The connection itself can read and write every repository that it was installed on.

    All keys are tested only where a request carries them. The first two are documented for requests "for access to a specific
    repository" and "branch", and CodePipeline also makes others with the same role (it asks for the state of an upload): a
    plain `StringLike` on the repository was tried by others and made the source action fail.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodeconnections.html
    https://docs.aws.amazon.com/dtconsole/latest/userguide/security-iam.html#permissions-reference-connections-use
    https://github.com/cloudposse/terraform-aws-ecs-codepipeline/pull/75
    """
    wanted = {
        "BranchName": args.branch,
        "FullRepositoryId": args.repository,
        # GitPush, CreateCommit and UpdatePullRequest need `read_write`.
        "ProviderPermissionsRequired": "read_only",
    }
    # Both names of the service, for actions and keys: the connection's ARN may be of the older one.
    # https://docs.aws.amazon.com/dtconsole/latest/userguide/rename.html
    services = ("codeconnections", "codestar-connections")
    return iam.allow(
        "UseConnection",
        actions=[f"{service}:UseConnection" for service in services],
        resources=[args.builds.settings.connection_arn],
        conditions={"StringEqualsIfExists": {f"{each}:{key}": value for each in services for key, value in wanted.items()}},
    )


def _artifacts(args: PipelineArgs, *, write: bool) -> iam.Statement:
    """Reach this pipeline's own artifacts, and no other pipeline's: `naming.pipeline` says where they are."""
    folder = naming.artifacts(args.registry.track, args.registry.service)
    return iam.allow(
        "Artifacts",
        actions=["s3:GetObject", "s3:GetObjectVersion", *(["s3:PutObject"] if write else [])],
        resources=[pulumi.Output.concat(args.builds.bucket.arn, f"/{folder}/*")],
    )
