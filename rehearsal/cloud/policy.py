"""The judgements that AWS makes when its services meet each other, and the emulators do not: by the rehearsal's one evaluator."""

import json
from collections.abc import Mapping
from typing import Any, cast

from rehearsal.registry.policy import Document, PolicyError, Request, Service, Verdict, judge


def may_send(policy: str, rule_arn: str, queue_arn: str) -> Verdict:
    """Whether EventBridge may put a rule's events into a queue.

    Args:
        policy: The queue's policy document; "" when it has none, which lets no service in.
        rule_arn: The rule.
        queue_arn: The queue.

    Raises:
        PolicyError: the policy cannot be judged for certain.
    """
    request = Request(
        caller=Service(name="events.amazonaws.com"),
        action="sqs:SendMessage",
        resource=queue_arn,
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html; AWS's services speak TLS
        context={"aws:SourceArn": rule_arn, "aws:SourceAccount": rule_arn.split(":")[4], "aws:SecureTransport": "true"},
    )
    return judge(request, resource_policy=policy or None)


def may_assume(trust: Document, role_arn: str, service: str, source_arn: str) -> Verdict:
    """Whether an AWS service may assume a role on behalf of one of its resources.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html

    Args:
        trust: The role's trust policy.
        role_arn: The role.
        service: Service principal, such as `lambda.amazonaws.com`.
        source_arn: The resource.

    Raises:
        PolicyError: the policy cannot be judged for certain.
    """
    request = Request(
        caller=Service(name=service),
        action="sts:AssumeRole",
        resource=role_arn,
        context={"aws:SourceArn": source_arn, "aws:SourceAccount": source_arn.split(":")[4]},
    )
    return judge(request, resource_policy=trust)


def lets_in(trust: str, account: str, claims: Mapping[str, Any]) -> bool:
    """Whether a role's trust policy lets a web identity assume it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif

    Args:
        trust: The role's trust policy.
        account: The role's account.
        claims: The identity token's.

    Raises:
        PolicyError: the policy cannot be judged for certain.
    """
    issuer = str(claims["iss"]).removeprefix("https://")
    for statement in json.loads(trust)["Statement"]:
        if statement["Principal"] != {"Federated": f"arn:aws:iam::{account}:oidc-provider/{issuer}"}:
            continue
        conditions = statement.get("Condition", {})
        if (statement["Effect"], _listed(statement["Action"]), conditions.keys()) != (
            "Allow",
            ["sts:AssumeRoleWithWebIdentity"],
            {"StringEquals"},
        ):
            msg = f"a trust policy says {statement}: one that allows sts:AssumeRoleWithWebIdentity by StringEquals is known here"
            raise PolicyError(msg)
        if all(claims.get(key.removeprefix(f"{issuer}:")) in _listed(one) for key, one in conditions["StringEquals"].items()):
            return True
    return False


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


__all__ = ["lets_in", "may_assume", "may_send"]
