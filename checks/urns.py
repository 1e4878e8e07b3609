"""Compares what a stack declared before with what it declares now. Pure.

Token, name and parent of a resource are its URN. A resource under a new URN without an alias is deleted and made again.
https://www.pulumi.com/docs/iac/concepts/resources/options/aliases/
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

Resource = Mapping[str, Any]
"""One resource as checks/worker.py reports it."""

_STACK: Final = "pulumi:pulumi:Stack"
_SERVICE: Final = "slipway:service:Service"
_GITOPS: Final = "slipway:gitops:GitOps"
# Inputs that name the thing itself. Two resources of one type that share them are the same thing in the account.
_NAMES: Final = ("name", "bucket", "identifier", "domainName", "branch", "file", "variableName", "repositoryName")
# Inputs that say within what a name is unique.
_SCOPES: Final = (
    "clusterName",
    "groupName",
    "listenerArn",
    "repository",
    "role",
    "rule",
    "statementId",
    "targetId",
    "type",
    "zoneId",
)
_SHOWN: Final = 4


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a stack's URNs differ.

    Attributes:
        faults: What must not be merged, one sentence each.
        notes: What a reviewer should know, one line each.
        come: How many resources are new.
        go: How many resources go.
    """

    faults: Sequence[str] = ()
    notes: Sequence[str] = ()
    come: int = 0
    go: int = 0


@dataclass(kw_only=True)
class _Stack:
    """Resources by URN, with every earlier URN that an alias names."""

    resources: Mapping[str, Resource]
    _aliases: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def earlier(self, urn: str) -> frozenset[str]:
        """Return the URNs that the engine also looks for, as its own rules derive them: a parent's aliases count too."""
        if urn not in self._aliases:
            self._aliases[urn] = frozenset()  # no cycle, whatever is declared
            each = self.resources[urn]
            parents = [each["parent"]]
            if each["parent"] in self.resources:
                parents += sorted(self.earlier(each["parent"]))
            own: list[Mapping[str, Any]] = [{"spec": {}}, *each["aliases"]]
            found = {alias for one in own for parent in parents for alias in self._resolved(one, each, parent)}
            self._aliases[urn] = frozenset(found - {urn})
        return self._aliases[urn]

    def _resolved(self, alias: Mapping[str, Any], each: Resource, parent: str) -> Iterable[str]:
        """Return the URNs that one alias stands for below one of the parent's earlier URNs.

        https://www.pulumi.com/docs/iac/concepts/resources/names/#urns says how a URN is put together. A child whose name begins
        with its parent's follows the parent's earlier name (the engine's `inheritedChildAlias`).
        """
        if alias.get("urn"):
            yield str(alias["urn"])
            return
        spec: Mapping[str, Any] = alias.get("spec", {})
        place, _, name = _parts(each["urn"])
        stack, project = place.removeprefix("urn:pulumi:").split("::")
        head = f"urn:pulumi:{spec.get('stack') or stack}::{spec.get('project') or project}"
        type_ = spec.get("type") or each["type"]
        over = "" if spec.get("noParent") else str(spec.get("parentUrn") or parent)
        names = {str(spec.get("name") or name)}
        if not spec.get("name") and each["parent"] in self.resources:
            _, _, now = _parts(each["parent"])
            _, _, then = _parts(over) if over else ("", "", now)
            if now != then and name.startswith(now):
                names.add(then + name[len(now) :])
        chain = _parts(over)[1] if over else ""
        qualified = f"{chain}${type_}" if chain and chain != _STACK else type_
        for one in names:
            yield f"{head}::{qualified}::{one}"

    def top(self, urn: str) -> str:
        """Return the outermost component above a resource, itself if there is none."""
        while (parent := self.resources[urn]["parent"]) in self.resources:
            urn = parent
        return urn


def compare(stack: str, before: Sequence[Resource], after: Sequence[Resource]) -> Difference:
    """Compare two evaluations of a stack."""
    old, new = _Stack(resources={each["urn"]: each for each in before}), _Stack(resources={each["urn"]: each for each in after})
    aliased = {alias for urn in new.resources for alias in new.earlier(urn)}
    gone = [urn for urn in old.resources if urn not in new.resources and urn not in aliased]
    come = [urn for urn in new.resources if urn not in old.resources and not new.earlier(urn) & old.resources.keys()]
    moved = _moved(old, new, gone, come)
    faults = _moved_faults(stack, moved)
    notes: list[str] = []
    for urn in gone:
        if not old.resources[urn]["protect"] or urn in moved:
            continue
        top = old.top(urn)
        kind, name = _type_and_name(urn)
        if _type_and_name(top)[0] == _GITOPS or top not in gone:
            faults.append(
                f"{stack}: {kind} {name!r} would go, and it is protected because it cannot be made again. Declare it as before; "
                "if it must go, docs/tear-down.md says how to let go of it first."
            )
        else:
            notes.append(
                f"{kind} {name!r} goes with {_type_and_name(top)[1]!r} and is protected: the `up` refuses to delete it until you "
                f"run `pulumi state unprotect '{urn}' --stack {stack}`."
            )
    return Difference(
        faults=faults,
        notes=[*_summary("+", come, new), *_summary("-", [urn for urn in gone if urn not in moved], old), *notes],
        come=len(come),
        go=len(gone),
    )


