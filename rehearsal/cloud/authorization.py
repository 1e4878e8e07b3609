"""Map AWS API calls to the permissions that they need: IAM actions, ARNs and condition keys.

Some actions have another name than their operation, and some calls need several actions: for tags at creation, for a role that
the call passes to a service. The table names every operation that the rows call. An operation without a rule is an error, never
an allowance. Source, for every service:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
(tests/rehearsal/cloud/test_authorization.py compares the table with a copy of it).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

# Of an operation's parameters: `{Name}`, `{Outer.Name}`, or `{Name:part}` for a part of the value.
_PLACEHOLDER: Final = re.compile(r"\{([\w.]+)(?::(\w+))?\}")
_PARTS: Final[Mapping[str, Callable[[str], str]]] = {
    "": str,
    # A name, be it given by itself, in an ARN or in a URL.
    "last": lambda value: re.split(r"[/:]", value)[-1],
    # A subscription's topic.
    "parent": lambda value: value.rpartition(":")[0] or value,
    # A parameter's path: https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-access.html
    "bare": lambda value: value.removeprefix("/"),
}
_PREFIXES: Final[Mapping[str, str]] = {"elbv2": "elasticloadbalancing"}
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using-service-linked-roles.html and each service's own page
_NODE_GROUPS: Final = "eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup"
_CLUSTERS: Final = "eks.amazonaws.com/AWSServiceRoleForAmazonEKS"
_BALANCERS: Final = "elasticloadbalancing.amazonaws.com/AWSServiceRoleForElasticLoadBalancing"

Values = str | Sequence[str] | None


class UnknownCallError(LookupError):
    """Raised for a call or a function without a rule."""


@dataclass(frozen=True, kw_only=True)
class Permission:
    """One action that the caller must be allowed.

    Attributes:
        action: Such as `iam:GetRole`.
        resource: The ARN, or `*` for actions that know no resource.
        context: Condition keys of the request; None is a key that it does not carry.
    """

    action: str
    resource: str
    context: Mapping[str, Values] = field(default_factory=dict[str, Values])


@dataclass(frozen=True, kw_only=True)
class Call:
    """One API call, before it is sent.

    Attributes:
        service: boto3's name of the service.
        operation: The API's own name, such as `CreateQueue`.
        parameters: What it is sent with.
        account: The caller's account, which is the resource's too.
        region: Where.
        boundary_of: Answers with the ARN of a role's present permissions boundary, by the role's name.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    account: str
    region: str
    boundary_of: Callable[[str], str | None] = lambda _: None

    @property
    def prefix(self) -> str:
        """The service's prefix in policies."""
        return _PREFIXES.get(self.service, self.service)

    def given(self, path: str) -> list[str]:
        """Return the values of a parameter, by its path; a list counts as its elements."""
        found: list[Any] = [self.parameters]
        for part in path.split("."):
            found = [
                one
                for each in found
                if isinstance(each, Mapping) and part in each
                for one in _listed(cast("Mapping[str, Any]", each)[part])
            ]
        return [str(each) for each in found]

    def arns(self, template: str) -> list[str]:
        """Return the ARNs of a template. A parameter that the call does not give matches any value."""
        names = [(match[1], match[2]) for match in _PLACEHOLDER.finditer(template)]
        own = {"region": [self.region], "account": [self.account]}
        arns = [template]
        for name, part in names:
            values = own.get(name) or self.given(name) or ["*"]
            marker = f"{{{name}:{part}}}" if part else f"{{{name}}}"
            arns = [each.replace(marker, _PARTS[part or ""](value), 1) for each in arns for value in values]
        return arns


