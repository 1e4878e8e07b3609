"""The evaluator against the examples of AWS's own pages; each test names the page that says what must come out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from rehearsal.registry import Identity, PolicyError, Request, Service, judge

OURS, THEIRS = "111122223333", "444455556666"
REPOSITORY: Final = f"arn:aws:ecr:eu-central-1:{OURS}:repository/develop/storefront"
PULL: Final = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str | Sequence[str], resource: str = "*", **more: object) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: str | Sequence[str], resource: str = "*", **more: object) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def grant(principal: object, action: str | Sequence[str], **more: object) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": action, **more}


def role(*policies: str, account: str = OURS, name: str = "build", **more: Any) -> Identity:  # noqa: ANN401 — handed on to Identity
    return Identity(account=account, principal_arn=f"arn:aws:iam::{account}:role/{name}", policies=policies, **more)


def user(name: str, *policies: str, account: str = OURS, **more: Any) -> Identity:  # noqa: ANN401 — handed on to Identity
    return Identity(account=account, principal_arn=f"arn:aws:iam::{account}:user/{name}", policies=policies, **more)


def may(
    caller: Identity | Service,
    action: str,
    resource: str = REPOSITORY,
    on: str | None = None,
    **context: str | Sequence[str] | None,
) -> bool:
    """The verdict; context keys are written with double underscores for colons."""
    keys = {key.replace("__", ":"): value for key, value in context.items()}
    return judge(Request(caller=caller, action=action, resource=resource, context=keys), resource_policy=on).allowed


# One account: reference_policies_evaluation-logic_policy-eval-denyallow.html


def test_nothing_is_allowed_by_default_but_to_the_root() -> None:
    root = Identity(account=OURS, principal_arn=f"arn:aws:iam::{OURS}:root")
    assert not may(role(), "ecr:PutImage")
    assert may(root, "ecr:PutImage")


def test_an_explicit_deny_overrides_every_allow() -> None:
    both = role(document(allow("ecr:*"), deny("ecr:PutImage")))
    assert may(both, "ecr:BatchGetImage")
    assert not may(both, "ecr:PutImage")
    assert not may(role(document(allow("ecr:*"))), "ecr:PutImage", on=document({**grant("*", "ecr:PutImage"), "Effect": "Deny"}))
    assert not may(role(document(allow("*")), boundary=document(allow("*"), deny("ecr:PutImage"))), "ecr:PutImage")


def test_a_root_is_held_by_a_deny_on_the_resource() -> None:
    root = Identity(account=OURS, principal_arn=f"arn:aws:iam::{OURS}:root")
    assert not may(root, "ecr:PutImage", on=document({**grant("*", "ecr:PutImage"), "Effect": "Deny"}))


def test_within_an_account_either_side_is_enough() -> None:
    named = document(grant({"AWS": f"arn:aws:iam::{OURS}:role/build"}, PULL))
    assert may(role(), "ecr:BatchGetImage", on=named)
    assert may(role(document(allow("ecr:BatchGetImage"))), "ecr:BatchGetImage")
    assert not may(role(name="other"), "ecr:BatchGetImage", on=named)


def test_naming_the_own_account_only_delegates_to_its_identity_policies() -> None:
    """reference_policies_elements_principal.html#principal-accounts: "This delegates authority to the account."."""
    delegated = document(grant({"AWS": f"arn:aws:iam::{OURS}:root"}, PULL))
    assert not may(role(), "ecr:BatchGetImage", on=delegated)
    assert may(role(document(allow("ecr:BatchGetImage"))), "ecr:BatchGetImage", on=delegated)


def test_a_boundary_intersects_with_identity_policies() -> None:
    """access_policies_boundaries.html: only what both allow."""
    bounded = role(document(allow("*")), boundary=document(allow("ecr:BatchGetImage")))
    assert may(bounded, "ecr:BatchGetImage")
    assert not may(bounded, "ecr:PutImage")
    assert not may(role(boundary=document(allow("*"))), "ecr:PutImage")


@pytest.mark.parametrize(
    ("principal", "allowed"),
    [
        # Policies "that grant permissions to an IAM role ARN are limited by an implicit deny in a permissions boundary"
        ({"AWS": f"arn:aws:iam::{OURS}:role/build"}, False),
        # "Permissions granted directly to a session are not limited"
        ({"AWS": f"arn:aws:sts::{OURS}:assumed-role/build/run"}, True),
        ({"AWS": f"arn:aws:sts::{OURS}:assumed-role/build/another"}, False),
        # nor those given to everybody (reference_policies_elements_principal.html#principal-roles)
        ("*", True),
    ],
)
def test_how_a_resource_policy_names_a_role_decides_whether_its_boundary_holds(principal: object, allowed: bool) -> None:
    bounded = role(boundary=document(allow("s3:GetObject")), session="run")
    assert may(bounded, "ecr:PutImage", on=document(grant(principal, "ecr:PutImage"))) == allowed


