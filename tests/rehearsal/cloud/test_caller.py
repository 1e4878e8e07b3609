"""Whose calls the engine's are: each judged by the role's declared documents, and refused in AWS's words."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from components import naming
from components.ci_access import boundary_arn, boundary_statements, deploy_statements
from rehearsal.cloud import CloudWorld, Emulators, Place, RealiseError
from rehearsal.cloud.caller import Caller, by_account, root
from rehearsal.cloud.identities import boundary_of
from rehearsal.cloud.row import Where
from rehearsal.identities import Identities
from rehearsal.program import Request
from rehearsal.registry.policy import Identity
from tests.rehearsal.cloud.kit import REGION, Accounts

ACCOUNT: Final = "1" * 12
DEPLOY: Final = f"arn:aws:iam::{ACCOUNT}:role/{naming.role('dev', 'deploy')}"
POLICY: Final = f"arn:aws:iam::{ACCOUNT}:policy/slipway-dev-x"
SERVICE_LINKED: Final = (
    f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup"
)
# What PowerUserAccess allows: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/PowerUserAccess.html
POWER_USER: Final[Mapping[str, Any]] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*", "account:*"], "Resource": "*"},
        {"Effect": "Allow", "Action": ["iam:CreateServiceLinkedRole"], "Resource": "*"},
    ],
}
NODE_GROUP: Final = {"clusterName": "slipway-dev-green", "nodeRole": f"arn:aws:iam::{ACCOUNT}:role/slipway-dev-green-nodes"}
Statements = Sequence[Mapping[str, Any]]


def document(statements: Statements) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def without(statements: Statements, action: str) -> Statements:
    """Statements that do not name an action."""
    kept = [
        {**each, "Action": [one for one in each["Action"] if one != action]} if isinstance(each.get("Action"), list) else each
        for each in statements
    ]
    assert kept != list(statements), f"no statement names {action}"
    return [each for each in kept if each.get("Action", ["*"])]


def deployer(own: Statements | None = None, *more: Statements, boundary: Statements | None = None) -> Caller:
    """The deploy role as it is declared, with changes to its documents."""
    declared = deploy_statements(ACCOUNT, "dev") if own is None else own
    return Caller(
        identity=Identity(
            account=ACCOUNT,
            principal_arn=DEPLOY,
            session="deploy-1",
            policies=[document(declared), POWER_USER, *map(document, more)],
            boundary=document(boundary_statements(ACCOUNT, "dev") if boundary is None else boundary),
        ),
        boundary_of=lambda account, _: boundary_arn(account, "dev"),
    )


def refusal(caller: Caller, service: str, operation: str, **parameters: Any) -> str:  # noqa: ANN401 — the API's own
    """Why a call is refused, "" if it is not."""
    return caller.refusal(service, operation, parameters, REGION)


def test_the_declared_deploy_role_makes_a_node_group() -> None:
    assert not refusal(deployer(), "eks", "CreateNodegroup", **NODE_GROUP)


def test_without_get_role_on_the_service_linked_role_a_node_group_is_refused_in_aws_s_words() -> None:
    # As the role was at first: it reads its own roles alone.
    narrowed = [
        {**each, "Resource": [f"arn:aws:iam::{ACCOUNT}:role/slipway-*"]} if "iam:GetRole" in each.get("Action", ()) else each
        for each in deploy_statements(ACCOUNT, "dev")
    ]
    assert refusal(deployer(narrowed), "eks", "CreateNodegroup", **NODE_GROUP) == (
        f"AccessDenied: User: arn:aws:sts::{ACCOUNT}:assumed-role/slipway-dev-deploy/deploy-1 is not authorized to perform: "
        f"iam:GetRole on resource: {SERVICE_LINKED} because no identity-based policy allows the iam:GetRole action"
    )


def test_without_untag_policy_a_policy_s_tags_stay_and_its_update_is_refused() -> None:
    narrowed = deployer(without(deploy_statements(ACCOUNT, "dev"), "iam:UntagPolicy"))
    assert not refusal(deployer(), "iam", "UntagPolicy", PolicyArn=POLICY, TagKeys=["a"])
    assert "iam:UntagPolicy" in refusal(narrowed, "iam", "UntagPolicy", PolicyArn=POLICY, TagKeys=["a"])
    # Though the row would make no such call.
    declared = {"name": "slipway-dev-x"}
    assert not deployer().handling_refusal("aws:iam/policy:Policy", "update", declared, REGION)
    assert "iam:UntagPolicy" in narrowed.handling_refusal("aws:iam/policy:Policy", "update", declared, REGION)


def test_a_denial_of_one_action_refuses_the_calls_that_need_it_and_no_other() -> None:
    denial = [{"Sid": "NoWayOut", "Effect": "Deny", "Action": ["ec2:AuthorizeSecurityGroupEgress"], "Resource": "*"}]
    denied = deployer(None, denial)
    said = refusal(denied, "ec2", "AuthorizeSecurityGroupEgress", GroupId="sg-1")
    assert said.endswith(
        f"ec2:AuthorizeSecurityGroupEgress on resource: arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/sg-1 "
        "with an explicit deny in an identity-based policy: statement NoWayOut"
    )
    assert not refusal(denied, "ec2", "AuthorizeSecurityGroupIngress", GroupId="sg-1")


@pytest.mark.parametrize("bound", [None, "arn:aws:iam::111111111111:policy/slipway-other"])
def test_a_role_without_the_boundary_is_not_made(bound: str | None) -> None:
    with_boundary = {"PermissionsBoundary": bound} if bound else {}
    said = refusal(deployer(), "iam", "CreateRole", RoleName="slipway-dev-y", **with_boundary)
    assert "with an explicit deny in a permissions boundary: statement BoundaryOnEveryRole" in said
    made = {"RoleName": "slipway-dev-y", "PermissionsBoundary": boundary_arn(ACCOUNT, "dev")}
    assert not refusal(deployer(), "iam", "CreateRole", **made)


def test_a_role_is_handed_to_the_services_that_are_named_and_to_no_other() -> None:
    function = {"FunctionName": "slipway-x", "Role": f"arn:aws:iam::{ACCOUNT}:role/slipway-x"}
    assert not refusal(deployer(), "lambda", "CreateFunction", **function)
    said = refusal(deployer(), "events", "PutTargets", Rule="slipway-x", Targets=[{"RoleArn": function["Role"]}])
    assert "iam:PassRole" in said


def test_the_deploy_role_cannot_delete_itself() -> None:
    said = refusal(deployer(), "iam", "DeleteRole", RoleName="slipway-dev-deploy")
    assert "with an explicit deny in a permissions boundary" in said
    assert not refusal(deployer(), "iam", "DeleteRole", RoleName="slipway-dev-blue-nodes")


def test_what_no_boundary_allows_is_refused_as_such() -> None:
    narrow = [{"Effect": "Allow", "Action": ["ec2:*"], "Resource": "*"}]
    said = refusal(deployer(boundary=narrow), "sqs", "DeleteQueue", QueueUrl=f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/q")
    assert said.endswith("because no permissions boundary allows the sqs:DeleteQueue action")


def test_a_call_or_a_function_that_no_table_knows_is_never_allowed() -> None:
    everything = Caller(
        identity=Identity(
            account=ACCOUNT, principal_arn=DEPLOY, policies=[document([{"Effect": "Allow", "Action": "*", "Resource": "*"}])]
        )
    )
    assert "cannot judge this call: sqs:PurgeQueue has no rule" in refusal(everything, "sqs", "PurgeQueue", QueueUrl="https://q")
    assert "cannot judge this function" in everything.function_refusal("aws:ec2/getAmi:getAmi", {}, REGION)


def test_a_condition_on_a_key_that_the_request_does_not_state_is_never_taken_for_met() -> None:
    strange = [
        {"Effect": "Allow", "Action": ["sqs:*"], "Resource": "*", "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}
    ]
    caller = Caller(identity=Identity(account=ACCOUNT, principal_arn=DEPLOY, policies=[document(strange)]))
    assert "cannot judge sqs:CreateQueue" in refusal(caller, "sqs", "CreateQueue", QueueName="q")


def test_the_providers_functions_are_judged_too() -> None:
    nobody = Caller(identity=Identity(account=ACCOUNT, principal_arn=DEPLOY, session="x", policies=[]))
    assert "route53:ListHostedZones" in nobody.function_refusal("aws:route53/getZone:getZone", {"name": "x"}, REGION)
    assert not nobody.function_refusal("aws:index/getCallerIdentity:getCallerIdentity", {}, REGION)
    session = {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/platform-admin/alice"}
    said = nobody.function_refusal("aws:iam/getSessionContext:getSessionContext", session, REGION)
    assert f"iam:GetRole on resource: arn:aws:iam::{ACCOUNT}:role/platform-admin " in said


def test_nothing_limits_the_root_of_an_account() -> None:
    assert not refusal(root(ACCOUNT), "sqs", "PurgeQueue")
    assert by_account({"AWS_ACCESS_KEY_ID": ACCOUNT}).arn == f"arn:aws:iam::{ACCOUNT}:root"


# In the emulated accounts

QUEUE: Final = Request(stack="dev", type="aws:sqs/queue:Queue", name="q", inputs={"name": "slipway-q"}, custom=True, parent="")


@pytest.fixture
def place(accounts: Accounts) -> Place:
    """An account of the test's own."""
    return Place(account=next(accounts), region=REGION)