def _moved(old: _Stack, new: _Stack, gone: Iterable[str], come: Iterable[str]) -> dict[str, str]:
    """Return the new URN by the old one, for each thing that stands under another URN now."""
    left, right = list(gone), list(come)
    found: dict[str, str] = {}
    for identity in (_named, _same_inputs):
        ours = _unique(right, new, identity)
        for key, urn in _unique(left, old, identity).items():
            if urn not in found and key in ours and ours[key] not in found.values():
                found[urn] = ours[key]
    return found


def _unique(urns: Iterable[str], stack: _Stack, identity: Any) -> dict[str, str]:  # noqa: ANN401 — one of the two below
    keys = {urn: identity(stack.resources[urn]) for urn in urns if stack.resources[urn]["physical"]}
    counted = Counter(keys.values())
    return {key: urn for urn, key in keys.items() if key and counted[key] == 1}


def _named(each: Resource) -> str:
    """Return what identifies a resource in its account; "" if its inputs do not name it."""
    inputs: Mapping[str, Any] = each["inputs"]
    metadata = cast("dict[str, Any]", inputs["metadata"]) if isinstance(inputs.get("metadata"), dict) else {}
    if metadata.get("name"):
        return json.dumps([each["type"], each["provider"], metadata.get("namespace"), metadata["name"]], default=str)
    if not any(inputs.get(key) for key in _NAMES):
        return ""
    said = {key: inputs[key] for key in (*_NAMES, *_SCOPES) if inputs.get(key) is not None}
    return json.dumps([each["type"], said], sort_keys=True, default=str)


def _same_inputs(each: Resource) -> str:
    if _named(each) or not each["inputs"]:
        return ""
    return json.dumps([each["type"], each["provider"], each["inputs"]], sort_keys=True, default=str)


def _moved_faults(stack: str, moved: Mapping[str, str]) -> list[str]:
    """Return one sentence for each kind of move: a renamed component moves all its children at once."""
    groups: dict[tuple[str, str], list[str]] = {}
    for old, new in moved.items():
        groups.setdefault(_first_difference(old, new), []).append(old)
    faults: list[str] = []
    for (before, after), urns in groups.items():
        names = [f"{kind} {name!r}" for kind, name in map(_type_and_name, urns[:_SHOWN])]
        more = f" and {len(urns) - _SHOWN} more" if len(urns) > _SHOWN else ""
        faults.append(
            f"{stack}: {', '.join(names)}{more} would be deleted and made again, because {before} is now {after} in the URN. "
            "Change it back, or give the resource an alias of its earlier name, type or parent (pulumi.Alias)."
        )
    return faults


def _first_difference(old: str, new: str) -> tuple[str, str]:
    """Return the first part in which two URNs differ, for people."""
    (_, one, name), (_, two, other) = _parts(old), _parts(new)
    for left, right in zip(one.split("$"), two.split("$"), strict=False):
        if left != right:
            return left, right
    if one != two:
        longer, shorter = one.removesuffix(two) or "no parent", two.removesuffix(one) or "no parent"
        return longer.rstrip("$"), shorter.rstrip("$")
    return (f"the name {name!r}", f"{other!r}") if name != other else ("its parent", "another one")


def _summary(sign: str, urns: Iterable[str], stack: _Stack) -> list[str]:
    """Return one line per outermost component that comes or goes, and one per type for what changes inside others."""
    listed = list(urns)
    chosen = set(listed)
    whole: Counter[str] = Counter()
    single: Counter[str] = Counter()
    for urn in listed:
        top = stack.top(urn)
        if top in chosen:
            kind, name = _type_and_name(top)
            whole[f"service {name!r}" if kind == _SERVICE else f"{kind} {name!r}"] += 1
        else:
            kind, name = _type_and_name(urn)
            single[f"{kind} {name!r}"] += 1
    lines = [f"{sign} {what} ({number} resources)" for what, number in whole.items()]
    shown = list(single)[: 3 * _SHOWN]
    more = len(single) - len(shown)
    return [*lines, *(f"{sign} {what}" for what in shown), *([f"{sign} {more} more"] if more else [])]


def _parts(urn: str) -> tuple[str, str, str]:
    """Split a URN into stack and project, the chain of types, and the name."""
    head, project, chain, name = urn.split("::", 3)
    return f"{head}::{project}", chain, name


def _type_and_name(urn: str) -> tuple[str, str]:
    _, chain, name = _parts(urn)
    return chain.rpartition("$")[2], name


__all__ = ["Difference", "Resource", "compare"]
