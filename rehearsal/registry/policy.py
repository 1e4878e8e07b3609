"""Judges one request by IAM's rules: identity policies, permissions boundary and resource policy, in one or two accounts.

Small and strict. What it does not know (an element, an operator, a policy variable, a condition key that the caller did
not state) raises `PolicyError`: a rehearsal that passes must have judged all of what was declared. No service control
or session policies: the program declares none.

Own code, since no library holds this offline. moto and ministack judge identity policies alone and let an unknown
operator pass as "no match", which in a Deny is an allow; the packages for IAM on PyPI lint, expand or ask AWS; npm's
@cloud-copilot/iam-simulate judges all of it but is AGPL and would bring Node.

Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
and https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache, lru_cache
from typing import Any, Final, cast

Document = str | Mapping[str, Any]
Context = Mapping[str, str | Sequence[str] | None]

_ARN_PARTS: Final = 6
_ACCOUNT: Final = re.compile(r"\d{12}")
# Whole names only: "You cannot use a wildcard to match part of a principal name or ARN."
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
_PRINCIPAL_ARN: Final = re.compile(
    r"arn:aws:(iam::\d{12}:(root|(role|user)/[\w+=,.@/-]+)|sts::\d{12}:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+)"
)
_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_ELEMENTS: Final = frozenset({"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"})


class PolicyError(ValueError):
    """A policy, or a request, that cannot be judged for certain. The message says where and why."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """An IAM principal with what limits and allows it.

    Attributes:
        account: Twelve digits.
        principal_arn: ARN of the role, the user, or the account's root; never of a session.
        policies: Its identity policies, inline and attached.
        boundary: Its permissions boundary.
        session: Session name of an assumed role, "" where it does not matter.
    """

    account: str
    principal_arn: str
    policies: Sequence[Document] = ()
    boundary: Document | None = None
    session: str = ""

    @property
    def caller_arn(self) -> str:
        """The ARN that makes the request: of the session, where there is one."""
        if not self.session:
            return self.principal_arn
        return f"arn:aws:sts::{self.account}:assumed-role/{self.principal_arn.rpartition('/')[2]}/{self.session}"

    @property
    def is_root(self) -> bool:
        """Whether it is the account's root, whom no identity policy limits."""
        return self.principal_arn == f"arn:aws:iam::{self.account}:root"


@dataclass(frozen=True, kw_only=True)
class Service:
    """An AWS service that calls on its own behalf, such as `events.amazonaws.com`."""

    name: str

    @property
    def caller_arn(self) -> str:
        """Its name: services have no ARN."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class Request:
    """One action of one caller on one resource.

    Attributes:
        caller: Who asks.
        action: Such as `ecr:PutImage`.
        resource: ARN, or `*` for actions that know no resource.
        context: Condition keys of the request. None says that the request does not carry the key; a key that is missing
            here makes a condition on it an error. The caller's own keys (`aws:PrincipalArn`, `aws:PrincipalAccount`,
            `aws:PrincipalIsAWSService`, `aws:ResourceAccount`) are filled in.
        resource_account: Owner of the resource, for ARNs that do not name it (S3).
    """

    caller: Identity | Service
    action: str
    resource: str
    context: Context = field(default_factory=dict[str, str | Sequence[str] | None])
    resource_account: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the request may pass, and which statement or which absence decided."""

    allowed: bool
    reason: str

    def __bool__(self) -> bool:
        """Whether it may pass."""
        return self.allowed


class _Reach(IntEnum):
    """How far a resource policy's Allow reaches within the caller's own account; across accounts any of them counts."""

    NONE = 0
    ACCOUNT = 1  # delegates to the account: its identity policies still have to allow
    ROLE = 2  # allows, within the permissions boundary
    DIRECT = 3  # allows whatever boundary and identity policies leave open


