"""Which permissions each declared resource needs from whoever creates, reads, updates or deletes it.

AWS publishes most of it: CloudFormation's schemas list the actions of each verb (`reference.handlers`). A row names the schema of
its Pulumi type. It adds the calls that only the provider makes, each with the file that makes them, and takes away what
the handlers list for properties that this program does not set, each with the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rehearsal.program import Declared

# Paths of sources are below this address, at the version that pulumi-aws in requirements.txt wraps.
PROVIDER: Final = "https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/"
VERBS: Final = ("create", "read", "update", "delete")
# Handlers of the verb `list` are for finding resources that nobody declared: neither engine nor provider does that.
LEFT_OUT: Final = "list"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stack is: its account and region."""

    account: str
    region: str

    def arn(self, service: str, rest: str) -> str:
        """Return a regional ARN."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{rest}"

    def role(self, name: str) -> str:
        """Return a role's ARN."""
        return f"arn:aws:iam::{self.account}:role/{name}"


Arns = Callable[[Declared, Place], Sequence[str]]
Passed = Callable[[Declared, Place], Sequence[tuple[str, str]]]


def _own(declared: Declared, place: Place) -> Sequence[str]:
    del place
    return [declared.outputs["arn"]]


def _none(declared: Declared, place: Place) -> Sequence[str]:
    """Of nothing that a read is judged on; changes are PowerUserAccess's, on whatever resource."""
    del declared, place
    return []


def _passes_none(declared: Declared, place: Place) -> Sequence[tuple[str, str]]:
    del declared, place
    return []


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one resource type needs.

    Attributes:
        schema: CloudFormation type whose handlers list it, "" where there is none with handlers.
        calls: What the provider calls besides, by verb. All there is, without a schema.
        source: File of the provider that makes `calls`, below `PROVIDER`, or an address.
        arns: The resources that reads and calls of IAM are judged on.
        passes: Roles that it hands to a service, each with the service's name.
        linked: Service-linked roles that AWS makes with the first one of its kind: `service/role`.
        never: Actions that the handlers list, or all actions of a service (`kms:`), that nobody calls here; each with the reason.
        hidden: Reads that the preview role must not have; each with the reason.
    """

    schema: str = ""
    calls: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    source: str = ""
    arns: Arns = _own
    passes: Passed = _passes_none
    linked: Sequence[str] = ()
    never: Mapping[str, str] = field(default_factory=dict[str, str])
    hidden: Mapping[str, str] = field(default_factory=dict[str, str])


def _role_of(key: str, *services: str) -> Passed:
    """Return who passes the role in the input `key` to `services`."""

    def passes(declared: Declared, place: Place) -> Sequence[tuple[str, str]]:
        del place
        return [(declared.inputs[key], service) for service in services]

    return passes


def _bucket(declared: Declared, place: Place) -> Sequence[str]:
    del place
    return [f"arn:aws:s3:::{declared.inputs['bucket']}"]


def _role(declared: Declared, place: Place) -> Sequence[str]:
    return [place.role(declared.inputs["role"])]


def _in_cluster(kind: str, name: Callable[[Mapping[str, Any]], str], cluster: str = "clusterName") -> Arns:
    """Return the ARNs of a part of a cluster, and of the cluster itself."""

    def arns(declared: Declared, place: Place) -> Sequence[str]:
        of = declared.inputs[cluster]
        return [
            place.arn("eks", f"{kind}/{of}/{name(declared.inputs)}0a1b2c3d-0000-4000-8000-000000000000"),
            place.arn("eks", f"cluster/{of}"),
        ]

    return arns


def _entry(inputs: Mapping[str, Any]) -> str:
    """Return the middle of an access entry's ARN: kind, account and name of its principal."""
    account, kind, name = str(inputs["principalArn"]).replace("/", ":", 1).split(":")[4:]
    return f"{kind}/{account}/{name}/"


def _repository(key: str) -> Arns:
    return lambda declared, place: [place.arn("ecr", f"repository/{declared.inputs[key]}")]


def _target(declared: Declared, place: Place) -> Sequence[str]:
    return [place.arn("events", f"rule/{declared.inputs['rule']}")]


