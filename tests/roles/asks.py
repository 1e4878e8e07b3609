"""Every permission that a program's resources ask of whoever handles them, on the real ARNs and with AWS's condition keys."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from rehearsal.program import Declared, Program
from rehearsal.registry.policy import Identity, Request, Verdict, judge
from tests.roles.needs import INVOKES, TABLE, VERBS, Needs, Place
from tests.roles.reference import forms, handlers, is_of, some_arn

# AWS's managed policies that a role of GitHub Actions has, each with its source and date.
MANAGED: Final = Path(__file__).parent
# Keys that AWS sends with calls of IAM; None where a call carries none.
_KEYS: Final = ("iam:AWSServiceName", "iam:PassedToService", "iam:PermissionsBoundary", "iam:PolicyARN")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One permission that is asked for.

    Attributes:
        who: URN of the resource, or token of the invoke.
        verb: create, read, update or delete; `read` for an invoke.
        action: The action.
        resource: ARN, or `*` for an action that knows none.
        context: Condition keys that the call carries, as pairs.
        hidden: Why the preview role must not have it; "" otherwise.
    """

    who: str
    verb: str
    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()
    hidden: str = ""

    @property
    def question(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        """What IAM is asked, whoever it is for."""
        return self.action, self.resource, self.context


def exception(action: str, reasons: Mapping[str, str]) -> str:
    """Return the key of `reasons` that covers the action: the action itself, or its service with a colon. "" for none."""
    service = f"{action.partition(':')[0]}:"
    return action if action in reasons else service if service in reasons else ""


def wanted(needs: Needs, verb: str) -> Sequence[str]:
    """Return all actions of a verb, the exceptions among them."""
    listed: Sequence[str] = handlers(needs.schema).get(verb, ()) if needs.schema else ()
    return sorted({*listed, *needs.calls.get(verb, ())})


def expanded(program: Program) -> Iterator[Declared]:
    """Return AWS's resources, with those that pulumi_eks declares in a process of its own (rehearsal/engine/construct.py)."""
    for each in program.resources:
        if each.custom and each.type.startswith("aws:"):
            yield each
        elif each.remote:
            yield from _of_cluster(each)


def _of_cluster(component: Declared) -> Iterator[Declared]:
    inputs, cluster = component.inputs, component.inputs["name"]

    def child(type_: str, name: str, given: Mapping[str, Any]) -> Declared:
        return replace(
            component,
            type=type_,
            name=name,
            custom=True,
            remote=False,
            urn=f"{component.urn}${type_}::{name}",
            inputs=dict(given),
            outputs=dict(given),
        )

    yield child("aws:eks/cluster:Cluster", component.name, inputs)
    for key, entry in inputs["accessEntries"].items():
        of = {**entry, "clusterName": cluster}
        yield child("aws:eks/accessEntry:AccessEntry", key, of)
        policies: Mapping[str, Any] = entry.get("accessPolicies") or {}
        for policy in policies:
            yield child("aws:eks/accessPolicyAssociation:AccessPolicyAssociation", f"{key}-{policy}", of)
    for addon in ("vpc-cni", "kube-proxy"):
        yield child("aws:eks/addon:Addon", addon, {"clusterName": cluster, "addonName": addon})


def guarded(declared: Declared, place: Place, stack: str) -> bool:
    """Whether the boundary keeps the resource from the deploy role: a person changes it (docs/security.md)."""
    if not declared.type.startswith("aws:iam/"):
        return False
    roles = {f"slipway-{stack}-deploy", f"slipway-{stack}-preview"}
    return declared.outputs.get("arn") == boundary(place, stack) or bool(
        roles & {declared.inputs.get("role"), declared.inputs.get("name")}
    )


def boundary(place: Place, stack: str) -> str:
    """Return the ARN of the stack's permissions boundary."""
    return f"arn:aws:iam::{place.account}:policy/slipway-{stack}-boundary"


def asks(program: Program, place: Place) -> Sequence[Ask]:
    """Return what handling everything in `program` asks for.

    Raises:
        LookupError: a type or an invoke has no row, or a row does not say what a read is judged on.
    """
    return [
        *(ask for each in expanded(program) for ask in asks_of(each, _needs(each.type), place, program.stack)),
        *_asks_of_invokes(program, place),
        *_asks_of_state(place),
    ]


def _needs(type_: str) -> Needs:
    if type_ not in TABLE:
        msg = f"{type_} has no row in tests/roles/needs.py: what do create, read, update and delete need? Add one"
        raise LookupError(msg)
    return TABLE[type_]


def asks_of(declared: Declared, needs: Needs, place: Place, stack: str) -> Iterator[Ask]:
    """Return what handling one resource asks for.

    Raises:
        LookupError: the row does not say what a read or a call of IAM is judged on.
    """
    for verb in VERBS:
        for action in wanted(needs, verb):
            if exception(action, needs.never):
                continue
            for resource, context in _judged_on(action, declared, needs, place, stack=stack, verb=verb):
                yield Ask(
                    who=declared.urn,
                    verb=verb,
                    action=action,
                    resource=resource,
                    context=tuple(sorted(context.items())),
                    hidden=needs.hidden.get(action, ""),
                )


def _judged_on(  # noqa: PLR0913 — the parts of one call
    action: str, declared: Declared, needs: Needs, place: Place, *, stack: str, verb: str
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Return the resources and condition keys that AWS judges a call on.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
    """
    passed = needs.passes(declared, place)
    linked = {f"arn:aws:iam::{place.account}:role/aws-service-role/{each}": each.partition("/")[0] for each in needs.linked}
    if action == "iam:PassRole":
        yield from ((role, {"iam:PassedToService": service}) for role, service in passed)
        if not passed:
            msg = f"{declared.type} passes no role, but its handlers list iam:PassRole: say in its row which, or why none"
            raise LookupError(msg)
    elif action == "iam:CreateServiceLinkedRole":
        yield from ((role, {"iam:AWSServiceName": service}) for role, service in linked.items())
        if not linked:
            msg = f"{declared.type} has no service-linked role, but its handlers list {action}: say in its row which, or why none"
            raise LookupError(msg)
    elif action in {"iam:GetRole", "iam:ListAttachedRolePolicies"} and not declared.type.startswith("aws:iam/"):
        yield from ((role, {}) for role, _ in passed)
        if action == "iam:GetRole":
            yield from ((role, {}) for role in linked)
    else:
        context = _context(action, declared, place, stack)
        yield from ((resource, context) for resource in _resources(action, needs.arns(declared, place), place, verb))


def _context(action: str, declared: Declared, place: Place, stack: str) -> Mapping[str, str]:
    if not declared.type.startswith("aws:iam/role"):
        return {}
    worn = declared.inputs.get("permissionsBoundary") or boundary(place, stack)
    attached = declared.inputs.get("policyArn")
    return {
        "iam:PermissionsBoundary": worn,
        **({"iam:PolicyARN": attached} if attached and action in {"iam:AttachRolePolicy", "iam:DetachRolePolicy"} else {}),
    }


def _resources(action: str, arns: Sequence[str], place: Place, verb: str) -> Iterable[str]:
    shapes = forms(action)
    if not shapes:
        return ["*"]
    known = [arn for arn in arns if any(is_of(arn, shape) for shape in shapes)]
    if known:
        return known
    if verb == "read" or action.startswith("iam:"):
        msg = f"{action} is judged on {shapes}, of which the row names none: {list(arns)}. Correct its `arns`"
        raise LookupError(msg)
    # Others than IAM's changes are PowerUserAccess's, whatever the resource.
    return [some_arn(shape, place.account, place.region) for shape in shapes]


def _asks_of_invokes(program: Program, place: Place) -> Iterator[Ask]:
    made = {call.token for call in program.calls}
    if missing := sorted(made - INVOKES.keys()):
        msg = f"{missing} have no row in tests/roles/needs.py: which actions does the provider call for them? Add one"
        raise LookupError(msg)
    calls = [(call.token, call.args) for call in program.calls]
    # Those that another process makes, and those of checks, without arguments of their own.
    calls += [(token, {}) for token, each in INVOKES.items() if each.by and token not in made]
    for token, args in calls:
        for action in INVOKES[token].actions:
            for resource in _resources(action, INVOKES[token].arns(args, place), place, "read"):
                yield Ask(who=token, verb="read", action=action, resource=resource)


def _asks_of_state(place: Place) -> Sequence[Ask]:
    """Return what reading the checkpoint asks for: https://www.pulumi.com/docs/iac/concepts/state-and-backends/#aws-s3 ."""
    bucket = f"arn:aws:s3:::slipway-state-{place.account}-{place.region}"
    return [
        Ask(who="state", verb="read", action="s3:ListBucket", resource=bucket),
        Ask(who="state", verb="read", action="s3:GetObject", resource=f"{bucket}/.pulumi/stacks/slipway/dev.json"),
    ]


@cache
def managed(arn: str) -> str:
    """Return the checked-in document of one of AWS's policies.

    Raises:
        LookupError: it is not there.
    """
    path = MANAGED / f"{arn.rpartition('/')[2]}.json"
    if not path.is_file():
        msg = f"{arn} is attached, and {path.name} is not in tests/roles: add AWS's document with its source and date"
        raise LookupError(msg)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["arn"] == arn
    return json.dumps(found["document"])


def holder(program: Program, purpose: str, place: Place) -> Identity:
    """Return the role `deploy` or `preview` of a program, with all its policies and its boundary."""
    role = program.one("iam/role:Role", f"access-{purpose}")
    worn = program.one("iam/policy:Policy", "boundary")
    assert role.inputs["permissionsBoundary"] == worn.outputs["arn"]
    name = role.inputs["name"]
    return Identity(
        account=place.account,
        principal_arn=place.role(name),
        policies=[
            *(each.inputs["policy"] for each in program.of("iam/rolePolicy:RolePolicy") if each.inputs["role"] == name),
            *(
                managed(each.inputs["policyArn"])
                for each in program.of("iam/rolePolicyAttachment:RolePolicyAttachment")
                if each.inputs["role"] == name
            ),
        ],
        boundary=worn.inputs["policy"],
    )


def verdict(caller: Identity, action: str, resource: str, context: Iterable[tuple[str, str]] = ()) -> Verdict:
    """Judge one call of `caller` in its own account."""
    keys: dict[str, str | Sequence[str] | None] = {**dict.fromkeys(_KEYS), **dict(context)}
    return judge(Request(caller=caller, action=action, resource=resource, context=keys, resource_account=caller.account))


def refusals(caller: Identity, asked: Iterable[Ask]) -> Sequence[str]:
    """Return the asks that IAM refuses to `caller`, each question once, with the reason."""
    questions = {each.question: each for each in asked}
    return [
        f"{each.verb} of {each.who}: {answer.reason}"
        for (action, resource, context), each in questions.items()
        if not (answer := verdict(caller, action, resource, context))
    ]