@dataclass(frozen=True, kw_only=True)
class _Statement:
    name: str
    allows: bool
    actions: Sequence[str]
    not_actions: bool
    resources: Sequence[str]
    not_resources: bool
    principals: Mapping[str, Sequence[str]]
    conditions: Sequence[tuple[str, str, Sequence[str]]]


def judge(request: Request, *, resource_policy: Document | None = None) -> Verdict:
    """Judge `request`, given the policy on the resource if it has one.

    Raises:
        PolicyError: something in a policy or in the request is unknown here, so no verdict would be certain.
    """
    if not re.fullmatch(r"[a-z0-9-]+:[A-Za-z0-9]+", request.action):
        msg = f"the action is {request.action!r}: one whole action such as ecr:PutImage is allowed"
        raise PolicyError(msg)
    caller = request.caller
    owner = request.resource_account or _owner(request)
    facts = _facts(request, owner)
    # All are read before any is weighed: what is unknown in one must not hide behind another's denial.
    on_resource = [] if resource_policy is None else _parse(resource_policy, "resource policy", with_principal=True)
    on_identity, boundary = _limits(caller)
    applies = [each for each in on_resource if _reach(each, caller) and _concerns(each, request, facts)]
    permits = [each for each in on_identity if _concerns(each, request, facts)]
    bounds = [each for each in boundary or () if _concerns(each, request, facts)]
    what = f"{request.action} on {request.resource}"
    for each in (*applies, *permits, *bounds):
        if not each.allows:
            return Verdict(allowed=False, reason=f"{each.name} explicitly denies {what}")
    if isinstance(caller, Service):
        # A service has no identity policies: the resource's policy alone admits it.
        fault = "" if applies else "no resource-based policy allows"
    else:
        reach = max((_reach(each, caller) for each in applies), default=_Reach.NONE)
        fault = _fault(
            reach=reach,
            local=owner == caller.account,
            permitted=bool(permits) or caller.is_root,
            bounded=boundary is not None and not bounds,
        )
    if fault:
        return Verdict(allowed=False, reason=f"{fault} {what}")
    by = " and ".join(each.name for each in (*permits[:1], *applies[:1])) or "the account's root"
    return Verdict(allowed=True, reason=f"{by}: {what} is allowed")


def _fault(*, reach: _Reach, local: bool, permitted: bool, bounded: bool) -> str:
    """What is lacking for an allowance when nothing denies, "" for nothing.

    Args:
        reach: How directly the resource policy allows the caller.
        local: Whether the resource is in the caller's account.
        permitted: Whether an identity policy allows.
        bounded: Whether a permissions boundary leaves the action out.
    """
    if local and (reach is _Reach.DIRECT or (reach is _Reach.ROLE and not bounded)):
        return ""
    if not local and reach is _Reach.NONE:
        return "no resource-based policy allows"
    if not permitted and not (local and reach is _Reach.ROLE):
        return "no identity-based policy allows"
    return "no permissions boundary allows" if bounded else ""


def _limits(caller: Identity | Service) -> tuple[list[_Statement], list[_Statement] | None]:
    """The statements of the caller's own policies and of its boundary, None without one."""
    if isinstance(caller, Service):
        return [], None
    own = [
        statement
        for number, each in enumerate(caller.policies, 1)
        for statement in _parse(each, f"identity policy {number}", with_principal=False)
    ]
    return own, None if caller.boundary is None else _parse(caller.boundary, "permissions boundary", with_principal=False)


def _owner(request: Request) -> str:
    if request.resource == "*":
        if isinstance(request.caller, Identity):
            return request.caller.account
        msg = f"{request.action} on '*' by {request.caller.name}: a service acts on a resource; give its ARN"
        raise PolicyError(msg)
    account = _arn(request.resource, "the request's resource")[4]
    if not _ACCOUNT.fullmatch(account):
        msg = f"the resource {request.resource} does not name its account: give resource_account"
        raise PolicyError(msg)
    return account


