"""What the tests of components share: policy documents as a reader of the console finds them, and what waits for what."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rehearsal.program import Declared, Program
from rehearsal.registry.policy import Identity, Request, judge

# Where each kind of resource keeps a policy, and what kind of policy that is.
POLICIES: Final[Mapping[tuple[str, str], str]] = {
    ("aws:ecr/repositoryPolicy:RepositoryPolicy", "policy"): "resource",
    ("aws:iam/policy:Policy", "policy"): "identity",
    ("aws:iam/role:Role", "assumeRolePolicy"): "trust",
    ("aws:iam/rolePolicy:RolePolicy", "policy"): "identity",
    ("aws:s3/bucketPolicy:BucketPolicy", "policy"): "resource",
    ("aws:sns/topicPolicy:TopicPolicy", "policy"): "resource",
    ("aws:sqs/queuePolicy:QueuePolicy", "policy"): "resource",
}


@dataclass(frozen=True, kw_only=True)
class Document:
    """One policy document of a program.

    Attributes:
        declared: The resource that carries it.
        kind: `identity`, `trust` or `resource`.
        text: As AWS gets it.
    """

    declared: Declared
    kind: str
    text: str

    @property
    def statements(self) -> Sequence[Mapping[str, Any]]:
        """Its statements."""
        return json.loads(self.text)["Statement"]

    @property
    def where(self) -> str:
        """For messages: stack, type and name."""
        return f"{self.declared.stack} {self.declared.type} {self.declared.name}"


def documents(program: Program) -> list[Document]:
    """Every policy document in `program`: found by its looks, so that none escapes in a property that nobody thought of.

    Raises:
        KeyError: a document stands where no policy is known to stand.
    """
    return [
        Document(declared=each, kind=POLICIES[each.type, key], text=text)
        for each in program.resources
        for key, text in each.inputs.items()
        if isinstance(text, str) and '"Statement"' in text
    ]


def statement(document: str, sid: str) -> Mapping[str, Any]:
    """The one statement `sid` of a policy document."""
    (found,) = (each for each in json.loads(document)["Statement"] if each["Sid"] == sid)
    return found


def awaited(program: Program, declared: Declared) -> set[str]:
    """URNs of everything that must be in place before `declared`, directly or through others."""
    known = program.urns()
    found: set[str] = set()
    waiting = [declared.urn]
    while waiting:
        for urn in known[waiting.pop()].dependencies:
            if urn in known and urn not in found:
                found.add(urn)
                waiting.append(urn)
    return found


def identity(program: Program, name: str, account: str) -> Identity:
    """The role of logical name `name`, with its inline policy and the boundary that it wears."""
    role = program.one("iam/role:Role", name)
    boundary = program.one("iam/policy:Policy", "boundary")
    assert role.inputs["permissionsBoundary"] == boundary.outputs["arn"]
    return Identity(
        account=account,
        principal_arn=role.outputs["arn"],
        policies=[program.one("iam/rolePolicy:RolePolicy", name).inputs["policy"]],
        boundary=boundary.inputs["policy"],
    )


def may(caller: Identity, action: str, resource: str, given: Mapping[str, str | None] | None = None) -> bool:
    """Whether the caller's own policy and boundary let it do `action` on `resource`; `given` are more condition keys."""
    context = {"iam:PermissionsBoundary": None, "iam:PolicyARN": None, **(given or {})}
    return bool(judge(Request(caller=caller, action=action, resource=resource, resource_account=caller.account, context=context)))


def texts(value: object) -> Iterable[str]:
    """Every string in `value`, keys too, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():  # pyright: ignore[reportUnknownVariableType] — any JSON
            yield from texts(key)  # pyright: ignore[reportUnknownArgumentType] — same
            yield from texts(each)  # pyright: ignore[reportUnknownArgumentType] — same
    elif isinstance(value, list | tuple):
        for each in value:  # pyright: ignore[reportUnknownVariableType] — any JSON
            yield from texts(each)  # pyright: ignore[reportUnknownArgumentType] — same