def _zone(declared: Declared, place: Place) -> Sequence[str]:
    del place
    return [f"arn:aws:route53:::hostedzone/{declared.inputs['zoneId']}", "arn:aws:route53:::change/C0123456789EXAMPLE"]


def _input(key: str) -> Arns:
    """Return the ARN in an input."""

    def arns(declared: Declared, place: Place) -> Sequence[str]:
        del place
        return [declared.inputs[key]]

    return arns


def _queue(declared: Declared, place: Place) -> Sequence[str]:
    return [place.arn("sqs", str(declared.inputs["queueUrl"]).rpartition("/")[2])]


def _secret(key: str) -> Arns:
    """Return a secret's ARN, which AWS ends with six random characters."""

    def arns(declared: Declared, place: Place) -> Sequence[str]:
        name = str(declared.inputs[key]).rpartition(":secret:")[2]
        return [place.arn("secretsmanager", f"secret:{name}-a1B2c3")]

    return arns


def _mapping(declared: Declared, place: Place) -> Sequence[str]:
    del declared
    return [place.arn("lambda", "event-source-mapping:0a1b2c3d-0000-4000-8000-000000000000")]


def _vpc(declared: Declared, place: Place) -> Sequence[str]:
    return [place.arn("ec2", f"vpc/{declared.id}")]


def _chat(declared: Declared, place: Place) -> Sequence[str]:
    return [f"arn:aws:chatbot::{place.account}:chat-configuration/slack-channel/{declared.inputs['configurationName']}"]


def _cluster(declared: Declared, place: Place) -> Sequence[str]:
    return [place.arn("eks", f"cluster/{declared.inputs['name']}")]


_NO_KEY: Final = "the program sets no KMS key of its own (components/): AWS's own key asks its caller for nothing"
_NO_PROPERTY: Final = "for a property that the program does not set"
_OTHER_RESOURCE: Final = "the provider has a resource of its own for it, which the program does not declare"
_READ_OTHERWISE: Final = "the provider's read does not call it"
_BALANCERS: Final = "elasticloadbalancing.amazonaws.com/AWSServiceRoleForElasticLoadBalancing"
_LINGERING: Final = ("ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DetachNetworkInterface")