def _listed(value: object) -> list[object]:
    return list(cast("Sequence[object]", value)) if isinstance(value, list | tuple) else [value]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The permissions of one operation.

    Attributes:
        on: Templates of the ARNs that the operation acts on.
        action: Name of its action, if that differs from the operation's.
        tags: The parameter that holds tags, and the action that tagging needs in addition.
        tagged: Template of the tagged ARN, if that is not the first of `on`.
        passes: Parameters that hold a role's ARN, and the services that the call passes the role to.
        also: Further actions, each with the template of its resource.
        connections: Parameter that holds ARNs of CodeConnections, which the call passes to the service.
        linked: Service-linked role that AWS creates on the first such call: `principal/name`.
        looks: Whether AWS also reads the service-linked role with the caller's permissions.
    """

    on: tuple[str, ...] = ("*",)
    action: str = ""
    tags: tuple[str, str] | None = None
    tagged: str = ""
    passes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    also: tuple[tuple[str, str], ...] = ()
    connections: str = ""
    linked: str = ""
    looks: bool = False


def permissions(call: Call) -> Sequence[Permission]:
    """Return the permissions that a call needs.

    Raises:
        UnknownCallError: the table does not know the operation, or a resource's form.
    """
    rule = TABLE.get(call.service, {}).get(call.operation)
    if rule is None:
        msg = (
            f"{call.service}:{call.operation} has no rule: say in rehearsal/cloud/authorization.py which actions it needs, on "
            "which resources"
        )
        raise UnknownCallError(msg)
    return [Permission(action=each.action, resource=each.resource, context=_context(call, each)) for each in _needed(call, rule)]


def _needed(call: Call, rule: Rule) -> Iterator[Permission]:
    own = [arn for template in rule.on for arn in call.arns(template)]
    if call.service == "ec2" and call.operation in {"CreateTags", "DeleteTags"}:
        own = [_instance(call, each) for each in call.given("Resources")]
    action = f"{call.prefix}:{rule.action or call.operation}"
    yield from (Permission(action=action, resource=arn) for arn in own)
    if rule.tags and call.parameters.get(rule.tags[0]):
        context: dict[str, Values] = {"ec2:CreateAction": call.operation} if call.service == "ec2" else {}
        arn = call.arns(rule.tagged)[0] if rule.tagged else own[0]
        yield Permission(action=f"{call.prefix}:{rule.tags[1]}", resource=arn, context=context)
    yield from (Permission(action=other, resource=arn) for other, template in rule.also for arn in call.arns(template))
    for parameter, services in rule.passes:
        handed = ((arn, service) for arn in dict.fromkeys(call.given(parameter)) for service in services)
        yield from (
            Permission(action="iam:PassRole", resource=arn, context={"iam:PassedToService": service}) for arn, service in handed
        )
    for arn in dict.fromkeys(call.given(rule.connections) if rule.connections else ()):
        # AWS asks by either name: https://docs.aws.amazon.com/dtconsole/latest/userguide/rename.html
        for prefix in ("codeconnections", "codestar-connections"):
            to: dict[str, Values] = {f"{prefix}:PassedToService": f"{call.service}.amazonaws.com"}
            yield Permission(action=f"{prefix}:PassConnection", resource=arn, context=to)
    if rule.linked:
        yield from _linked(call, rule)


def _linked(call: Call, rule: Rule) -> Iterator[Permission]:
    arn = f"arn:aws:iam::{call.account}:role/aws-service-role/{rule.linked}"
    if rule.looks:
        yield Permission(action="iam:GetRole", resource=arn)
    service = rule.linked.partition("/")[0]
    yield Permission(action="iam:CreateServiceLinkedRole", resource=arn, context={"iam:AWSServiceName": service})


# Condition keys that the declared policies may name. A request that does not carry one states its absence.
_IAM_KEYS: Final = (
    "iam:AWSServiceName",
    "iam:AssociatedResourceArn",
    "iam:PassedToService",
    "iam:PermissionsBoundary",
    "iam:PolicyARN",
)
_BOUND_BY_THE_CALL: Final = frozenset({"CreateRole", "PutRolePermissionsBoundary"})
# Their condition on a boundary tests the role's present boundary.
_BOUND_BEFORE: Final = frozenset(
    {
        "AttachRolePolicy",
        "DeleteRole",
        "DeleteRolePermissionsBoundary",
        "DeleteRolePolicy",
        "DetachRolePolicy",
        "GetRole",
        "PutRolePolicy",
        "UpdateAssumeRolePolicy",
        "UpdateRole",
        "UpdateRoleDescription",
    }
)


def _context(call: Call, permission: Permission) -> Mapping[str, Values]:
    """Return the condition keys of the request: AWS's global keys, and IAM's."""
    tags = _tags(call)
    keys: dict[str, Values] = {
        "aws:RequestedRegion": "us-east-1" if call.service in _GLOBAL else call.region,
        "aws:SecureTransport": "true",
        "aws:TagKeys": sorted(tags) or None,
        **{f"aws:RequestTag/{key}": value for key, value in tags.items()},
        **dict.fromkeys(_IAM_KEYS),
        "ec2:CreateAction": None,
    }
    name = permission.action.partition(":")[2]
    if call.service == "iam" and permission.action.startswith("iam:"):
        if name in _BOUND_BY_THE_CALL:
            keys["iam:PermissionsBoundary"] = cast("str | None", call.parameters.get("PermissionsBoundary"))
        elif name in _BOUND_BEFORE:
            keys["iam:PermissionsBoundary"] = call.boundary_of(str(call.parameters["RoleName"]))
        if "PolicyArn" in call.parameters and name in {"AttachRolePolicy", "DetachRolePolicy"}:
            keys["iam:PolicyARN"] = str(call.parameters["PolicyArn"])
    return {**keys, **permission.context}


# Their endpoint is in one region. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
_GLOBAL: Final = frozenset({"iam", "route53"})
_TAGS: Final = ("Tags", "tags", "tagging")


def _tags(call: Call) -> dict[str, str]:
    """Return the tags of a request, from any of AWS's forms of tags."""
    found: dict[str, str] = {}
    lists: list[Any] = [call.parameters.get(key) for key in _TAGS]
    lists += [each.get("Tags") for each in cast("list[dict[str, Any]]", call.parameters.get("TagSpecifications") or [])]
    for each in lists:
        if isinstance(each, Mapping):
            found |= {str(key): str(value) for key, value in cast("Mapping[str, Any]", each).items()}
        for one in cast("list[dict[str, Any]]", each if isinstance(each, list) else []):
            pair = {key.lower(): value for key, value in one.items()}
            found[str(pair.get("key"))] = str(pair.get("value", ""))
    return found