def test_a_user_named_by_a_resource_policy_is_not_held_by_a_boundary() -> None:
    named = document(grant({"AWS": f"arn:aws:iam::{OURS}:user/alice"}, "ecr:PutImage"))
    assert may(user("alice", boundary=document(allow("s3:GetObject"))), "ecr:PutImage", on=named)


# Two accounts: reference_policies_evaluation-logic-cross-account.html


@pytest.mark.parametrize(
    "principal",
    [{"AWS": THEIRS}, {"AWS": f"arn:aws:iam::{THEIRS}:root"}, {"AWS": f"arn:aws:iam::{THEIRS}:role/build"}, {"AWS": "*"}, "*"],
)
def test_across_accounts_both_sides_must_allow(principal: object) -> None:
    on = document(grant(principal, PULL))
    willing = document(allow("ecr:BatchGetImage"))
    assert may(role(willing, account=THEIRS), "ecr:BatchGetImage", on=on)
    assert not may(role(account=THEIRS), "ecr:BatchGetImage", on=on)
    assert not may(role(willing, account=THEIRS), "ecr:BatchGetImage")
    assert not may(role(willing, account=THEIRS), "ecr:BatchGetImage", on=document(grant({"AWS": OURS}, PULL)))
    assert not may(role(willing, account=THEIRS, boundary=document(allow("s3:*"))), "ecr:BatchGetImage", on=on)


def test_the_example_of_the_cross_account_page() -> None:
    """Carlos may write to the shared bucket, not to the production bucket, whose policy leaves his account out."""
    carlos = user(
        "Carlos",
        document(
            allow("s3:ListAllMyBuckets"),
            allow(["s3:GetObject*", "s3:PutObject*"], "arn:aws:s3:::Production*/*"),
            deny("s3:*Object*", "arn:aws:s3:::*log*/*"),
        ),
        account=OURS,
    )
    shared = document(
        grant(
            {"AWS": f"arn:aws:iam::{OURS}:user/Carlos"}, ["s3:GetObject*", "s3:PutObject*"], Resource="arn:aws:s3:::Production/*"
        )
    )

    def asks(action: str, resource: str, on: str) -> bool:
        return judge(
            Request(caller=carlos, action=action, resource=resource, resource_account=THEIRS), resource_policy=on
        ).allowed

    assert asks("s3:PutObject", "arn:aws:s3:::Production/report.csv", shared)
    assert not asks("s3:DeleteObject", "arn:aws:s3:::Production/report.csv", shared)
    assert not asks("s3:PutObject", "arn:aws:s3:::Production-logs/report.csv", document(grant("*", "s3:PutObject")))


# ECR, by AmazonECR/latest/userguide/repository-policy-examples.html


def test_ecr_example_allow_one_or_more_users() -> None:
    on = document(
        grant(
            {"AWS": [f"arn:aws:iam::{OURS}:user/push-pull-user-1", f"arn:aws:iam::{OURS}:user/push-pull-user-2"]},
            [*PULL, "ecr:PutImage"],
            Sid="AllowPushPull",
        )
    )
    assert may(user("push-pull-user-2"), "ecr:PutImage", on=on)
    assert not may(user("push-pull-user-3"), "ecr:PutImage", on=on)
    assert not may(user("push-pull-user-2"), "ecr:DeleteRepository", on=on)


def test_ecr_example_allow_another_account() -> None:
    on = document(grant({"AWS": f"arn:aws:iam::{THEIRS}:root"}, ["ecr:PutImage"], Sid="AllowCrossAccountPush"))
    pusher = role(document(allow("ecr:PutImage", REPOSITORY)), account=THEIRS)
    assert may(pusher, "ecr:PutImage", on=on)
    assert not may(pusher, "ecr:PutImage", REPOSITORY.replace("storefront", "invoices"), on=on)


def test_ecr_example_deny_all() -> None:
    on = document({**grant("*", PULL, Sid="DenyPull"), "Effect": "Deny"})
    owner = role(document(allow("ecr:*")))
    assert not may(owner, "ecr:BatchGetImage", on=on)
    assert may(owner, "ecr:PutImage", on=on)