TABLE: Final[Mapping[str, Needs]] = {
    "aws:acm/certificate:Certificate": Needs(
        schema="AWS::CertificateManager::Certificate",
        arns=lambda _, place: [place.arn("acm", "certificate/0a1b2c3d-0000-4000-8000-000000000000")],
    ),
    "aws:acm/certificateValidation:CertificateValidation": Needs(
        calls={"create": ["acm:DescribeCertificate"], "read": ["acm:DescribeCertificate"]},
        source="acm/certificate_validation.go",
        arns=lambda _, place: [place.arn("acm", "certificate/0a1b2c3d-0000-4000-8000-000000000000")],
    ),
    "aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration": Needs(
        schema="AWS::Chatbot::SlackChannelConfiguration",
        calls={"read": ["chatbot:ListTagsForResource"]},
        source="chatbot/slack_channel_configuration.go",
        arns=_chat,
        passes=_role_of("iamRoleArn", "chatbot.amazonaws.com"),
        # https://docs.aws.amazon.com/chatbot/latest/adminguide/using-service-linked-roles.html
        linked=["management.chatbot.amazonaws.com/AWSServiceRoleForAWSChatbot"],
        never={
            "chatbot:ListAssociations": "it is for custom actions, which the program has none of",
        },
    ),
    "aws:cloudwatch/eventRule:EventRule": Needs(
        schema="AWS::Events::Rule",
        never={"iam:PassRole": "its targets are queues, which admit the rule by their own policy and take no role"},
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Needs(
        calls={
            "create": ["events:PutTargets", "events:ListTargetsByRule"],
            "read": ["events:ListTargetsByRule"],
            "update": ["events:PutTargets", "events:ListTargetsByRule"],
            "delete": ["events:RemoveTargets"],
        },
        source="events/target.go",
        arns=_target,
    ),
    "aws:cloudwatch/logGroup:LogGroup": Needs(
        schema="AWS::Logs::LogGroup",
        never={
            "logs:DescribeIndexPolicies": _READ_OTHERWISE,
            "logs:DescribeResourcePolicies": _READ_OTHERWISE,
            "logs:GetDataProtectionPolicy": _OTHER_RESOURCE,
            "s3:REST.PUT.OBJECT": "no policy can name it: IAM knows no such action",
        },
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Needs(schema="AWS::CloudWatch::Alarm"),
    "aws:codebuild/project:Project": Needs(
        # Its schema has no handlers.
        calls={
            "create": ["codebuild:CreateProject", "codebuild:BatchGetProjects", "iam:PassRole"],
            "read": ["codebuild:BatchGetProjects"],
            "update": ["codebuild:UpdateProject", "codebuild:BatchGetProjects", "iam:PassRole"],
            "delete": ["codebuild:DeleteProject"],
        },
        source="codebuild/project.go",
        passes=_role_of("serviceRole", "codebuild.amazonaws.com"),
    ),
    "aws:codepipeline/pipeline:Pipeline": Needs(
        schema="AWS::CodePipeline::Pipeline",
        # Both names of the service: https://docs.aws.amazon.com/dtconsole/latest/userguide/rename.html
        calls={"create": ["codeconnections:PassConnection"], "update": ["codeconnections:PassConnection"]},
        source="https://docs.aws.amazon.com/dtconsole/latest/userguide/security-iam.html",
        passes=_role_of("roleArn", "codepipeline.amazonaws.com"),
        never={"codepipeline:GetPipelineState": _READ_OTHERWISE},
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Needs(
        calls={
            "create": [
                "ec2:CreateTags",
                "ec2:DescribeSecurityGroups",
                "ec2:RevokeSecurityGroupEgress",
                "ec2:RevokeSecurityGroupIngress",
            ],
            "read": ["ec2:DescribeSecurityGroups"],
            "update": [
                "ec2:AuthorizeSecurityGroupEgress",
                "ec2:AuthorizeSecurityGroupIngress",
                "ec2:RevokeSecurityGroupEgress",
                "ec2:RevokeSecurityGroupIngress",
            ],
        },
        source="ec2/vpc_default_security_group.go",
        arns=_none,
    ),
    "aws:ec2/eip:Eip": Needs(
        schema="AWS::EC2::EIP",
        calls={"read": ["ec2:DescribeAddressesAttribute"]},
        source="ec2/ec2_eip.go",
        arns=_none,
    ),
    "aws:ec2/flowLog:FlowLog": Needs(
        schema="AWS::EC2::FlowLog",
        passes=_role_of("iamRoleArn", "vpc-flow-logs.amazonaws.com"),
        arns=_none,
        never={
            "iam:CreateServiceLinkedRole": "log delivery makes one for Firehose; these logs go to CloudWatch by a role of ours",
        },
    ),
    "aws:ec2/internetGateway:InternetGateway": Needs(
        schema="AWS::EC2::InternetGateway",
        calls={"create": ["ec2:AttachInternetGateway"], "delete": ["ec2:DetachInternetGateway"]},
        source="ec2/vpc_internet_gateway.go",
        arns=_none,
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Needs(
        schema="AWS::EC2::LaunchTemplate",
        calls={
            "read": ["ec2:DescribeLaunchTemplateVersions"],
            "update": ["ec2:ModifyLaunchTemplate"],
        },
        source="ec2/ec2_launch_template.go",
        arns=_none,
        hidden={
            "ec2:DescribeLaunchTemplateVersions": "it knows no resource and returns user data, other teams' too, where "
            "people keep secrets; `refresh` alone reads it, which the deploy role runs"
        },
    ),
    "aws:ec2/natGateway:NatGateway": Needs(schema="AWS::EC2::NatGateway", arns=_none),
    "aws:ec2/routeTable:RouteTable": Needs(
        schema="AWS::EC2::RouteTable",
        calls={"create": ["ec2:CreateRoute"], "update": ["ec2:CreateRoute", "ec2:DeleteRoute", "ec2:ReplaceRoute"]},
        source="ec2/vpc_route_table.go",
        arns=_none,
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Needs(
        schema="AWS::EC2::SubnetRouteTableAssociation",
        calls={"update": ["ec2:ReplaceRouteTableAssociation"]},
        source="ec2/vpc_route_table_association.go",
        arns=_none,
    ),
    "aws:ec2/securityGroup:SecurityGroup": Needs(
        schema="AWS::EC2::SecurityGroup", calls={"delete": _LINGERING}, source="ec2/vpc_security_group.go", arns=_none
    ),
    "aws:ec2/subnet:Subnet": Needs(
        schema="AWS::EC2::Subnet", calls={"delete": _LINGERING}, source="ec2/vpc_subnet.go", arns=_none
    ),
    "aws:ec2/vpc:Vpc": Needs(
        schema="AWS::EC2::VPC",
        calls={"read": ["ec2:DescribeRouteTables"]},
        source="ec2/vpc_.go",
        arns=_vpc,
        never={
            "ec2:DescribeVpcEncryptionControls": _OTHER_RESOURCE,
        },
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Needs(
        schema="AWS::EC2::VPCEndpoint",
        calls={"read": ["ec2:DescribePrefixLists"]},
        source="ec2/vpc_endpoint.go",
        arns=_none,
        never={
            "vpc-lattice:": "the endpoints are of AWS's own services, not of a service network",
        },
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Needs(
        calls={
            "create": ["ecr:PutLifecyclePolicy"],
            "read": ["ecr:GetLifecyclePolicy"],
            "delete": ["ecr:DeleteLifecyclePolicy"],
        },
        source="ecr/lifecycle_policy.go",
        arns=_repository("repository"),
    ),
    "aws:ecr/repository:Repository": Needs(
        schema="AWS::ECR::Repository",
        # With what `force_delete` takes along.
        calls={"delete": ["ecr:BatchDeleteImage", "ecr:DescribeRepositories"]},
        source="ecr/repository.go",
        arns=_repository("name"),
    ),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": Needs(
        calls={
            "create": ["ecr:SetRepositoryPolicy"],
            "read": ["ecr:GetRepositoryPolicy"],
            "update": ["ecr:SetRepositoryPolicy"],
            "delete": ["ecr:DeleteRepositoryPolicy"],
        },
        source="ecr/repository_policy.go",
        arns=_repository("repository"),
    ),
    "aws:eks/accessEntry:AccessEntry": Needs(
        schema="AWS::EKS::AccessEntry",
        arns=_in_cluster("access-entry", _entry),
    ),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": Needs(
        calls={
            "create": ["eks:AssociateAccessPolicy"],
            "read": ["eks:ListAssociatedAccessPolicies"],
            "delete": ["eks:DisassociateAccessPolicy"],
        },
        source="eks/access_policy_association.go",
        arns=_in_cluster("access-entry", _entry),
    ),
    "aws:eks/addon:Addon": Needs(
        schema="AWS::EKS::Addon",
        arns=_in_cluster("addon", lambda inputs: f"{inputs['addonName']}/"),
        never={
            "iam:PassRole": "no add-on has a role: those that need one have Pod Identity associations of their own",
        },
    ),
    "aws:eks/cluster:Cluster": Needs(
        schema="AWS::EKS::Cluster",
        arns=_cluster,
        passes=lambda declared, place: [(place.role(declared.inputs["serviceRole"]["id"]), "eks.amazonaws.com")],
        # https://docs.aws.amazon.com/eks/latest/userguide/using-service-linked-roles-eks.html
        linked=["eks.amazonaws.com/AWSServiceRoleForAmazonEKS"],
        never={
            "iam:AddRoleToInstanceProfile": "for the nodes of Auto Mode, which is off",
            "iam:CreateInstanceProfile": "for the nodes of Auto Mode, which is off",
            "iam:DeleteInstanceProfile": "for the nodes of Auto Mode, which is off",
            "iam:GetInstanceProfile": "for the nodes of Auto Mode, which is off",
            "iam:RemoveRoleFromInstanceProfile": "for the nodes of Auto Mode, which is off",
            "iam:TagInstanceProfile": "for the nodes of Auto Mode, which is off",
        },
    ),
    "aws:eks/nodeGroup:NodeGroup": Needs(
        schema="AWS::EKS::Nodegroup",
        arns=_in_cluster("nodegroup", lambda inputs: f"{inputs['nodeGroupNamePrefix']}2026/"),
        # No page says by which of the two names EKS takes the nodes' role, so both are let through.
        passes=_role_of("nodeRoleArn", "ec2.amazonaws.com", "eks.amazonaws.com"),
        # https://docs.aws.amazon.com/eks/latest/userguide/using-service-linked-roles-eks-nodegroups.html
        linked=["eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup"],
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Needs(
        schema="AWS::EKS::PodIdentityAssociation",
        arns=_in_cluster("podidentityassociation", lambda _: ""),
        passes=_role_of("roleArn", "pods.eks.amazonaws.com"),
    ),
    "aws:iam/policy:Policy": Needs(
        schema="AWS::IAM::ManagedPolicy",
        calls={
            "create": ["iam:TagPolicy", "iam:GetPolicy", "iam:GetPolicyVersion"],
            "update": ["iam:TagPolicy", "iam:UntagPolicy"],
        },
        source="iam/policy.go",
        never={
            **{
                f"iam:{verb}{kind}Policy": "the policy's schema attaches it too; here each attachment is a resource of its own"
                for verb in ("Attach", "Detach")
                for kind in ("Group", "Role", "User")
            },
            "iam:ListEntitiesForPolicy": _READ_OTHERWISE,
        },
    ),
    "aws:iam/role:Role": Needs(
        schema="AWS::IAM::Role",
        calls={"delete": ["iam:ListInstanceProfilesForRole"]},
        source="iam/role.go",
        never={
            "iam:DeleteRolePermissionsBoundary": "every role keeps the stack's boundary for life, and the boundary sees to it",
            "iam:PutRolePermissionsBoundary": "every role keeps the stack's boundary for life, and the boundary sees to it",
        },
    ),
    "aws:iam/rolePolicy:RolePolicy": Needs(schema="AWS::IAM::RolePolicy", arns=_role),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Needs(
        calls={
            "create": ["iam:AttachRolePolicy", "iam:ListAttachedRolePolicies"],
            "read": ["iam:ListAttachedRolePolicies"],
            "delete": ["iam:DetachRolePolicy"],
        },
        source="iam/role_policy_attachment.go",
        arns=_role,
    ),
    "aws:lambda/eventSourceMapping:EventSourceMapping": Needs(
        schema="AWS::Lambda::EventSourceMapping", arns=_mapping, never={"kms:": _NO_KEY}
    ),
    "aws:lambda/function:Function": Needs(
        schema="AWS::Lambda::Function",
        calls={"read": ["lambda:ListVersionsByFunction"]},
        source="lambda/function.go",
        passes=_role_of("role", "lambda.amazonaws.com"),
        never={
            "kms:": _NO_KEY,
            "lambda:GetFunctionRecursionConfig": _OTHER_RESOURCE,
            "lambda:GetFunctionScalingConfig": _OTHER_RESOURCE,
            "lambda:GetRuntimeManagementConfig": _OTHER_RESOURCE,
        },
    ),
    "aws:lb/listener:Listener": Needs(
        schema="AWS::ElasticLoadBalancingV2::Listener",
        arns=_none,
    ),
    "aws:lb/listenerRule:ListenerRule": Needs(
        schema="AWS::ElasticLoadBalancingV2::ListenerRule",
        arns=_none,
    ),
    "aws:lb/loadBalancer:LoadBalancer": Needs(
        schema="AWS::ElasticLoadBalancingV2::LoadBalancer",
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-service-linked-roles.html
        calls={"create": ["iam:CreateServiceLinkedRole"], "delete": _LINGERING},
        source="elbv2/load_balancer.go",
        linked=[_BALANCERS],
        arns=_none,
    ),
    "aws:lb/targetGroup:TargetGroup": Needs(
        schema="AWS::ElasticLoadBalancingV2::TargetGroup",
        arns=_none,
        never={"elasticloadbalancing:DescribeTargetHealth": "the controller in the cluster registers targets, not this program"},
    ),
    "aws:route53/record:Record": Needs(schema="AWS::Route53::RecordSet", arns=_zone),
    "aws:s3/bucket:Bucket": Needs(
        schema="AWS::S3::Bucket",
        calls={
            "read": [
                "s3:GetBucketAcl",
                "s3:GetBucketPolicy",
                "s3:GetBucketRequestPayment",
            ],
            # `force_destroy` empties it first.
            "delete": ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucketVersions"],
        },
        source="s3/bucket.go",
        arns=_bucket,
        never={
            "iam:PassRole": "no bucket replicates",
            "s3:GetAnalyticsConfiguration": _OTHER_RESOURCE,
            "s3:GetBucketAbac": _OTHER_RESOURCE,
            "s3:GetBucketMetadataTableConfiguration": _OTHER_RESOURCE,
            "s3:GetBucketNotification": _OTHER_RESOURCE,
            "s3:GetBucketOwnershipControls": _OTHER_RESOURCE,
            "s3:GetIntelligentTieringConfiguration": _OTHER_RESOURCE,
            "s3:GetInventoryConfiguration": _OTHER_RESOURCE,
            "s3:GetMetricsConfiguration": _OTHER_RESOURCE,
        },
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Needs(
        calls={
            "create": ["s3:PutLifecycleConfiguration", "s3:GetLifecycleConfiguration"],
            "read": ["s3:GetLifecycleConfiguration"],
            "update": ["s3:PutLifecycleConfiguration"],
            "delete": ["s3:PutLifecycleConfiguration"],
        },
        source="s3/bucket_lifecycle_configuration.go",
        arns=_bucket,
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Needs(schema="AWS::S3::BucketPolicy", arns=_bucket),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Needs(
        calls={
            "create": ["s3:PutBucketPublicAccessBlock", "s3:GetBucketPublicAccessBlock"],
            "read": ["s3:GetBucketPublicAccessBlock"],
            "update": ["s3:PutBucketPublicAccessBlock"],
            "delete": ["s3:PutBucketPublicAccessBlock"],
        },
        source="s3/bucket_public_access_block.go",
        arns=_bucket,
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Needs(
        calls={
            "create": ["s3:PutEncryptionConfiguration", "s3:GetEncryptionConfiguration"],
            "read": ["s3:GetEncryptionConfiguration"],
            "update": ["s3:PutEncryptionConfiguration"],
            "delete": ["s3:PutEncryptionConfiguration"],
        },
        source="s3/bucket_server_side_encryption_configuration.go",
        arns=_bucket,
    ),
    "aws:scheduler/schedule:Schedule": Needs(
        schema="AWS::Scheduler::Schedule",
        passes=lambda declared, _: [(declared.inputs["target"]["roleArn"], "scheduler.amazonaws.com")],
    ),
    "aws:secretsmanager/secret:Secret": Needs(
        schema="AWS::SecretsManager::Secret",
        calls={"read": ["secretsmanager:GetResourcePolicy"]},
        source="secretsmanager/secret.go",
        arns=_secret("name"),
        hidden={
            "secretsmanager:GetSecretValue": "CloudFormation reads the value with the secret; the provider's secret does not"
        },
    ),
    "aws:secretsmanager/secretVersion:SecretVersion": Needs(
        calls={
            "create": ["secretsmanager:PutSecretValue", "secretsmanager:GetSecretValue"],
            "read": ["secretsmanager:GetSecretValue"],
            "update": ["secretsmanager:UpdateSecretVersionStage"],
            "delete": ["secretsmanager:UpdateSecretVersionStage"],
        },
        source="secretsmanager/secret_version.go",
        arns=_secret("secretId"),
        hidden={
            "secretsmanager:GetSecretValue": "a value is read by `refresh` alone, which the deploy role runs; a preview goes by "
            "the state (.github/workflows/preview.yml)"
        },
    ),
    "aws:sns/topic:Topic": Needs(
        schema="AWS::SNS::Topic",
        never={
            "iam:PassRole": "for logs of deliveries, which are off",
            "sns:GetDataProtectionPolicy": _OTHER_RESOURCE,
            "sns:ListSubscriptionsByTopic": "subscriptions are resources of their own",
        },
    ),
    "aws:sns/topicPolicy:TopicPolicy": Needs(
        schema="AWS::SNS::TopicPolicy",
        calls={"read": ["sns:GetTopicAttributes"]},
        source="sns/topic_policy.go",
        arns=_input("arn"),
    ),
    "aws:sns/topicSubscription:TopicSubscription": Needs(
        schema="AWS::SNS::Subscription",
        arns=_input("topic"),
        never={
            "iam:PassRole": "for subscriptions of Firehose; the program subscribes an address",
        },
    ),
    "aws:sqs/queue:Queue": Needs(schema="AWS::SQS::Queue"),
    "aws:sqs/queuePolicy:QueuePolicy": Needs(
        schema="AWS::SQS::QueuePolicy",
        calls={"read": ["sqs:GetQueueAttributes"]},
        source="sqs/queue_policy.go",
        arns=_queue,
    ),
    "aws:ssm/parameter:Parameter": Needs(
        schema="AWS::SSM::Parameter",
        calls={
            "create": ["ssm:GetParameter"],
            "read": ["ssm:DescribeParameters", "ssm:GetParameter"],
        },
        source="ssm/parameter.go",
        never={"ssm:GetParameters": "the provider reads one by one, by GetParameter"},
    ),
}


def _no_arn(args: Mapping[str, Any], place: Place) -> Sequence[str]:
    del args, place
    return []


@dataclass(frozen=True, kw_only=True)
class Invoke:
    """What a function of the provider needs from whoever previews or deploys.

    Attributes:
        actions: What it calls.
        source: File of the provider, below `PROVIDER`.
        arns: What the calls are judged on.
        by: Who calls it: "" for this program, else the component that does, or the check that is to come.
    """

    actions: Sequence[str]
    source: str
    arns: Callable[[Mapping[str, Any], Place], Sequence[str]] = _no_arn
    by: str = ""


INVOKES: Final[Mapping[str, Invoke]] = {
    # Allowed to everybody: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    "aws:index/getCallerIdentity:getCallerIdentity": Invoke(actions=[], source="sts/caller_identity_data_source.go"),
    "aws:route53/getZone:getZone": Invoke(
        actions=["route53:ListHostedZones", "route53:GetHostedZone", "route53:ListTagsForResource"],
        source="route53/zone_data_source.go",
        arns=lambda _, __: ["arn:aws:route53:::hostedzone/Z0123456789EXAMPLE"],
    ),
    "aws:secretsmanager/getRandomPassword:getRandomPassword": Invoke(
        actions=["secretsmanager:GetRandomPassword"], source="secretsmanager/random_password_data_source.go"
    ),
    # pulumi_eks asks for the newest vpc-cni and kube-proxy on every run.
    # https://github.com/pulumi/pulumi-eks/blob/master/nodejs/eks/cluster/cluster.ts
    "aws:eks/getAddonVersion:getAddonVersion": Invoke(
        actions=["eks:DescribeAddonVersions"], source="eks/addon_version_data_source.go", by="pulumi_eks"
    ),
    "aws:index/getAvailabilityZones:getAvailabilityZones": Invoke(
        actions=["ec2:DescribeAvailabilityZones"], source="ec2/ec2_availability_zones_data_source.go", by="check"
    ),
    "aws:ec2/getInstanceTypes:getInstanceTypes": Invoke(
        actions=["ec2:DescribeInstanceTypes"], source="ec2/ec2_instance_types_data_source.go", by="check"
    ),
    "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": Invoke(
        actions=["ec2:DescribeInstanceTypeOfferings"], source="ec2/ec2_instance_type_offerings_data_source.go", by="check"
    ),
    "aws:eks/getClusterVersions:getClusterVersions": Invoke(
        actions=["eks:DescribeClusterVersions"], source="eks/cluster_versions_data_source.go", by="check"
    ),
    "aws:iam/getRole:getRole": Invoke(
        actions=["iam:GetRole"],
        source="iam/role_data_source.go",
        # An administrator of a cluster, whose role any team may have made.
        arns=lambda args, place: [place.role(str(args.get("name", "platform-admin")))],
        by="check",
    ),
}