# By the beginning of an id. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
_KINDS: Final[Mapping[str, str]] = {
    "eipalloc": "elastic-ip",
    "fl": "vpc-flow-log",
    "igw": "internet-gateway",
    "lt": "launch-template",
    "nat": "natgateway",
    "rtb": "route-table",
    "sg": "security-group",
    "subnet": "subnet",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}


def _instance(call: Call, id_: str) -> str:
    kind = _KINDS.get(id_.partition("-")[0])
    if kind is None:
        msg = f"ec2:{call.operation} on {id_}: the kind of this id is not known; name it in rehearsal/cloud/authorization.py"
        raise UnknownCallError(msg)
    return f"arn:aws:ec2:{call.region}:{call.account}:{kind}/{id_}"


def _same(rule: Rule, *operations: str) -> dict[str, Rule]:
    """Give several operations the same rule."""
    return dict.fromkeys(operations, rule)


def _there(prefix: str, resource: str) -> str:
    return f"arn:aws:{prefix}:{{region}}:{{account}}:{resource}"


_ANY: Final = Rule()
_ROLE: Final = "arn:aws:iam::{account}:role/{RoleName}"
_BUCKET: Final = "arn:aws:s3:::{Bucket}"
_REPOSITORY: Final = _there("ecr", "repository/{repositoryName}")
_QUEUE: Final = _there("sqs", "{QueueUrl:last}")
_FUNCTION: Final = _there("lambda", "function:{FunctionName:last}")
_MAPPING: Final = _there("lambda", "event-source-mapping:{UUID}")
_LOG_GROUP: Final = _there("logs", "log-group:{logGroupName}")
_RULE: Final = _there("events", "rule/{Name}")
_TARGETS: Final = _there("events", "rule/{Rule}")
_SCHEDULE: Final = _there("scheduler", "schedule/{GroupName}/{Name}")
_ZONE: Final = "arn:aws:route53:::hostedzone/{HostedZoneId:last}"
_PIPELINE: Final = _there("codepipeline", "{pipeline.name}")
_PIPELINE_ROLES: Final = (
    ("pipeline.roleArn", ("codepipeline.amazonaws.com",)),
    ("pipeline.stages.actions.roleArn", ("codepipeline.amazonaws.com",)),
)
_PIPELINE_CONNECTIONS: Final = "pipeline.stages.actions.configuration.ConnectionArn"
_CLUSTER: Final = _there("eks", "cluster/{name}")
_OF_CLUSTER: Final = _there("eks", "cluster/{clusterName}")
_NODE_GROUP: Final = _there("eks", "nodegroup/{clusterName}/{nodegroupName}/*")
_ADDON: Final = _there("eks", "addon/{clusterName}/{addonName}/*")
_ENTRY: Final = _there("eks", "access-entry/{clusterName}/role/{account}/{principalArn:last}/*")
_POD_IDENTITY: Final = _there("eks", "podidentityassociation/{clusterName}/{associationId}")


def _ec2(kind: str, parameter: str = "") -> str:
    return _there("ec2", f"{kind}/{{{parameter}}}" if parameter else f"{kind}/*")


def _made(*on: str) -> Rule:
    """Return the rule of a creation in EC2, where tags need an action of their own."""
    return Rule(on=on, tags=("TagSpecifications", "CreateTags"))


