"""IAM policy documents, built from statements that read as verbs. Pure: no resource is made here.

Actions are named one by one; `check` refuses a wildcard action, and a `*` resource without the reason beside it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi

Statement = Mapping[str, Any]
Strings = Sequence[pulumi.Input[str]]


def allow(
    sid: str,
    *,
    actions: Sequence[str],
    resources: Strings,
    conditions: Mapping[str, Mapping[str, Any]] | None = None,
) -> Statement:
    """An identity policy's statement that allows `actions` on `resources` (ARNs) under `conditions`."""
    _refuse_wildcards(sid, actions)
    statement: dict[str, Any] = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }
    if conditions:
        statement["Condition"] = {key: dict(value) for key, value in conditions.items()}
    return statement


def allow_everywhere(sid: str, *, actions: Sequence[str], because: str) -> Statement:
    """Allow `actions` on every resource: only for actions that know no narrower one; `because` says which page says so.

    Raises:
        ValueError: no reason was given, or an action holds a wildcard.
    """
    if not because:
        msg = f"statement {sid}: Resource is '*' without a reason; say why no narrower resource exists, or name one"
        raise ValueError(msg)
    return allow(sid, actions=actions, resources=["*"])


def grant(
    sid: str,
    *,
    to: Mapping[str, Any],
    actions: Sequence[str],
    resources: Strings | None = None,
    conditions: Mapping[str, Mapping[str, Any]] | None = None,
) -> Statement:
    """A resource policy's statement: principals `to` (e.g. `{"AWS": [...]}`) may do `actions` here under `conditions`."""
    _refuse_wildcards(sid, actions)
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Principal": dict(to), "Action": list(actions)}
    if resources is not None:
        statement["Resource"] = list(resources)
    if conditions:
        statement["Condition"] = {key: dict(value) for key, value in conditions.items()}
    return statement


def deny_plain_http(sid: str, *, actions: Sequence[str], resources: Strings) -> Statement:
    """A resource policy's statement that refuses `actions` to everybody who does not come over TLS."""
    _refuse_wildcards(sid, actions)
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(actions),
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def document(*statements: Statement) -> pulumi.Input[str]:
    """The policy document (JSON) of `statements`; Outputs inside are resolved.

    `pulumi.Output.json_dumps` would make an Output of every string and list in it, a third of what evaluating a program of
    many services costs. Here only what is an Output already is waited for.
    """
    waiting: list[pulumi.Output[Any]] = []

    def with_holes(value: Any) -> Any:  # noqa: ANN401 — any part of a document
        if isinstance(value, pulumi.Output):
            waiting.append(cast("pulumi.Output[Any]", value))
            return _Hole(len(waiting) - 1)
        if isinstance(value, Mapping):
            return {key: with_holes(each) for key, each in cast("Mapping[str, Any]", value).items()}
        if isinstance(value, list | tuple):
            return [with_holes(each) for each in cast("Sequence[Any]", value)]
        return value

    whole = with_holes({"Version": "2012-10-17", "Statement": list(statements)})
    if not waiting:
        return json.dumps(whole)
    return pulumi.Output.all(*waiting).apply(lambda known: json.dumps(whole, default=lambda hole: known[hole.index]))


@dataclass(frozen=True)
class _Hole:
    """The place of the Output `index` in a document."""

    index: int


def trust_service(service: str, *, account: str | None = None, source_arn: pulumi.Input[str] | None = None) -> Statement:
    """Let an AWS service assume the role, for the account and source named (the confused-deputy guard).

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
    """
    conditions: dict[str, dict[str, Any]] = {}
    if account is not None:
        conditions["StringEquals"] = {"aws:SourceAccount": account}
    if source_arn is not None:
        conditions["ArnLike"] = {"aws:SourceArn": source_arn}
    return grant("Assume", to={"Service": service}, actions=["sts:AssumeRole"], conditions=conditions or None)


def trust_pods(account: str, *, cluster_arn: pulumi.Input[str]) -> Statement:
    """Let pods of one cluster assume the role, by Pod Identity: which of them, its association says.

    Source: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
    """
    return grant(
        "PodsOfThisCluster",
        to={"Service": "pods.eks.amazonaws.com"},
        actions=["sts:AssumeRole", "sts:TagSession"],
        conditions={"StringEquals": {"aws:SourceAccount": account}, "ArnEquals": {"aws:SourceArn": cluster_arn}},
    )


def account_root(account: str) -> str:
    """The principal that stands for all of an account: its own IAM then says who in it."""
    return f"arn:aws:iam::{account}:root"


def _refuse_wildcards(sid: str, actions: Sequence[str]) -> None:
    wild = [action for action in actions if "*" in action]
    if wild:
        msg = f"statement {sid}: actions {wild} hold a wildcard; allowed are whole action names: name each one that is needed"
        raise ValueError(msg)