def test_ecr_example_restrict_addresses_is_refused_since_its_operator_is_not_known() -> None:
    on = document({**grant("*", "ecr:*"), "Effect": "Deny", "Condition": {"NotIpAddress": {"aws:SourceIp": "54.240.143.0/24"}}})
    with pytest.raises(PolicyError, match=r"NotIpAddress.*known are"):
        may(role(document(allow("ecr:*"))), "ecr:BatchGetImage", on=on)


def test_ecr_example_allow_a_service() -> None:
    """CodeBuild, only for the project named: the page's guard against the confused deputy."""
    project = f"arn:aws:codebuild:eu-central-1:{OURS}:project/storefront"
    on = document(
        grant(
            {"Service": "codebuild.amazonaws.com"},
            PULL,
            Condition={"ArnLike": {"aws:SourceArn": project}, "StringEquals": {"aws:SourceAccount": OURS}},
        )
    )
    codebuild = Service(name="codebuild.amazonaws.com")
    assert may(codebuild, "ecr:BatchGetImage", on=on, aws__SourceArn=project, aws__SourceAccount=OURS)
    assert not may(codebuild, "ecr:BatchGetImage", on=on, aws__SourceArn=f"{project}-2", aws__SourceAccount=OURS)
    assert not may(codebuild, "ecr:BatchGetImage", on=on, aws__SourceArn=project, aws__SourceAccount=THEIRS)
    assert not may(
        Service(name="lambda.amazonaws.com"), "ecr:BatchGetImage", on=on, aws__SourceArn=project, aws__SourceAccount=OURS
    )


# EventBridge to SQS: eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions, and
# IAM/latest/UserGuide/confused-deputy.html


QUEUE: Final = f"arn:aws:sqs:eu-central-1:{OURS}:images"


def may_send(policy: str, rule: str | None, *, service: str = "events.amazonaws.com", secure: str = "true") -> bool:
    return may(
        Service(name=service),
        "sqs:SendMessage",
        QUEUE,
        on=policy,
        aws__SourceArn=rule,
        aws__SourceAccount=None if rule is None else rule.split(":")[4],
        aws__SecureTransport=secure,
    )


@pytest.mark.parametrize("operator", ["ArnEquals", "ArnLike"])
def test_eventbridge_example_lets_in_the_one_rule(operator: str) -> None:
    rule = f"arn:aws:events:eu-central-1:{OURS}:rule/develop"
    policy = document(
        grant(
            {"Service": "events.amazonaws.com"}, "sqs:SendMessage", Resource=QUEUE, Condition={operator: {"aws:SourceArn": rule}}
        )
    )
    assert may_send(policy, rule)
    assert not may_send(policy, f"{rule}-2")
    assert not may_send(policy, None)
    assert not may_send(policy, rule, service="sns.amazonaws.com")
    assert not may_send(policy.replace(":images", ":others"), rule)


def test_a_pattern_of_rules_admits_them_over_tls_and_from_the_own_account_only() -> None:
    """The shape that the program declares: rules by pattern, account named, plain HTTP denied."""
    policy = document(
        grant(
            {"Service": "events.amazonaws.com"},
            ["sqs:SendMessage"],
            Resource=[QUEUE],
            Condition={
                "ArnLike": {"aws:SourceArn": f"arn:aws:events:eu-central-1:{OURS}:rule/slipway-develop-*"},
                "StringEquals": {"aws:SourceAccount": OURS},
            },
        ),
        {
            **grant("*", ["sqs:SendMessage"], Resource=[QUEUE], Condition={"Bool": {"aws:SecureTransport": "false"}}),
            "Effect": "Deny",
        },
    )
    assert may_send(policy, f"arn:aws:events:eu-central-1:{OURS}:rule/slipway-develop-storefront")
    assert not may_send(policy, f"arn:aws:events:eu-central-1:{OURS}:rule/slipway-release-storefront")
    assert not may_send(policy, f"arn:aws:events:eu-central-1:{THEIRS}:rule/slipway-develop-storefront")
    assert not may_send(policy, f"arn:aws:events:eu-central-1:{OURS}:rule/slipway-develop-storefront", secure="false")


# Elements and conditions


def test_actions_are_matched_without_case_and_with_wildcards() -> None:
    for pattern in ("*", "ecr:*", "ECR:putimage".replace("ECR", "ecr"), "ecr:Put?mage", "ecr:P*e"):
        assert may(role(document(allow(pattern))), "ecr:PutImage")
    for pattern in ("s3:*", "ecr:Put", "ecr:Put?Image"):
        assert not may(role(document(allow(pattern))), "ecr:PutImage")