_EC2: Final[Mapping[str, Rule]] = {
    **_same(
        _ANY,
        "DescribeAddresses",
        "DescribeAvailabilityZones",
        "DescribeFlowLogs",
        "DescribeInstanceTypeOfferings",
        "DescribeInstanceTypes",
        "DescribeInternetGateways",
        "DescribeLaunchTemplateVersions",
        "DescribeLaunchTemplates",
        "DescribeManagedPrefixLists",
        "DescribeNatGateways",
        "DescribeNetworkInterfaces",
        "DescribeRouteTables",
        "DescribeSecurityGroups",
        "DescribeSubnets",
        "DescribeTags",
        "DescribeVpcEndpoints",
        "DescribeVpcs",
    ),
    # The one description that names its resource.
    "DescribeVpcAttribute": Rule(on=(_ec2("vpc", "VpcId"),)),
    "CreateTags": _ANY,
    "DeleteTags": _ANY,
    "CreateVpc": _made(_ec2("vpc")),
    **_same(Rule(on=(_ec2("vpc", "VpcId"),)), "DeleteVpc", "ModifyVpcAttribute"),
    "CreateSubnet": _made(_ec2("subnet"), _ec2("vpc", "VpcId")),
    **_same(Rule(on=(_ec2("subnet", "SubnetId"),)), "DeleteSubnet", "ModifySubnetAttribute"),
    "CreateInternetGateway": _made(_ec2("internet-gateway")),
    **_same(
        Rule(on=(_ec2("internet-gateway", "InternetGatewayId"), _ec2("vpc", "VpcId"))),
        "AttachInternetGateway",
        "DetachInternetGateway",
    ),
    "DeleteInternetGateway": Rule(on=(_ec2("internet-gateway", "InternetGatewayId"),)),
    "CreateRouteTable": _made(_ec2("route-table"), _ec2("vpc", "VpcId")),
    **_same(
        Rule(on=(_ec2("route-table", "RouteTableId"),)),
        "CreateRoute",
        "DeleteRoute",
        "DeleteRouteTable",
        "ReplaceRoute",
    ),
    "AssociateRouteTable": Rule(on=(_ec2("route-table", "RouteTableId"), _ec2("subnet", "SubnetId"))),
    "ReplaceRouteTableAssociation": Rule(on=(_ec2("route-table", "RouteTableId"),)),
    "DisassociateRouteTable": Rule(on=(_ec2("route-table"),)),
    "AllocateAddress": _made(_ec2("elastic-ip")),
    "ReleaseAddress": Rule(on=(_ec2("elastic-ip", "AllocationId"),)),
    "CreateNatGateway": _made(_ec2("natgateway"), _ec2("subnet", "SubnetId"), _ec2("elastic-ip", "AllocationId")),
    "DeleteNatGateway": Rule(on=(_ec2("natgateway", "NatGatewayId"),)),
    "CreateVpcEndpoint": _made(
        _ec2("vpc-endpoint"),
        _ec2("vpc", "VpcId"),
    ),
    "ModifyVpcEndpoint": Rule(on=(_ec2("vpc-endpoint", "VpcEndpointId"),)),
    "DeleteVpcEndpoints": Rule(on=(_ec2("vpc-endpoint", "VpcEndpointIds"),)),
    "CreateSecurityGroup": _made(_ec2("security-group"), _ec2("vpc", "VpcId")),
    **_same(
        Rule(on=(_ec2("security-group", "GroupId"),)),
        "AuthorizeSecurityGroupEgress",
        "AuthorizeSecurityGroupIngress",
        "DeleteSecurityGroup",
        "RevokeSecurityGroupEgress",
        "RevokeSecurityGroupIngress",
    ),
    "CreateFlowLogs": Rule(
        on=(_ec2("vpc-flow-log"), _ec2("vpc", "ResourceIds")),
        tags=("TagSpecifications", "CreateTags"),
        passes=(("DeliverLogsPermissionArn", ("vpc-flow-logs.amazonaws.com",)),),
    ),
    "DeleteFlowLogs": Rule(on=(_ec2("vpc-flow-log", "FlowLogIds"),)),
    "CreateLaunchTemplate": _made(_ec2("launch-template")),
    **_same(
        Rule(on=(_ec2("launch-template", "LaunchTemplateId"),)),
        "CreateLaunchTemplateVersion",
        "DeleteLaunchTemplate",
        "ModifyLaunchTemplate",
    ),
}