def _facts(request: Request, owner: str) -> dict[str, str | Sequence[str] | None]:
    """The request's condition keys, which are case-insensitive, in lower case."""
    caller = request.caller
    is_identity = isinstance(caller, Identity)
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    own: dict[str, str | Sequence[str] | None] = {
        "aws:principalarn": caller.principal_arn if is_identity else None,
        "aws:principalaccount": caller.account if is_identity else None,
        "aws:principalisawsservice": "false" if is_identity else "true",
        "aws:resourceaccount": owner,
    }
    return own | {key.lower(): value for key, value in request.context.items()}


# Parsing


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = f"a JSON object repeats a key, of which only the last would count: {[key for key, _ in pairs]}"
        raise PolicyError(msg)
    return found


def _strings(value: object, where: str) -> list[str]:
    """IAM's "one string or a list of them"; booleans and numbers are allowed as condition values."""
    found: list[str] = []
    for each in cast("list[object]", value) if isinstance(value, list) else [value]:
        if isinstance(each, bool):
            found.append(str(each).lower())
        elif isinstance(each, (str, int)):
            found.append(str(each))
        else:
            msg = f"{where} is {value!r}: a string or a list of strings is allowed"
            raise PolicyError(msg)
    if not found:
        msg = f"{where} is empty: at least one string is needed"
        raise PolicyError(msg)
    for text in found:
        if "${" in text:
            # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
            msg = f"{where} holds {text!r}: policy variables are not known here"
            raise PolicyError(msg)
    return found


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        msg = f"{where} is {value!r}: an object is needed"
        raise PolicyError(msg)
    return dict(cast("Mapping[str, Any]", value))


def _parse(document: Document, where: str, *, with_principal: bool) -> list[_Statement]:
    """A document's statements: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html ."""
    if isinstance(document, str):
        return _parse_text(document, where, with_principal=with_principal)
    return _parse_loaded(document, where, with_principal=with_principal)