def test_resource_wildcards_stay_between_the_colons() -> None:
    """reference_policies_elements_resource.html."""
    for pattern in (REPOSITORY, f"arn:aws:ecr:*:{OURS}:repository/develop/*", "arn:aws:ecr:*:*:repository/*/store?ront"):
        assert may(role(document(allow("ecr:PutImage", pattern))), "ecr:PutImage")
    for pattern in (
        REPOSITORY.upper().replace("ARN:AWS:ECR", "arn:aws:ecr"),
        f"arn:aws:ecr:*:{THEIRS}:*",
        "arn:aws:ecr:*:repository/*:*",
    ):
        assert not may(role(document(allow("ecr:PutImage", pattern))), "ecr:PutImage")


def test_an_action_without_a_resource_needs_the_star() -> None:
    assert may(role(document(allow("ecr:GetAuthorizationToken"))), "ecr:GetAuthorizationToken", "*")
    assert not may(role(document(allow("ecr:GetAuthorizationToken", REPOSITORY))), "ecr:GetAuthorizationToken", "*")


def test_not_action_and_not_resource_mean_all_others() -> None:
    """reference_policies_elements_notaction.html, reference_policies_elements_notresource.html."""
    others = role(document({"Effect": "Allow", "NotAction": ["iam:*", "ecr:DeleteRepository"], "Resource": "*"}))
    assert may(others, "ecr:PutImage")
    assert not may(others, "ecr:DeleteRepository")
    elsewhere = role(document({"Effect": "Deny", "Action": "ecr:*", "NotResource": REPOSITORY}, allow("ecr:*")))
    assert may(elsewhere, "ecr:PutImage")
    assert not may(elsewhere, "ecr:PutImage", REPOSITORY.replace("develop", "release"))


@pytest.mark.parametrize(
    ("operator", "wanted", "given", "holds"),
    [
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", ["a", "b"], "B", False),
        ("StringEquals", "a", None, False),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", ["a", "b"], "c", True),
        # "…the values do not match and the condition is not met. If the key is missing, negated operators are true."
        ("StringNotEquals", "a", None, True),
        ("StringLike", "rel*/?", "release/x", True),
        ("StringLike", "rel*/?", "release/xx", False),
        ("Bool", "true", "True", True),
        ("Bool", True, "true", True),
        ("Bool", "true", "false", False),
        ("Bool", "true", None, False),
        ("ArnLike", "arn:aws:iam::*:role/x*", "arn:aws:iam::1:role/xy", True),
        ("ArnLike", "arn:aws:iam:*:2:role/x", "arn:aws:iam::1:2:role/x", False),
        ("ArnEquals", "arn:aws:iam::*:role/x*", "arn:aws:iam::1:role/xy", True),
        # reference_policies_condition-single-vs-multi-valued-context-keys.html
        ("ForAllValues:StringLike", ["PostDateTime", "Message", "Tags"], ["PostDateTime", "Message"], True),
        ("ForAllValues:StringLike", ["PostDateTime", "Message", "Tags"], ["PostDateTime", "UserName"], False),
        ("ForAllValues:StringEquals", "a", None, True),
        ("StringEqualsIfExists", "a", None, True),
        ("StringEqualsIfExists", "a", "a", True),
        ("StringEqualsIfExists", "a", "b", False),
        ("StringNotEqualsIfExists", "a", None, True),
        ("StringNotEqualsIfExists", "a", "a", False),
        ("ForAnyValue:StringLike", ["ID", "PostDateTime"], ["UserName", "Message", "PostDateTime"], True),
        ("ForAnyValue:StringLike", ["ID", "PostDateTime"], ["UserName"], False),
        ("ForAnyValue:StringEquals", "a", None, False),
    ],
)
def test_condition_operators(operator: str, wanted: object, given: str | list[str] | None, holds: bool) -> None:
    """reference_policies_elements_condition_operators.html."""
    conditional = role(document(allow("ecr:PutImage", Condition={operator: {"Test:Key": wanted}})))
    assert may(conditional, "ecr:PutImage", test__key=given) == holds


def test_all_conditions_of_a_statement_must_hold() -> None:
    both = role(document(allow("ecr:PutImage", Condition={"StringEquals": {"t:a": "1", "t:b": "2"}, "Bool": {"t:c": "true"}})))
    assert may(both, "ecr:PutImage", t__a="1", t__b="2", t__c="true")
    for wrong in ({"t__a": "2"}, {"t__b": "1"}, {"t__c": "false"}):
        assert not may(both, "ecr:PutImage", **{"t__a": "1", "t__b": "2", "t__c": "true", **wrong})