_IAM: Final[Mapping[str, Rule]] = {
    "CreateRole": Rule(on=(_ROLE,), tags=("Tags", "TagRole")),
    **_same(
        Rule(on=(_ROLE,)),
        "AttachRolePolicy",
        "DeleteRole",
        "DeleteRolePermissionsBoundary",
        "DeleteRolePolicy",
        "DetachRolePolicy",
        "GetRole",
        "GetRolePolicy",
        "ListAttachedRolePolicies",
        "ListInstanceProfilesForRole",
        "ListRolePolicies",
        "ListRoleTags",
        "PutRolePermissionsBoundary",
        "PutRolePolicy",
        "TagRole",
        "UntagRole",
        "UpdateAssumeRolePolicy",
        "UpdateRole",
        "UpdateRoleDescription",
    ),
    "ListRoles": _ANY,
    "CreatePolicy": Rule(on=("arn:aws:iam::{account}:policy/{PolicyName}",), tags=("Tags", "TagPolicy")),
    **_same(
        Rule(on=("{PolicyArn}",)),
        "CreatePolicyVersion",
        "DeletePolicy",
        "DeletePolicyVersion",
        "GetPolicy",
        "GetPolicyVersion",
        "ListEntitiesForPolicy",
        "ListPolicyTags",
        "ListPolicyVersions",
        "TagPolicy",
        "UntagPolicy",
    ),
}

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html: each operation's page
_S3: Final[Mapping[str, Rule]] = {
    "ListBuckets": Rule(action="ListAllMyBuckets"),
    **_same(
        Rule(on=(_BUCKET,)),
        "CreateBucket",
        "DeleteBucket",
        "DeleteBucketPolicy",
        "GetBucketPolicy",
        "GetBucketTagging",
        "PutBucketPolicy",
        "PutBucketTagging",
    ),
    "DeleteBucketTagging": Rule(on=(_BUCKET,), action="PutBucketTagging"),
    "ListObjectVersions": Rule(on=(_BUCKET,), action="ListBucketVersions"),
    "DeleteObjects": Rule(
        on=(f"{_BUCKET}/{{Delete.Objects.Key}}",),
        action="DeleteObject",
        also=(("s3:DeleteObjectVersion", f"{_BUCKET}/{{Delete.Objects.Key}}"),),
    ),
    "GetPublicAccessBlock": Rule(on=(_BUCKET,), action="GetBucketPublicAccessBlock"),
    **_same(Rule(on=(_BUCKET,), action="PutBucketPublicAccessBlock"), "PutPublicAccessBlock", "DeletePublicAccessBlock"),
    "GetBucketEncryption": Rule(on=(_BUCKET,), action="GetEncryptionConfiguration"),
    **_same(Rule(on=(_BUCKET,), action="PutEncryptionConfiguration"), "PutBucketEncryption", "DeleteBucketEncryption"),
    "GetBucketLifecycleConfiguration": Rule(on=(_BUCKET,), action="GetLifecycleConfiguration"),
    **_same(Rule(on=(_BUCKET,), action="PutLifecycleConfiguration"), "PutBucketLifecycleConfiguration", "DeleteBucketLifecycle"),
}

_BALANCER: Final = _there("elasticloadbalancing", "loadbalancer/app/{Name}/*")
_TARGET_GROUP: Final = _there("elasticloadbalancing", "targetgroup/{Name}/*")
_ELB: Final[Mapping[str, Rule]] = {
    **_same(
        _ANY,
        "DescribeListenerAttributes",
        "DescribeListeners",
        "DescribeLoadBalancerAttributes",
        "DescribeLoadBalancers",
        "DescribeRules",
        "DescribeTags",
        "DescribeTargetGroupAttributes",
        "DescribeTargetGroups",
    ),
    "CreateLoadBalancer": Rule(on=(_BALANCER,), tags=("Tags", "AddTags"), linked=_BALANCERS),
    **_same(
        Rule(on=("{LoadBalancerArn}",)),
        "DeleteLoadBalancer",
        "ModifyLoadBalancerAttributes",
        "SetIpAddressType",
        "SetSecurityGroups",
        "SetSubnets",
    ),
    "CreateTargetGroup": Rule(on=(_TARGET_GROUP,), tags=("Tags", "AddTags")),
    **_same(Rule(on=("{TargetGroupArn}",)), "DeleteTargetGroup", "ModifyTargetGroup", "ModifyTargetGroupAttributes"),
    "CreateListener": Rule(on=("{LoadBalancerArn}",), tags=("Tags", "AddTags")),
    **_same(Rule(on=("{ListenerArn}",)), "DeleteListener", "ModifyListener", "ModifyListenerAttributes"),
    "CreateRule": Rule(on=("{ListenerArn}",), tags=("Tags", "AddTags")),
    **_same(Rule(on=("{RuleArn}",)), "DeleteRule", "ModifyRule"),
    "SetRulePriorities": Rule(on=("{RulePriorities.RuleArn}",)),
    **_same(Rule(on=("{ResourceArns}",)), "AddTags", "RemoveTags"),
}