# A role's documents are judged thousands of times.
@lru_cache(maxsize=256)
def _parse_text(document: str, where: str, *, with_principal: bool) -> list[_Statement]:
    try:
        loaded: object = json.loads(document, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        msg = f"the {where} is no JSON: {error}"
        raise PolicyError(msg) from error
    return _parse_loaded(loaded, where, with_principal=with_principal)


def _parse_loaded(loaded: object, where: str, *, with_principal: bool) -> list[_Statement]:
    whole = _object(loaded, f"the {where}")
    if strange := whole.keys() - {"Version", "Id", "Statement"}:
        msg = f"the {where} has {sorted(strange)}: Version, Id and Statement are known"
        raise PolicyError(msg)
    if whole.get("Version", _VERSIONS[1]) not in _VERSIONS:
        msg = f"the {where} is of version {whole['Version']!r}: {_VERSIONS} are known"
        raise PolicyError(msg)
    listed = whole.get("Statement")
    statements = cast("list[object]", listed) if isinstance(listed, list) else [listed]
    return [
        _statement(
            _object(each, f"statement {number} of the {where}"),
            f"statement {number} of the {where}",
            with_principal=with_principal,
        )
        for number, each in enumerate(statements, 1)
    ]


def _statement(given: Mapping[str, Any], where: str, *, with_principal: bool) -> _Statement:
    name = f"{where} ({given['Sid']})" if given.get("Sid") else where
    if strange := given.keys() - _ELEMENTS:
        msg = f"{name} has {sorted(strange)}: known are {sorted(_ELEMENTS)}"
        raise PolicyError(msg)
    if given.get("Effect") not in {"Allow", "Deny"}:
        msg = f"{name} has the effect {given.get('Effect')!r}: Allow and Deny are known"
        raise PolicyError(msg)
    if with_principal != ("Principal" in given):
        msg = f"{name}: a resource policy's statement names its Principal, an identity policy's has none"
        raise PolicyError(msg)
    actions, not_actions = _either(given, "Action", name)
    for each in actions:
        if each != "*" and not re.fullmatch(r"[a-z0-9-]+:[A-Za-z0-9*?]+", each):
            msg = f"{name} has the action {each!r}: '*' or service:Action is allowed"
            raise PolicyError(msg)
    resources, not_resources = _resources(given, name, with_principal=with_principal)
    return _Statement(
        name=name,
        allows=given["Effect"] == "Allow",
        actions=actions,
        not_actions=not_actions,
        resources=resources,
        not_resources=not_resources,
        principals=_principals(given["Principal"], name) if with_principal else {},
        conditions=_conditions(given.get("Condition", {}), name),
    )


def _resources(given: Mapping[str, Any], name: str, *, with_principal: bool) -> tuple[list[str], bool]:
    if with_principal and "Resource" not in given and "NotResource" not in given:
        # ECR's repository policies and trust policies name no resource: they stand on it.
        return ["*"], False
    resources, negated = _either(given, "Resource", name)
    for each in resources:
        if each != "*":
            _arn(each, f"{name}, resource")
    return resources, negated


def _conditions(given: object, name: str) -> list[tuple[str, str, list[str]]]:
    found: list[tuple[str, str, list[str]]] = []
    for operator, keys in _object(given, f"{name}, Condition").items():
        _, bare = _operator(operator, name)
        for key, values in _object(keys, f"{name}, {operator}").items():
            wanted = _strings(values, f"{name}, {operator} {key}")
            if bare.startswith("Arn"):
                for each in wanted:
                    _arn(each, f"{name}, {operator} {key}")
            found.append((operator, key, wanted))
    return found


def _either(given: Mapping[str, Any], element: str, name: str) -> tuple[list[str], bool]:
    """`Action` or `NotAction`, `Resource` or `NotResource`: exactly one of the two, and whether it was the negation."""
    if (element in given) == (f"Not{element}" in given):
        msg = f"{name} needs exactly one of {element} and Not{element}"
        raise PolicyError(msg)
    negated = element not in given
    chosen = f"Not{element}" if negated else element
    return _strings(given[chosen], f"{name}, {chosen}"), negated


def _principals(value: object, name: str) -> dict[str, list[str]]:
    if value == "*":
        return {"AWS": ["*"]}
    found = {kind: _strings(each, f"{name}, Principal {kind}") for kind, each in _object(value, f"{name}, Principal").items()}
    if not found or found.keys() - {"AWS", "Service"}:
        msg = f"{name} has the principals {sorted(found)}: AWS and Service are known"
        raise PolicyError(msg)
    for each in found.get("AWS", ()):
        if each != "*" and not _ACCOUNT.fullmatch(each) and not _PRINCIPAL_ARN.fullmatch(each):
            msg = (
                f"{name} has the principal {each!r}: '*', an account, or the whole ARN of a root, role, session or user is known"
            )
            raise PolicyError(msg)
    for each in found.get("Service", ()):
        if not re.fullmatch(r"[a-z0-9.-]+\.amazonaws\.com", each):
            msg = f"{name} has the service {each!r}: a name such as events.amazonaws.com is allowed"
            raise PolicyError(msg)
    return found


def _arn(text: str, where: str) -> list[str]:
    """The six parts of an ARN or of a pattern for one; IAM's wildcards do not reach over the colons between them.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    parts = text.split(":", _ARN_PARTS - 1)
    if len(parts) != _ARN_PARTS or parts[0] != "arn":
        msg = f"{where} is {text!r}: an ARN of six parts, arn:partition:service:region:account:resource, is allowed"
        raise PolicyError(msg)
    return parts


# Matching


@cache
def _pattern(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    text = "".join(wild.get(letter, re.escape(letter)) for letter in pattern)
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else re.NOFLAG))


def _like(value: str, pattern: str, *, ignore_case: bool = False) -> bool:
    return _pattern(pattern, ignore_case=ignore_case).fullmatch(value) is not None


def _arn_like(value: str, pattern: str) -> bool:
    ours, theirs = value.split(":", _ARN_PARTS - 1), pattern.split(":", _ARN_PARTS - 1)
    return len(ours) == len(theirs) and all(_like(one, other) for one, other in zip(ours, theirs, strict=True))


def _resource_like(value: str, pattern: str) -> bool:
    return pattern == "*" or (value != "*" and _arn_like(value, pattern))


def _concerns(statement: _Statement, request: Request, facts: Context) -> bool:
    """Whether action, resource and conditions fit; the principal is asked apart."""
    acts = any(_like(request.action, each, ignore_case=True) for each in statement.actions)
    there = any(_resource_like(request.resource, each) for each in statement.resources)
    return (
        acts != statement.not_actions
        and there != statement.not_resources
        and all(_holds(operator, key, wanted, facts, statement.name) for operator, key, wanted in statement.conditions)
    )


def _reach(statement: _Statement, caller: Identity | Service) -> _Reach:
    """How directly the statement names the caller; NONE if it does not.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
    """
    named = statement.principals.get("AWS", ())
    if isinstance(caller, Service):
        return _Reach.DIRECT if "*" in named or caller.name in statement.principals.get("Service", ()) else _Reach.NONE
    if "*" in named or (caller.session and caller.caller_arn in named):
        return _Reach.DIRECT
    if caller.principal_arn in named and not caller.is_root:
        return _Reach.ROLE if ":role/" in caller.principal_arn else _Reach.DIRECT
    if caller.account in named or f"arn:aws:iam::{caller.account}:root" in named:
        return _Reach.ACCOUNT
    return _Reach.NONE


# Conditions

_OPERATORS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "StringEquals": str.__eq__,
    "StringLike": _like,
    # "ArnEquals and ArnLike behave identically."
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
}
_NEGATED: Final[Mapping[str, str]] = {"StringNotEquals": "StringEquals"}
_SETS: Final = ("ForAllValues", "ForAnyValue")
# "If the condition key is not present, evaluate the condition element as true."
_IF_EXISTS: Final = "IfExists"


def _operator(operator: str, name: str) -> tuple[str, str]:
    """The set qualifier ("" for none) and the bare operator.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """
    qualifier, _, bare = operator.removesuffix(_IF_EXISTS).rpartition(":")
    if (bare not in _OPERATORS and bare not in _NEGATED) or (qualifier and qualifier not in _SETS):
        known = sorted([*_OPERATORS, *_NEGATED])
        msg = f"{name} has the condition operator {operator!r}: known are {known}, alone or with {_SETS} before a colon"
        raise PolicyError(msg)
    return qualifier, bare


def _holds(operator: str, key: str, wanted: Sequence[str], facts: Context, name: str) -> bool:
    qualifier, bare = _operator(operator, name)
    if key.lower() not in facts:
        msg = f"{name} has a condition on {key}, which the request does not state: give its value, or None where it is absent"
        raise PolicyError(msg)
    fact = facts[key.lower()]
    if fact is None and operator.endswith(_IF_EXISTS):
        return True
    compare = _OPERATORS[_NEGATED.get(bare, bare)]

    def fits(value: str) -> bool:
        # Several wanted values are alternatives; under a negated operator none of them may fit.
        return any(compare(value, each) for each in wanted) != (bare in _NEGATED)

    if qualifier:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
        values = [] if fact is None else [fact] if isinstance(fact, str) else list(fact)
        return all(map(fits, values)) if qualifier == "ForAllValues" else any(map(fits, values))
    if fact is None:
        # "If the key that you specify in a policy condition is not present in the request context, the values do not match":
        # false, but for the negated operators.
        return bare in _NEGATED
    if not isinstance(fact, str):
        msg = f"{name} tests {key}, which has several values, by {operator}: a multi-valued key needs {_SETS}"
        raise PolicyError(msg)
    return fits(fact)