def test_the_callers_own_keys_are_known() -> None:
    mine = document(allow("ecr:PutImage", Condition={"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{OURS}:role/b*"}}))
    assert may(role(mine), "ecr:PutImage")
    assert not may(role(mine, name="deploy"), "ecr:PutImage")


# What is not known never passes


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (allow("ecr:PutImage", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), "IpAddress"),
        (allow("ecr:PutImage", Condition={"IpAddressIfExists": {"a:b": "c"}}), "IpAddressIfExists"),
        (allow("ecr:PutImage", Condition={"StringEqualsIfExists": {"a:b": "c"}}), "a:b.*does not state"),
        (allow("ecr:PutImage", Condition={"ForSomeValues:StringEquals": {"a:b": "c"}}), "ForSomeValues"),
        (allow("ecr:PutImage", Condition={"StringEquals": {"aws:SourceVpc": "vpc-1"}}), "aws:SourceVpc.*does not state"),
        (allow("ecr:PutImage", Condition={"ArnLike": {"aws:SourceArn": "*"}}), "six parts"),
        (allow("ecr:PutImage", Condition={"StringEquals": {"a:b": []}}), "is empty"),
        (allow("ecr:PutImage", Surprise="yes"), "Surprise"),
        (allow("ecr:PutImage", Principal="*"), "names its Principal"),
        (allow("ecr:PutImage", NotAction="ecr:GetImage"), "exactly one of Action and NotAction"),
        ({"Effect": "Allow", "Action": "ecr:PutImage"}, "exactly one of Resource and NotResource"),
        ({"Effect": "Permit", "Action": "ecr:PutImage", "Resource": "*"}, "Permit"),
        (allow("PutImage"), "service:Action"),
        (allow("ecr:PutImage", "repository/*"), "six parts"),
        (allow("ecr:PutImage", f"{REPOSITORY}/${{aws:username}}"), "policy variables"),
    ],
)
def test_an_identity_policy_with_something_unknown_is_an_error(statement: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        may(role(document(statement)), "ecr:PutImage")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ({"Effect": "Allow", "NotPrincipal": "*", "Action": "ecr:PutImage"}, "NotPrincipal"),
        (allow("ecr:PutImage"), "names its Principal"),
        (grant({"Federated": "accounts.google.com"}, "ecr:PutImage"), "Federated"),
        (grant({"AWS": f"arn:aws:iam::{OURS}:role/*"}, "ecr:PutImage"), "whole ARN"),
        (grant({"AWS": "1234"}, "ecr:PutImage"), "whole ARN"),
        (grant({"Service": "*"}, "ecr:PutImage"), "events.amazonaws.com"),
        (grant({}, "ecr:PutImage"), "AWS and Service are known"),
    ],
)
def test_a_resource_policy_with_something_unknown_is_an_error(statement: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        may(role(document(allow("*"))), "ecr:PutImage", on=document(statement))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[]", "an object is needed"),
        ('{"Statement": [], "Statement": []}', "repeats a key"),
        ('{"Version": "2020-01-01", "Statement": []}', "2020-01-01"),
        ('{"Statements": []}', "Statements"),
        ('{"Version": "2012-10-17"}', "an object is needed"),
    ],
)
def test_a_broken_document_is_an_error(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        may(role(text), "ecr:PutImage")


def test_a_key_of_several_values_needs_a_set_operator() -> None:
    tags = role(document(allow("ecr:PutImage", Condition={"StringEquals": {"aws:TagKeys": "team"}})))
    with pytest.raises(PolicyError, match="multi-valued"):
        may(tags, "ecr:PutImage", aws__TagKeys=["team", "cost"])


@pytest.mark.parametrize(("action", "resource"), [("ecr:*", REPOSITORY), ("ecr:PutImage", "arn:aws:s3:::bucket/key")])
def test_a_request_that_leaves_something_open_is_an_error(action: str, resource: str) -> None:
    with pytest.raises(PolicyError):
        may(role(document(allow("*"))), action, resource)


def test_the_verdict_says_which_statement_decided() -> None:
    denied = judge(
        Request(caller=role(document(allow("*"), deny("ecr:PutImage", Sid="Never"))), action="ecr:PutImage", resource=REPOSITORY)
    )
    assert denied.reason == f"statement 2 of the identity policy 1 (Never) explicitly denies ecr:PutImage on {REPOSITORY}"
    assert (
        judge(Request(caller=role(), action="ecr:PutImage", resource=REPOSITORY)).reason
        == f"no identity-based policy allows ecr:PutImage on {REPOSITORY}"
    )