_EKS: Final[Mapping[str, Rule]] = {
    "CreateCluster": Rule(
        tags=("tags", "TagResource"),
        tagged=_CLUSTER,
        passes=(("roleArn", ("eks.amazonaws.com",)),),
        also=(("ec2:DescribeSubnets", "*"),),
        linked=_CLUSTERS,
    ),
    **_same(Rule(on=(_CLUSTER,)), "DeleteCluster", "DescribeCluster", "UpdateClusterConfig", "UpdateClusterVersion"),
    # EKS reads the service-linked role with the caller's permissions, and makes it when it is not there.
    # https://docs.aws.amazon.com/eks/latest/userguide/using-service-linked-roles-eks-nodegroups.html
    "CreateNodegroup": Rule(
        on=(_OF_CLUSTER,),
        tags=("tags", "TagResource"),
        # AWS's pages name both as the service that the nodes' role is handed to.
        passes=(("nodeRole", ("ec2.amazonaws.com", "eks.amazonaws.com")),),
        also=(("ec2:DescribeSubnets", "*"), ("ec2:DescribeLaunchTemplateVersions", "*"), ("ec2:RunInstances", "*")),
        linked=_NODE_GROUPS,
        looks=True,
    ),
    **_same(Rule(on=(_NODE_GROUP,)), "DeleteNodegroup", "DescribeNodegroup", "UpdateNodegroupConfig", "UpdateNodegroupVersion"),
    "CreateAddon": Rule(
        on=(_OF_CLUSTER,), tags=("tags", "TagResource"), passes=(("serviceAccountRoleArn", ("eks.amazonaws.com",)),)
    ),
    "UpdateAddon": Rule(on=(_ADDON,), passes=(("serviceAccountRoleArn", ("eks.amazonaws.com",)),)),
    **_same(Rule(on=(_ADDON,)), "DeleteAddon", "DescribeAddon"),
    **_same(_ANY, "DescribeAddonVersions", "DescribeClusterVersions"),
    "CreateAccessEntry": Rule(on=(_OF_CLUSTER,), tags=("tags", "TagResource")),
    **_same(
        Rule(on=(_ENTRY,)),
        "AssociateAccessPolicy",
        "DeleteAccessEntry",
        "DescribeAccessEntry",
        "DisassociateAccessPolicy",
        "ListAssociatedAccessPolicies",
        "UpdateAccessEntry",
    ),
    # https://docs.aws.amazon.com/eks/latest/userguide/pod-id-association.html
    "CreatePodIdentityAssociation": Rule(
        on=(_OF_CLUSTER,),
        tags=("tags", "TagResource"),
        passes=(("roleArn", ("pods.eks.amazonaws.com",)),),
        also=(("iam:GetRole", "{roleArn}"),),
    ),
    "UpdatePodIdentityAssociation": Rule(
        on=(_POD_IDENTITY,),
        passes=(("roleArn", ("pods.eks.amazonaws.com",)),),
        also=(("iam:GetRole", "{roleArn}"),),
    ),
    **_same(Rule(on=(_POD_IDENTITY,)), "DeletePodIdentityAssociation", "DescribePodIdentityAssociation"),
    **_same(Rule(on=("{resourceArn}",)), "TagResource", "UntagResource"),
}