def session_of(emulators: Emulators, place: Place, *statements: Mapping[str, Any], boundary: str = "") -> Caller:
    """A session of a new role of the account."""
    iam = emulators.client("iam", place.account, place.region)
    trust = [{"Effect": "Allow", "Principal": {"AWS": place.account}, "Action": "sts:AssumeRole"}]
    bound = {"PermissionsBoundary": boundary} if boundary else {}
    made = iam.create_role(RoleName="someone", AssumeRolePolicyDocument=document(trust), **bound)["Role"]
    iam.put_role_policy(RoleName="someone", PolicyName="own", PolicyDocument=document(statements))
    identities = Identities(emulators)
    return identities.caller(identities.assume(made["Arn"], place.region, "alice"))


def test_the_world_makes_reads_and_deletes_only_what_the_caller_s_role_allows(emulators: Emulators, place: Place) -> None:
    allowed = ["sqs:CreateQueue", "sqs:GetQueueAttributes", "sqs:ListQueueTags", "sqs:DeleteQueue"]
    caller = session_of(emulators, place, {"Effect": "Allow", "Action": allowed[:3], "Resource": "*"})
    world, where = CloudWorld(emulators), Where(place=place, caller=caller)
    made = world.create(QUEUE, where=where)
    assert (world.read(QUEUE, made.id, where=where) or {})["name"] == "slipway-q"
    with pytest.raises(RealiseError, match=r"aws:sqs/queue:Queue 'q' of dev: .*AccessDenied: User: arn:aws:sts::.*someone/alice"):
        world.delete(QUEUE, made.id, where=where)
    unjudged = Where(place=place)
    assert world.read(QUEUE, made.id, where=unjudged) is not None, "it was refused before it was sent"
    world.delete(QUEUE, made.id, where=unjudged)
    assert world.read(QUEUE, made.id, where=unjudged) is None


