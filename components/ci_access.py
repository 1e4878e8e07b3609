"""Who may do what in this account from GitHub Actions: each role is bound to one repository and its purposes.

Two preview and deploy this stack. One for each hosted track lets the GitOps repository's workflows see which images there are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.settings import CodeRepository, Settings

# https://docs.github.com/en/actions/how-tos/secure-your-work/security-harden-deployments/oidc-in-aws
ISSUER: Final = "token.actions.githubusercontent.com"
AUDIENCE: Final = "sts.amazonaws.com"
_SESSION_SECONDS: Final = 3600
# Deploying declares roles, networks and clusters, which PowerUserAccess and the statements below are; the boundary is what
# keeps it from making anybody stronger. https://docs.aws.amazon.com/aws-managed-policy/latest/reference/PowerUserAccess.html
_POWER_USER: Final = "arn:aws:iam::aws:policy/PowerUserAccess"

# What a preview reads of resources that IAM has no ARN for. Not ec2:DescribeLaunchTemplateVersions: it returns everybody's user
# data. Reading a launch template is `refresh`'s alone, which the deploy role runs.
_PREVIEW_LISTS: Final = (
    "chatbot:DescribeSlackChannelConfigurations",
    "chatbot:ListTagsForResource",
    "ec2:DescribeAddresses",
    "ec2:DescribeAddressesAttribute",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeFlowLogs",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeNatGateways",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribePrefixLists",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcEndpoints",
    "ec2:DescribeVpcs",
    "eks:DescribeAddonVersions",
    "eks:DescribeClusterVersions",
    "elasticloadbalancing:DescribeCapacityReservation",
    "elasticloadbalancing:DescribeListenerAttributes",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTargetGroups",
    "logs:DescribeLogGroups",
    "route53:ListHostedZones",
    # Drawn by every run of components/argocd.py; it returns a new password, and nobody's.
    "secretsmanager:GetRandomPassword",
    "ssm:DescribeParameters",
)


@dataclass(frozen=True, kw_only=True)
class CiAccessArgs:
    """Arguments of `CiAccess`.

    Attributes:
        account: The stack's account.
        region: Its region.
        settings: The stack's settings.
    """

    account: str
    region: str
    settings: Settings


class Place(TypedDict):
    """Where a component's resources are, and within what bounds: unpacked into the args of every component with roles."""

    account: str
    region: str
    boundary_arn: pulumi.Input[str]