TABLE: Final[Mapping[str, Mapping[str, Rule]]] = {
    "acm": {
        "RequestCertificate": Rule(tags=("Tags", "AddTagsToCertificate"), tagged=_there("acm", "certificate/*")),
        **_same(
            Rule(on=("{CertificateArn}",)),
            "AddTagsToCertificate",
            "DeleteCertificate",
            "DescribeCertificate",
            "ListTagsForCertificate",
            "RemoveTagsFromCertificate",
        ),
    },
    "cloudwatch": {
        "PutMetricAlarm": Rule(on=(_there("cloudwatch", "alarm:{AlarmName}"),), tags=("Tags", "TagResource")),
        **_same(Rule(on=(_there("cloudwatch", "alarm:{AlarmNames}"),)), "DeleteAlarms", "DescribeAlarms"),
        **_same(Rule(on=("{ResourceARN}",)), "ListTagsForResource", "TagResource", "UntagResource"),
    },
    "codebuild": {
        **_same(
            Rule(
                on=(_there("codebuild", "project/{name}"),),
                passes=(("serviceRole", ("codebuild.amazonaws.com",)),),
            ),
            "CreateProject",
            "UpdateProject",
        ),
        "DeleteProject": Rule(on=(_there("codebuild", "project/{name}"),)),
        "BatchGetProjects": Rule(on=(_there("codebuild", "project/{names}"),)),
    },
    # Either prefix is asked for, by the ARN's: https://docs.aws.amazon.com/dtconsole/latest/userguide/rename.html
    "codeconnections": {
        "GetConnection": Rule(on=("{ConnectionArn}",)),
        "ListTagsForResource": Rule(on=("{ResourceArn}",)),
    },
    "codepipeline": {
        "CreatePipeline": Rule(
            on=(_PIPELINE,), tags=("tags", "TagResource"), passes=_PIPELINE_ROLES, connections=_PIPELINE_CONNECTIONS
        ),
        "UpdatePipeline": Rule(on=(_PIPELINE,), passes=_PIPELINE_ROLES, connections=_PIPELINE_CONNECTIONS),
        **_same(Rule(on=(_there("codepipeline", "{name}"),)), "DeletePipeline", "GetPipeline"),
        **_same(Rule(on=("{resourceArn}",)), "ListTagsForResource", "TagResource", "UntagResource"),
    },
    "ec2": _EC2,
    "ecr": {
        "CreateRepository": Rule(on=(_REPOSITORY,), tags=("tags", "TagResource")),
        "DescribeRepositories": Rule(on=(_there("ecr", "repository/{repositoryNames}"),)),
        **_same(
            Rule(on=(_REPOSITORY,)),
            "DeleteLifecyclePolicy",
            "DeleteRepository",
            "DeleteRepositoryPolicy",
            "GetLifecyclePolicy",
            "GetRepositoryPolicy",
            "PutImageScanningConfiguration",
            "PutImageTagMutability",
            "PutLifecyclePolicy",
            "SetRepositoryPolicy",
        ),
        **_same(Rule(on=("{resourceArn}",)), "ListTagsForResource", "TagResource", "UntagResource"),
    },
    "eks": _EKS,
    "elbv2": _ELB,
    "events": {
        "PutRule": Rule(on=(_RULE,), tags=("Tags", "TagResource"), passes=(("RoleArn", ("events.amazonaws.com",)),)),
        **_same(Rule(on=(_RULE,)), "DeleteRule", "DescribeRule", "DisableRule", "EnableRule"),
        "PutTargets": Rule(on=(_TARGETS,), passes=(("Targets.RoleArn", ("events.amazonaws.com",)),)),
        **_same(Rule(on=(_TARGETS,)), "ListTargetsByRule", "RemoveTargets"),
        **_same(Rule(on=("{ResourceARN}",)), "ListTagsForResource", "TagResource", "UntagResource"),
    },
    "iam": _IAM,
    "lambda": {
        "CreateFunction": Rule(on=(_FUNCTION,), tags=("Tags", "TagResource"), passes=(("Role", ("lambda.amazonaws.com",)),)),
        "UpdateFunctionConfiguration": Rule(on=(_FUNCTION,), passes=(("Role", ("lambda.amazonaws.com",)),)),
        **_same(
            Rule(on=(_FUNCTION,)),
            "AddPermission",
            "DeleteFunction",
            "DeleteFunctionConcurrency",
            "GetFunction",
            "GetFunctionConfiguration",
            "PutFunctionConcurrency",
            "RemovePermission",
            "UpdateFunctionCode",
        ),
        **_same(_ANY, "CreateEventSourceMapping", "ListEventSourceMappings"),
        **_same(Rule(on=(_MAPPING,)), "DeleteEventSourceMapping", "GetEventSourceMapping", "UpdateEventSourceMapping"),
        **_same(Rule(on=("{Resource}",)), "ListTags", "TagResource", "UntagResource"),
    },
    "logs": {
        "CreateLogGroup": Rule(on=(_LOG_GROUP,), tags=("tags", "TagResource")),
        "DescribeLogGroups": _ANY,
        **_same(Rule(on=(_LOG_GROUP,)), "DeleteLogGroup", "DeleteRetentionPolicy", "PutRetentionPolicy"),
        **_same(Rule(on=("{resourceArn}",)), "ListTagsForResource", "TagResource", "UntagResource"),
    },
    "route53": {
        "ListHostedZones": _ANY,
        "GetHostedZone": Rule(on=("arn:aws:route53:::hostedzone/{Id:last}",)),
        **_same(Rule(on=(_ZONE,)), "ChangeResourceRecordSets", "ListResourceRecordSets"),
        "ListTagsForResource": Rule(on=("arn:aws:route53:::hostedzone/{ResourceId:last}",)),
    },
    "s3": _S3,
    "scheduler": {
        **_same(
            Rule(on=(_SCHEDULE,), passes=(("Target.RoleArn", ("scheduler.amazonaws.com",)),)), "CreateSchedule", "UpdateSchedule"
        ),
        **_same(Rule(on=(_SCHEDULE,)), "DeleteSchedule", "GetSchedule"),
    },
    "secretsmanager": {
        "CreateSecret": Rule(on=(_there("secretsmanager", "secret:{Name}-*"),), tags=("Tags", "TagResource")),
        "GetRandomPassword": _ANY,
        **_same(
            Rule(on=("{SecretId}",)),
            "DeleteSecret",
            "DescribeSecret",
            "GetSecretValue",
            "PutSecretValue",
            "TagResource",
            "UntagResource",
            "UpdateSecret",
            "UpdateSecretVersionStage",
        ),
    },
    "sns": {
        "CreateTopic": Rule(on=(_there("sns", "{Name}"),), tags=("Tags", "TagResource")),
        **_same(Rule(on=("{TopicArn}",)), "DeleteTopic", "GetTopicAttributes", "SetTopicAttributes", "Subscribe"),
        **_same(Rule(on=("{SubscriptionArn:parent}",)), "GetSubscriptionAttributes", "Unsubscribe"),
        **_same(Rule(on=("{ResourceArn}",)), "ListTagsForResource", "TagResource", "UntagResource"),
    },
    "sqs": {
        "CreateQueue": Rule(on=(_there("sqs", "{QueueName}"),), tags=("tags", "TagQueue")),
        "GetQueueUrl": Rule(on=(_there("sqs", "{QueueName}"),)),
        **_same(
            Rule(on=(_QUEUE,)),
            "DeleteQueue",
            "GetQueueAttributes",
            "ListQueueTags",
            "SetQueueAttributes",
            "TagQueue",
            "UntagQueue",
        ),
    },
    "ssm": {
        "PutParameter": Rule(on=(_there("ssm", "parameter/{Name:bare}"),), tags=("Tags", "AddTagsToResource")),
        "DescribeParameters": _ANY,
        **_same(Rule(on=(_there("ssm", "parameter/{Name:bare}"),)), "DeleteParameter", "GetParameter"),
        **_same(
            Rule(on=(_there("ssm", "parameter/{ResourceId:bare}"),)),
            "AddTagsToResource",
            "ListTagsForResource",
            "RemoveTagsFromResource",
        ),
    },
    # https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html: no permissions are required
    "sts": {"GetCallerIdentity": Rule(on=())},
}

