"""IAM policy documents, built from statements that read as verbs. Pure: no resource is made here.

Actions are named one by one. The builders refuse a wildcard action, and a `*` resource without the reason beside it;
`check_statements` holds statements that users wrote themselves to the same rules.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import pulumi

Statement = Mapping[str, Any]
Strings = Sequence[pulumi.Input[str]]

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
_ACTION: Final = re.compile(r"[a-z0-9-]+:[A-Za-z0-9]+")
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html
_SID: Final = re.compile(r"[A-Za-z0-9]+")
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
_ARN: Final = re.compile(r"arn:[^:*]+:[^:*]+:[^:]*:[^:]*:.+", re.DOTALL)
_ELEMENTS: Final = ("Sid", "Effect", "Action", "Resource", "Condition")
_SHOWN: Final = 60
# Elements of IAM that a service's statement must not have, each with the reason.
_UNWANTED: Final[Mapping[str, str]] = {
    "NotAction": "it allows every action except those named; list the allowed ones in Action",
    "NotResource": "it covers every resource except those named; list the allowed ones in Resource",
    "Principal": "a role's own policy has none; remove it",
    "NotPrincipal": "a role's own policy has none; remove it",
}


class StatementError(pulumi.RunError, ValueError):
    """A statement says more than it may. The message alone is shown, without a traceback."""


class _Everywhere(dict[str, Any]):
    """A statement on every resource whose author gave the reason: `allow_everywhere` alone makes it."""


def allow(
    sid: str,
    *,
    actions: Sequence[str],
    resources: Strings,
    conditions: Mapping[str, Mapping[str, Any]] | None = None,
) -> Statement:
    """Return an identity policy's statement that allows `actions` on `resources` (ARNs) under `conditions`.

    Raises:
        StatementError: an action holds a wildcard, or a resource is `*`.
    """
    if "*" in ((resources,) if isinstance(resources, str) else [each for each in resources if isinstance(each, str)]):
        msg = (
            f"statement {sid}: Resource '*' is every resource of the account. Name the ARNs; for actions that know no resource, "
            "use iam.allow_everywhere and give the reason."
        )
        raise StatementError(msg)
    return _allow(sid, actions, resources, conditions)


def _allow(
    sid: str, actions: Sequence[str], resources: Strings, conditions: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    _refuse_wildcards(sid, actions)
    statement: dict[str, Any] = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": _listed(actions),
        "Resource": _listed(resources),
    }
    if conditions:
        statement["Condition"] = {key: dict(value) for key, value in conditions.items()}
    return statement


def allow_everywhere(sid: str, *, actions: Sequence[str], because: str) -> Statement:
    """Allow `actions` on every resource: only for actions that know no narrower one; `because` says which page says so.

    Raises:
        StatementError: no reason was given, or an action holds a wildcard.
    """
    if not because:
        msg = f"statement {sid}: Resource is '*' without a reason; say why no narrower resource exists, or name one"
        raise StatementError(msg)
    return _Everywhere(_allow(sid, actions, ["*"]))


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


def check_statements(statements: object) -> Iterator[str]:
    """Yield what is wrong with the `permissions` of a service: one sentence each, none if all is well.

    Statements of the builders above and hand-written mappings are held to the same rules. The caller puts the name of the
    service and of the argument before each sentence.
    """
    if isinstance(statements, Mapping):
        yield "got one statement by itself. Put it into a list: [iam.allow(...)]."
        return
    if isinstance(statements, str | bytes) or not isinstance(statements, Sequence):
        yield (
            f"got {_shown(statements)}, which is not a list of statements. Build each with iam.allow, such as "
            '[iam.allow("ReadCarts", actions=["s3:GetObject"], resources=["arn:aws:s3:::carts/*"])].'
        )
        return
    seen: set[str] = set()
    for number, statement in enumerate(cast("Sequence[object]", statements), 1):
        if not isinstance(statement, Mapping):
            yield f"statement {number} is {_shown(statement)}, which is not a statement. Build it with iam.allow."
            continue
        given = cast("Mapping[object, object]", statement)
        sid = given.get("Sid")
        name = f"statement {number} ({sid})" if isinstance(sid, str) and sid else f"statement {number}"
        if isinstance(sid, str) and sid in seen:
            yield f"{name}: another statement has the same Sid. Give each its own."
        seen |= {sid} if isinstance(sid, str) else set()
        yield from (f"{name}: {fault}" for fault in _statement_faults(given))


def _statement_faults(given: Mapping[object, object]) -> Iterator[str]:
    for key in given:
        if key in _UNWANTED:
            yield f"{key} is not taken: {_UNWANTED[str(key)]}."
        elif key not in _ELEMENTS:
            yield f"{_shown(key)} is not an element of a statement. Elements are {', '.join(_ELEMENTS)}."
    sid, effect = given.get("Sid", "A"), given.get("Effect")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        yield f"Sid is {_shown(sid)}, but IAM takes letters and digits only. Shorten it to a word such as ReadCarts."
    if effect not in ("Allow", "Deny"):
        yield f"Effect is {_shown(effect)}. Write Allow or Deny."
    if "NotAction" not in given:
        yield from _list_faults("Action", given.get("Action"), _action_fault, 'such as ["s3:GetObject"]')
    if "NotResource" not in given:
        # Everywhere is fine with a reason, and for a denial, where it is the stricter one.
        free = effect == "Deny" or isinstance(given, _Everywhere)
        yield from _list_faults(
            "Resource",
            given.get("Resource"),
            lambda each: None if free and each == "*" else _resource_fault(each),
            'such as ["arn:aws:s3:::carts/*"]',
        )
    conditions = given.get("Condition", {})
    if not isinstance(conditions, Mapping) or not all(
        isinstance(each, Mapping) for each in cast("Mapping[object, object]", conditions).values()
    ):
        yield (
            f"Condition is {_shown(cast('object', conditions))}. Write an operator with its keys, such as "
            '{"StringEquals": {"aws:ResourceTag/team": "carts"}}.'
        )


def _list_faults(element: str, value: object, fault: Callable[[object], str | None], example: str) -> Iterator[str]:
    if value is None:
        yield f"{element} is missing. Add a list, {example}."
    elif isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        yield f"{element} is {_shown(cast('object', value))}, which is not a list. Write a list, {example}."
    elif not value:
        yield f"{element} is empty. Name at least one, {example}."
    else:
        for each in cast("Sequence[object]", value):
            if found := fault(each):
                yield f"{element} {found}"


def _action_fault(action: object) -> str | None:
    if isinstance(action, str) and _ACTION.fullmatch(action):
        return None
    if isinstance(action, str) and ("*" in action or "?" in action):
        return f"{_shown(action)} holds a wildcard. Name each action that is needed."
    return f"{_shown(action)} is not the name of an action. Write service:Action, such as s3:GetObject."


def _resource_fault(resource: object) -> str | None:
    if isinstance(resource, pulumi.Output) or (isinstance(resource, str) and _ARN.fullmatch(resource)):
        return None
    if resource == "*":
        return (
            "'*' is every resource of the account. Name the ARNs; for an action that knows no resource, use "
            "iam.allow_everywhere and give the reason."
        )
    return f"{_shown(resource)} is not an ARN of one service. Write it in full, such as arn:aws:s3:::carts/*."


def _shown(value: object) -> str:
    """Return a value as its user wrote it, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


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


def _listed(values: Strings) -> Any:  # noqa: ANN401 — a list, or what a caller gave in its place
    """Return a copy as a list. Text by itself stays as it is, because its letters are no list: `check_statements` names it."""
    return values if isinstance(values, str) else list(values)


def _refuse_wildcards(sid: str, actions: Sequence[str]) -> None:
    wild = [action for action in ([actions] if isinstance(actions, str) else actions) if "*" in action]
    if wild:
        msg = f"statement {sid}: actions {wild} hold a wildcard. Name each action that is needed."
        raise StatementError(msg)