def test_the_world_tells_who_the_caller_is(emulators: Emulators, place: Place) -> None:
    caller = session_of(emulators, place, {"Effect": "Allow", "Action": ["sqs:GetQueueUrl"], "Resource": "*"})
    told = CloudWorld(emulators).call(
        "dev", "aws:index/getCallerIdentity:getCallerIdentity", {}, where=Where(place=place, caller=caller)
    )
    assert told["arn"] == f"arn:aws:sts::{place.account}:assumed-role/someone/alice"
    with pytest.raises(RealiseError, match="route53:ListHostedZones"):
        CloudWorld(emulators).call("dev", "aws:route53/getZone:getZone", {"name": "x"}, where=Where(place=place, caller=caller))


def test_a_role_s_boundary_limits_the_session_and_is_found_by_its_name(emulators: Emulators, place: Place) -> None:
    iam = emulators.client("iam", place.account, place.region)
    reads = [{"Effect": "Allow", "Action": ["sqs:Get*"], "Resource": "*"}]
    made = iam.create_policy(PolicyName="bound", PolicyDocument=document(reads))["Policy"]["Arn"]
    caller = session_of(emulators, place, {"Effect": "Allow", "Action": "*", "Resource": "*"}, boundary=made)
    with pytest.raises(RealiseError, match="no permissions boundary allows the sqs:CreateQueue action"):
        CloudWorld(emulators).create(QUEUE, where=Where(place=place, caller=caller))
    assert boundary_of(emulators, place.account, "someone") == made
    assert functools.partial(boundary_of, emulators, place.account)("nobody") is None


def test_a_workflow_s_token_assumes_the_role_that_trusts_it_and_no_other(emulators: Emulators, place: Place) -> None:
    issuer = "token.actions.githubusercontent.com"
    claims = {"iss": f"https://{issuer}", "aud": "sts.amazonaws.com", "sub": "repo:example-org/platform:environment:dev"}
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{place.account}:oidc-provider/{issuer}"},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": {"StringEquals": {f"{issuer}:aud": claims["aud"], f"{issuer}:sub": [claims["sub"]]}},
    }
    iam = emulators.client("iam", place.account, place.region)
    made = iam.create_role(RoleName="trusting", AssumeRolePolicyDocument=document([trust]))["Role"]["Arn"]
    identities = Identities(emulators)
    given = identities.assume_by_token(made, place.region, "deploy-1", claims)
    assert identities.caller(given).arn == f"arn:aws:sts::{place.account}:assumed-role/trusting/deploy-1"
    with pytest.raises(ClientError, match="AccessDenied"):
        identities.assume_by_token(made, place.region, "preview-1", {**claims, "sub": "repo:example-org/platform:pull_request"})