class CiAccess(pulumi.ComponentResource):
    """A preview role for pull requests and a deploy role for one GitHub environment.

    Attributes:
        place: Account, region, and the permissions boundary of the deploy role, which every role made here must wear.
        preview_role_arn: Reads, and changes nothing.
        deploy_role_arn: Applies this program, within the boundary.
    """

    place: Place
    preview_role_arn: pulumi.Output[str]
    deploy_role_arn: pulumi.Output[str]

    def __init__(self, name: str, args: CiAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare both roles."""
        super().__init__("slipway:ci_access:CiAccess", name, None, opts)
        settings, stack = args.settings, args.settings.stack
        # Bootstrap made the provider: an account has one for GitHub, and others than us use it too.
        provider = f"arn:aws:iam::{args.account}:oidc-provider/{ISSUER}"
        boundary = aws.iam.Policy(
            f"{name}-boundary",
            name=naming.role(stack, "boundary"),
            description="What neither the deploy role nor any role that it makes can ever do",
            policy=iam.document(*boundary_statements(args.account, stack)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        preview = aws.iam.Role(
            f"{name}-preview",
            name=naming.role(stack, "preview"),
            description="Previews this stack on pull requests",
            max_session_duration=_SESSION_SECONDS,
            permissions_boundary=boundary.arn,
            assume_role_policy=iam.document(trust(provider, subjects(settings, "pull_request"))),
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.iam.RolePolicy(
            f"{name}-preview",
            role=preview.id,
            policy=iam.document(
                *preview_statements(account=args.account, region=args.region, stack=stack, tracks=settings.hosted_tracks),
                self._read_state(args),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

        deploy = aws.iam.Role(
            f"{name}-deploy",
            name=naming.role(stack, "deploy"),
            description=f"Deploys this stack from the GitHub environment {settings.access.deploy_environment}",
            max_session_duration=_SESSION_SECONDS,
            permissions_boundary=boundary.arn,
            assume_role_policy=iam.document(
                trust(provider, subjects(settings, f"environment:{settings.access.deploy_environment}"))
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.iam.RolePolicyAttachment(
            f"{name}-deploy", role=deploy.name, policy_arn=_POWER_USER, opts=pulumi.ResourceOptions(parent=self)
        )
        aws.iam.RolePolicy(
            f"{name}-deploy",
            role=deploy.id,
            policy=iam.document(*deploy_statements(args.account, stack)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        if settings.gitops.id is not None:
            repository = CodeRepository(name=settings.gitops.repository, id=settings.gitops.id)
            for track in settings.hosted_tracks:
                self._image_reader(name, args, track, trust(provider, reading_subjects(settings, repository)), boundary)
        self.place = Place(account=args.account, region=args.region, boundary_arn=boundary.arn)
        self.preview_role_arn, self.deploy_role_arn = preview.arn, deploy.arn
        self.register_outputs({"previewRoleArn": self.preview_role_arn, "deployRoleArn": self.deploy_role_arn})

    def _image_reader(self, name: str, args: CiAccessArgs, track: str, trusted: iam.Statement, boundary: aws.iam.Policy) -> None:
        """Sees which images of a track there are, and nothing of what is in them."""
        reader = aws.iam.Role(
            f"{name}-{track}-images",
            name=naming.image_reader(track),
            description=f"Lets the GitOps repository's workflows see which images of {track} there are",
            max_session_duration=_SESSION_SECONDS,
            permissions_boundary=boundary.arn,
            assume_role_policy=iam.document(trusted),
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.iam.RolePolicy(
            f"{name}-{track}-images",
            role=reader.id,
            policy=iam.document(seeing_images(args.account, args.region, track)),
            opts=pulumi.ResourceOptions(parent=self),
        )

    @staticmethod
    def _read_state(args: CiAccessArgs) -> iam.Statement:
        """Bootstrap's state bucket: a preview reads the checkpoint, and takes no lock (`pulumi preview` needs none).

        What is encrypted in it is opened with bootstrap's key, whose own policy lets this role decrypt (bootstrap/).
        """
        bucket = f"arn:aws:s3:::{naming.bucket('state', args.account, args.region)}"
        return iam.allow("ReadState", actions=["s3:GetObject", "s3:ListBucket"], resources=[bucket, f"{bucket}/*"])


def subjects(settings: Settings, purpose: str, repository: CodeRepository | None = None) -> Sequence[str]:
    """The OIDC subjects of one purpose (`pull_request`, `environment:NAME`, `ref:REF`) in both of GitHub's formats.

    Repositories made or renamed since July 2026 send ids beside the names, so that a name that is taken over later
    matches nothing; older ones send names alone. Both are exact: no wildcard.
    https://docs.github.com/en/actions/reference/security/oidc

    Args:
        settings: The stack's.
        purpose: As GitHub names it.
        repository: Whose runs; None for the one that holds this program.
    """
    owner, repository = settings.organization, repository or settings.access.repository
    return [
        f"repo:{owner.name}/{repository.name}:{purpose}",
        f"repo:{owner.name}@{owner.id}/{repository.name}@{repository.id}:{purpose}",
    ]


def reading_subjects(settings: Settings, repository: CodeRepository) -> Sequence[str]:
    """Subjects of the jobs that may look images up: verify's, and those that hold the promoter's key (release, pin).

    Both environments admit the default branch alone (components/gitops.py), so a workflow on another branch never has them.
    """
    purposes = [f"environment:{name}" for name in (naming.VERIFY_ENVIRONMENT, naming.PROMOTER_ENVIRONMENT)]
    return [subject for purpose in purposes for subject in subjects(settings, purpose, repository)]


def seeing_images(account: str, region: str, track: str) -> iam.Statement:
    """See which images of a track there are, by tag and digest."""
    repositories = f"arn:aws:ecr:{region}:{account}:repository/{naming.repository_prefix(track)}*"
    return iam.allow("SeeImages", actions=["ecr:DescribeImages"], resources=[repositories])


def trust(provider_arn: str, subs: Sequence[str]) -> iam.Statement:
    """Let GitHub's tokens with one of `subs`, made for AWS, assume the role."""
    return iam.grant(
        "GitHubActions",
        to={"Federated": provider_arn},
        actions=["sts:AssumeRoleWithWebIdentity"],
        conditions={"StringEquals": {f"{ISSUER}:aud": AUDIENCE, f"{ISSUER}:sub": list(subs)}},
    )


def preview_statements(*, account: str, region: str, stack: str, tracks: Iterable[str]) -> Sequence[iam.Statement]:
    """Return what previewing needs: reads of what the program declares, by the names that it gives.

    tests/roles holds each action against what AWS and the provider ask for, and no action is here that they do not.
    Settings that teams change often (services, admins, chat, clusters) do not change the result, because the deploy role
    cannot update this role. A new track does, so an administrator applies it.

    Args:
        account: The stack's account.
        region: Its region.
        stack: Name of the stack.
        tracks: Tracks that it hosts.
    """
    here, ours = f"{region}:{account}", f"{naming.PROJECT}-*"
    cluster = naming.cluster(stack, "*")
    hosted = sorted(tracks)
    return [
        iam.allow_everywhere(
            "ReadWhatHasNoArn",
            actions=_PREVIEW_LISTS,
            because="these actions know no resource, and none returns code, user data, an environment variable or a secret: "
            "https://docs.aws.amazon.com/service-authorization/latest/reference/"
            "reference_policies_actions-resources-contextkeys.html",
        ),
        iam.allow(
            "ReadIdentities",
            actions=[
                "iam:GetPolicy",
                "iam:GetPolicyVersion",
                "iam:GetRolePolicy",
                "iam:ListAttachedRolePolicies",
                "iam:ListRolePolicies",
            ],
            resources=[f"arn:aws:iam::{account}:role/{ours}", f"arn:aws:iam::{account}:policy/{ours}"],
        ),
        # Also administrators of clusters, whose roles have any name: a role that does not exist is refused in the preview.
        # It returns trust policy and description, not permissions.
        iam.allow("FindRoles", actions=["iam:GetRole"], resources=[f"arn:aws:iam::{account}:role/*"]),
        iam.allow(
            "ReadEdgeAndNetwork",
            actions=[
                "acm:DescribeCertificate",
                "acm:ListTagsForCertificate",
                "ec2:DescribeVpcAttribute",
                "route53:GetHostedZone",
                "route53:ListResourceRecordSets",
                "route53:ListTagsForResource",
            ],
            # AWS chooses these names. What they hold is public: certificates by their logs, zones by DNS.
            resources=[f"arn:aws:acm:{here}:certificate/*", f"arn:aws:ec2:{here}:vpc/*", "arn:aws:route53:::hostedzone/*"],
        ),
        iam.allow(
            "ReadBuckets",
            actions=[
                "s3:GetAccelerateConfiguration",
                "s3:GetBucketAcl",
                "s3:GetBucketCORS",
                "s3:GetBucketLogging",
                "s3:GetBucketObjectLockConfiguration",
                "s3:GetBucketPolicy",
                "s3:GetBucketPublicAccessBlock",
                "s3:GetBucketRequestPayment",
                "s3:GetBucketTagging",
                "s3:GetBucketVersioning",
                "s3:GetBucketWebsite",
                "s3:GetEncryptionConfiguration",
                "s3:GetLifecycleConfiguration",
                "s3:GetReplicationConfiguration",
                "s3:ListBucket",
                "s3:ListTagsForResource",
            ],
            # Not the state bucket: ReadState says what is read there.
            resources=[f"arn:aws:s3:::{naming.PROJECT}-*{purpose}-*" for purpose in ("artifacts", "edge-logs")],
        ),
        iam.allow(
            "ReadClusters",
            actions=[
                "eks:DescribeAccessEntry",
                "eks:DescribeAddon",
                "eks:DescribeCluster",
                "eks:DescribeNodegroup",
                "eks:DescribePodIdentityAssociation",
                "eks:ListAssociatedAccessPolicies",
            ],
            resources=[
                f"arn:aws:eks:{here}:{kind}/{cluster}{below}"
                for kind, below in (
                    ("cluster", ""),
                    ("access-entry", "/*"),
                    ("addon", "/*"),
                    ("nodegroup", "/*"),
                    ("podidentityassociation", "/*"),
                )
            ],
        ),
        iam.allow(
            "ReadLogsAndAlarms",
            actions=["cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource", "logs:ListTagsForResource"],
            resources=[
                f"arn:aws:cloudwatch:{here}:alarm:{ours}",
                *(
                    f"arn:aws:logs:{here}:log-group:{group}"
                    for group in (naming.log_group("*"), f"/aws/eks/{cluster}/cluster", f"/aws/lambda/{ours}")
                ),
            ],
        ),
        iam.allow(
            "ReadBuilds",
            actions=["codebuild:BatchGetProjects", "codepipeline:GetPipeline", "codepipeline:ListTagsForResource"],
            resources=[f"arn:aws:codebuild:{here}:project/{ours}", f"arn:aws:codepipeline:{here}:{ours}"],
        ),
        iam.allow(
            "ReadHooks",
            actions=[
                "events:DescribeRule",
                "events:ListTagsForResource",
                "events:ListTargetsByRule",
                "lambda:GetFunction",
                "lambda:GetFunctionCodeSigningConfig",
                "lambda:ListVersionsByFunction",
                "scheduler:GetSchedule",
                "sns:GetSubscriptionAttributes",
                "sns:GetTopicAttributes",
                "sns:ListTagsForResource",
                "sqs:GetQueueAttributes",
                "sqs:ListQueueTags",
            ],
            resources=[
                f"arn:aws:events:{here}:rule/{ours}",
                f"arn:aws:lambda:{here}:function:{ours}",
                f"arn:aws:scheduler:{here}:schedule/default/{ours}",
                f"arn:aws:sns:{here}:{ours}",
                f"arn:aws:sqs:{here}:{ours}",
            ],
        ),
        iam.allow(
            "ReadEventSources",
            actions=["lambda:GetEventSourceMapping", "lambda:ListTags"],
            # AWS names them by random ids, and this role may list none.
            resources=[f"arn:aws:lambda:{here}:event-source-mapping:*"],
        ),
        iam.allow(
            "ReadSecretsButNoValue",
            actions=["secretsmanager:DescribeSecret", "secretsmanager:GetResourcePolicy"],
            resources=[f"arn:aws:secretsmanager:{here}:secret:{naming.argocd_secret('*')}"],
        ),
        *([_read_hosted(here, hosted)] if hosted else []),
    ]


def _read_hosted(here: str, tracks: Sequence[str]) -> iam.Statement:
    """Return the reads of what is named after a track alone: repositories, and the writer's catalogue, which holds no secret."""
    return iam.allow(
        "ReadTracks",
        actions=[
            "ecr:DescribeRepositories",
            "ecr:GetLifecyclePolicy",
            "ecr:GetRepositoryPolicy",
            "ecr:ListTagsForResource",
            "ssm:GetParameter",
            "ssm:ListTagsForResource",
        ],
        resources=[
            *(f"arn:aws:ecr:{here}:repository/{naming.repository_prefix(track)}*" for track in tracks),
            *(f"arn:aws:ssm:{here}:parameter{naming.catalogue_path(track)}*" for track in tracks),
        ],
    )


def deploy_statements(account: str, stack: str) -> Sequence[iam.Statement]:
    """What deploying needs of IAM, on roles and policies of ours; everything else is PowerUserAccess."""
    within = {"StringEquals": {"iam:PermissionsBoundary": boundary_arn(account, stack)}}
    ours = [f"arn:aws:iam::{account}:role/{naming.PROJECT}-*", f"arn:aws:iam::{account}:policy/{naming.PROJECT}-*"]
    return [
        iam.allow(
            "ReadIdentities",
            actions=[
                "iam:GetPolicy",
                "iam:GetPolicyVersion",
                "iam:GetRolePolicy",
                "iam:ListAttachedRolePolicies",
                "iam:ListInstanceProfilesForRole",
                "iam:ListPolicyVersions",
                "iam:ListRolePolicies",
            ],
            resources=ours,
        ),
        # Also service-linked roles, which CreateNodegroup asks its caller to see, and the administrators of clusters.
        # https://docs.aws.amazon.com/eks/latest/userguide/using-service-linked-roles-eks-nodegroups.html
        iam.allow("FindRoles", actions=["iam:GetRole"], resources=[f"arn:aws:iam::{account}:role/*"]),
        iam.allow(
            "MakeRolesWithinTheBoundary",
            actions=[
                "iam:AttachRolePolicy",
                "iam:CreateRole",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:PutRolePolicy",
            ],
            resources=[ours[0]],
            conditions=within,
        ),
        iam.allow(
            "ChangeRolesOfOurs",
            actions=[
                "iam:DeleteRole",
                "iam:TagRole",
                "iam:UntagRole",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
                "iam:UpdateRoleDescription",
            ],
            resources=[ours[0]],
        ),
        iam.allow(
            "ChangePoliciesOfOurs",
            actions=[
                "iam:CreatePolicy",
                "iam:CreatePolicyVersion",
                "iam:DeletePolicy",
                "iam:DeletePolicyVersion",
                "iam:TagPolicy",
                "iam:UntagPolicy",
            ],
            resources=[ours[1]],
        ),
        iam.allow(
            "HandRolesToServices",
            actions=["iam:PassRole"],
            resources=[ours[0]],
            conditions={
                "StringEquals": {
                    "iam:PassedToService": [
                        "chatbot.amazonaws.com",
                        "codebuild.amazonaws.com",
                        "codepipeline.amazonaws.com",
                        "ec2.amazonaws.com",
                        "eks.amazonaws.com",
                        "lambda.amazonaws.com",
                        "pods.eks.amazonaws.com",
                        "scheduler.amazonaws.com",
                        "vpc-flow-logs.amazonaws.com",
                    ]
                }
            },
        ),
    ]


def boundary_arn(account: str, stack: str) -> str:
    """ARN of the stack's permissions boundary."""
    return f"arn:aws:iam::{account}:policy/{naming.role(stack, 'boundary')}"


def boundary_statements(account: str, stack: str) -> Sequence[iam.Statement]:
    """The boundary: allows what the role's own policies allow, and takes away every way out of it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
    """
    # Of every stack: another one may share the account, and roles have no region.
    locked = [
        f"arn:aws:iam::{account}:policy/{naming.role('*', 'boundary')}",
        f"arn:aws:iam::{account}:role/{naming.role('*', 'deploy')}",
        f"arn:aws:iam::{account}:role/{naming.role('*', 'preview')}",
        f"arn:aws:iam::{account}:oidc-provider/{ISSUER}",
    ]
    return [
        # A boundary grants nothing by itself; what it does not name is denied. So it names all, and denies below.
        {"Sid": "WithinOwnPolicies", "Effect": "Allow", "NotAction": ["organizations:LeaveOrganization"], "Resource": "*"},
        {
            "Sid": "NeverLoosenItself",
            "Effect": "Deny",
            "Action": [
                "iam:AddClientIDToOpenIDConnectProvider",
                "iam:AttachRolePolicy",
                "iam:CreatePolicyVersion",
                "iam:DeleteOpenIDConnectProvider",
                "iam:DeletePolicy",
                "iam:DeletePolicyVersion",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:PutRolePolicy",
                "iam:SetDefaultPolicyVersion",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateOpenIDConnectProviderThumbprint",
                # Or its sessions could last for twelve hours.
                "iam:UpdateRole",
            ],
            "Resource": locked,
        },
        {
            "Sid": "NoPeople",
            "Effect": "Deny",
            "Action": [
                "iam:AddUserToGroup",
                "iam:AttachGroupPolicy",
                "iam:AttachUserPolicy",
                "iam:CreateAccessKey",
                "iam:CreateLoginProfile",
                "iam:CreateOpenIDConnectProvider",
                "iam:CreateSAMLProvider",
                "iam:CreateServiceSpecificCredential",
                "iam:CreateUser",
                "iam:DeactivateMFADevice",
                "iam:DeleteUserPermissionsBoundary",
                "iam:PutGroupPolicy",
                "iam:PutUserPermissionsBoundary",
                "iam:PutUserPolicy",
                "iam:ResetServiceSpecificCredential",
                "iam:UpdateLoginProfile",
                "iam:UpdateSAMLProvider",
                "iam:UploadSSHPublicKey",
                "iam:UploadSigningCertificate",
            ],
            # Whoever is made in whatever way: a denial is the one place where a wildcard narrows.
            "Resource": "*",
        },
        {
            "Sid": "NoAdministrators",
            "Effect": "Deny",
            "Action": ["iam:AttachRolePolicy"],
            "Resource": [f"arn:aws:iam::{account}:role/*"],
            "Condition": {
                "ArnEquals": {
                    "iam:PolicyARN": [
                        "arn:aws:iam::aws:policy/AdministratorAccess",
                        "arn:aws:iam::aws:policy/IAMFullAccess",
                        "arn:aws:iam::aws:policy/PowerUserAccess",
                    ]
                }
            },
        },
        {
            # Without it a role made here could make another one that wears no boundary, or change its own for a wider one.
            "Sid": "BoundaryOnEveryRole",
            "Effect": "Deny",
            "Action": ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"],
            "Resource": "*",
            "Condition": {"StringNotEquals": {"iam:PermissionsBoundary": boundary_arn(account, stack)}},
        },
        {
            # Or it could take its own off.
            "Sid": "BoundaryStays",
            "Effect": "Deny",
            "Action": ["iam:DeleteRolePermissionsBoundary"],
            "Resource": "*",
        },
        {
            # Others of the account may be stronger: letting oneself in, or handing one to a function of one's own, is a way out.
            "Sid": "OthersAreOutOfReach",
            "Effect": "Deny",
            "Action": [
                "iam:AttachRolePolicy",
                "iam:CreatePolicyVersion",
                "iam:DeletePolicy",
                "iam:DeletePolicyVersion",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:PassRole",
                "iam:PutRolePolicy",
                "iam:SetDefaultPolicyVersion",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
            ],
            "NotResource": [
                f"arn:aws:iam::{account}:role/{naming.PROJECT}-*",
                f"arn:aws:iam::{account}:policy/{naming.PROJECT}-*",
            ],
        },
        {
            "Sid": "NoStepSideways",
            "Effect": "Deny",
            "Action": ["sts:AssumeRole"],
            "Resource": "*",
        },
    ]