# The calls that the provider's functions make: service, operation, and which argument a parameter comes from.
# https://github.com/hashicorp/terraform-provider-aws/tree/main/internal/service (the data sources)
FunctionCall = tuple[str, str, Mapping[str, str]]
_NOTHING: Final[Mapping[str, str]] = {}
FUNCTIONS: Final[Mapping[str, Sequence[FunctionCall]]] = {
    "aws:codestarconnections/getConnection:getConnection": [
        ("codeconnections", "GetConnection", {"ConnectionArn": "arn"}),
        ("codeconnections", "ListTagsForResource", {"ResourceArn": "arn"}),
    ],
    "aws:ec2/getInstanceType:getInstanceType": [("ec2", "DescribeInstanceTypes", _NOTHING)],
    "aws:ec2/getInstanceTypeOffering:getInstanceTypeOffering": [("ec2", "DescribeInstanceTypeOfferings", _NOTHING)],
    "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": [("ec2", "DescribeInstanceTypeOfferings", _NOTHING)],
    "aws:ec2/getInstanceTypes:getInstanceTypes": [("ec2", "DescribeInstanceTypes", _NOTHING)],
    "aws:eks/getAddonVersion:getAddonVersion": [("eks", "DescribeAddonVersions", _NOTHING)],
    "aws:eks/getClusterVersions:getClusterVersions": [("eks", "DescribeClusterVersions", _NOTHING)],
    "aws:iam/getRole:getRole": [("iam", "GetRole", {"RoleName": "name"})],
    "aws:iam/getRoles:getRoles": [("iam", "ListRoles", _NOTHING)],
    "aws:iam/getSessionContext:getSessionContext": [("iam", "GetRole", {"RoleName": "arn"})],
    "aws:index/getAvailabilityZones:getAvailabilityZones": [("ec2", "DescribeAvailabilityZones", _NOTHING)],
    "aws:index/getCallerIdentity:getCallerIdentity": [("sts", "GetCallerIdentity", _NOTHING)],
    # Both come with the SDK.
    "aws:index/getPartition:getPartition": [],
    "aws:index/getRegion:getRegion": [],
    "aws:route53/getZone:getZone": [
        ("route53", "ListHostedZones", _NOTHING),
        ("route53", "GetHostedZone", _NOTHING),
        ("route53", "ListTagsForResource", _NOTHING),
    ],
    "aws:secretsmanager/getRandomPassword:getRandomPassword": [("secretsmanager", "GetRandomPassword", _NOTHING)],
}


def function_calls(token: str, args: Mapping[str, Any]) -> Sequence[tuple[str, str, Mapping[str, Any]]]:
    """Return service, operation and parameters of the calls that a function of the AWS provider makes.

    Raises:
        UnknownCallError: the table does not know the function.
    """
    if token not in FUNCTIONS:
        msg = f"{token} has no entry: say in rehearsal/cloud/authorization.py (FUNCTIONS) which calls it makes"
        raise UnknownCallError(msg)
    return [
        (service, operation, {name: _role_name(args[key]) if name == "RoleName" else args[key] for name, key in given.items()})
        for service, operation, given in FUNCTIONS[token]
    ]


def _role_name(value: str) -> str:
    """Return a role's name, given the name, the role's ARN, or the ARN of a session."""
    return value.split("/")[1] if ":assumed-role/" in value else value.rpartition("/")[2]


__all__ = ["FUNCTIONS", "TABLE", "Call", "Permission", "Rule", "UnknownCallError", "function_calls", "permissions"]
