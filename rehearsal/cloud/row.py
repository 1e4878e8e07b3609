"""What a row of the table is made of: how a declared resource's properties are read, and how a call is made of them."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

from rehearsal.cloud import policy, shapes
from rehearsal.cloud.caller import Caller
from rehearsal.cloud.emulators import MOTO, SERVED_BY, Emulators
from rehearsal.program import Created, Request

if TYPE_CHECKING:
    from rehearsal.githost import GitHost
    from rehearsal.lab.clusters import Clusters


class RealiseError(Exception):
    """A declared resource that cannot be made as declared. The message names type, name and stack."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stack's resources live."""

    account: str
    region: str


@dataclass(frozen=True, kw_only=True)
class Where:
    """What a provider was configured with, as far as it decides where its resources are.

    Attributes:
        place: Account that its credentials are of, and region.
        provider: Its configuration, such as `kubeconfig`.
        caller: Principal of its credentials; None to judge no policies.
    """

    place: Place
    provider: Mapping[str, Any] = field(default_factory=dict[str, Any])
    caller: Caller | None = None


@dataclass(frozen=True, kw_only=True)
class Left:
    """A declared property that no emulator keeps: named, so that nothing is dropped in silence.

    Attributes:
        type: Pulumi type token.
        property: Path of the property.
        reason: Why it is left.
    """

    type: str
    property: str
    reason: str


class Inputs:
    """A block of declared properties, read one by one: what nobody has read by the end is an error.

    A property that is None counts as not declared, as it does for the engine.
    """

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        """Wrap `values`; `path` is what leads to them, with a dot at its end."""
        self._values = {key: value for key, value in values.items() if value is not None}
        self._path = path
        self._read: set[str] = set()
        self._blocks: list[Inputs] = []
        self.left: list[tuple[str, str]] = []

    def has(self, key: str) -> bool:
        """Whether `key` is declared; reads nothing."""
        return key in self._values

    def any(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 — properties are JSON
        """The value of `key`, whatever it is."""
        self._read.add(key)
        return self._values.get(key, default)

    def text(self, key: str, default: str = "") -> str:
        """The value of `key` as a string."""
        return str(self.any(key, default))

    def needed(self, key: str) -> str:
        """The value of `key`, which the program must have given or AWS would have to make up.

        Raises:
            RealiseError: it was not.
        """
        if key not in self._values:
            msg = f"{self._path}{key} is not declared: names here follow from settings; declare it in the component"
            raise RealiseError(msg)
        return self.text(key)

    def texts(self, key: str) -> list[str]:
        """The value of `key` as a list of strings."""
        return [str(each) for each in self.any(key, [])]

    def flag(self, key: str, *, default: bool = False) -> bool:
        """The value of `key` as a boolean, which some of Pulumi's types spell as a string."""
        value = self.any(key, default)
        return value == "true" if isinstance(value, str) else bool(value)

    def number(self, key: str, default: int = 0) -> int:
        """The value of `key` as a whole number; Pulumi's wire knows only floats."""
        return int(self.any(key, default))

    def tags(self) -> dict[str, str]:
        """The declared tags."""
        return {str(key): str(value) for key, value in self.any("tags", {}).items()}

    def tagged(self, name: str, *, key: str = "Key", value: str = "Value") -> dict[str, Any]:
        """The declared tags as an API's parameter `name`, a list of pairs; nothing if there are none."""
        found = [{key: tag, value: text} for tag, text in self.tags().items()]
        return {name: found} if found else {}

    def block(self, key: str) -> "Inputs":
        """The block `key`; an empty one if it is not declared."""
        return self._wrap(self.any(key, {}), f"{self._path}{key}.")

    def blocks(self, key: str) -> list["Inputs"]:
        """The list of blocks `key`."""
        return [self._wrap(each, f"{self._path}{key}[{number}].") for number, each in enumerate(self.any(key, []))]

    def renamed(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Those of the properties `names` that are declared, under the API's names; whole numbers as such."""
        return {theirs: _whole(self.any(ours)) for ours, theirs in names.items() if ours in self._values}

    def same(self, *names: str) -> dict[str, Any]:
        """Likewise for properties that the API calls the same."""
        return self.renamed({name: name for name in names})

    def leave(self, key: str, because: str) -> None:
        """Read `key` and do nothing with it, for the reason given; it stands in the rehearsal's report."""
        if key in self._values:
            self._read.add(key)
            self.left.append((f"{self._path}{key}", because))

    def lost(self, key: str, because: str) -> None:
        """Note that `key`, which is read and passed on, does not survive in the emulator; else as `leave`."""
        if key in self._values:
            self.left.append((f"{self._path}{key}", because))

    def unread(self) -> list[str]:
        """Paths of the properties that nobody has read, here and in every block."""
        mine = [f"{self._path}{key}" for key in self._values if key not in self._read]
        return mine + [path for each in self._blocks for path in each.unread()]

    def all_left(self) -> list[tuple[str, str]]:
        """What was left on purpose, here and in every block: path and reason."""
        return self.left + [each for block in self._blocks for each in block.all_left()]

    def _wrap(self, values: Mapping[str, Any], path: str) -> "Inputs":
        block = Inputs(values, path)
        self._blocks.append(block)
        return block


def _whole(value: Any) -> Any:  # noqa: ANN401 — JSON
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in cast("list[Any]", value)]
    return value


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One resource to be made, with all that a row needs.

    Attributes:
        request: The registration.
        inputs: Its properties.
        place: Account and region.
        emulators: Where it is made.
        owner: GitHub organization that the stack acts in.
        host: The Git host that stands in for GitHub, if there is one.
        lab: The control planes that stand in for EKS, if there are any.
        old: The properties as they were, where a resource is updated.
        provider: Configuration of the provider that was asked.
        caller: Principal that makes the calls; None to judge no policies.
    """

    request: Request
    place: Place
    emulators: Emulators
    owner: str = ""
    host: "GitHost | None" = None
    lab: "Clusters | None" = None
    old: Mapping[str, Any] = field(default_factory=dict[str, Any])
    provider: Mapping[str, Any] = field(default_factory=dict[str, Any])
    caller: Caller | None = None
    inputs: Inputs = field(init=False)

    def __post_init__(self) -> None:
        """Wrap the properties."""
        object.__setattr__(self, "inputs", Inputs(self.request.inputs))

    @property
    def github(self) -> "GitHost":
        """The Git host.

        Raises:
            RealiseError: there is none.
        """
        if self.host is None:
            msg = "no Git host stands in for GitHub: give the world one"
            raise RealiseError(msg)
        return self.host

    @property
    def clusters(self) -> "Clusters":
        """The lab's control planes.

        Raises:
            RealiseError: there are none.
        """
        if self.lab is None:
            msg = "no control plane stands in for EKS: give the world a lab"
            raise RealiseError(msg)
        return self.lab

    def by_aws(self, because: str) -> Self:
        """Return the same request for calls that the emulators need and the engine's caller does not make at AWS.

        Args:
            because: Reason, for readers and for the test that lists the reasons.
        """
        del because
        other = copy.copy(self)
        object.__setattr__(other, "caller", None)
        return other

    def authorize(self, service: str, operation: str, parameters: Mapping[str, Any]) -> None:
        """Check a call against the caller's policies; `operation` is the API's own name.

        Raises:
            RealiseError: they do not allow it, in AWS's words.
        """
        if self.caller is not None and (refused := self.caller.refusal(service, operation, parameters, self.place.region)):
            msg = f"calling {operation}: {refused}"
            raise RealiseError(msg)

    def changed(self, *keys: str) -> bool:
        """Whether any of the properties is another than it was; reads nothing."""
        return any(not same(self.old.get(key), self.request.inputs.get(key)) for key in keys)

    def find(self, service: str, operation: str, *missing: str, emulator: str = "", **parameters: Any) -> dict[str, Any] | None:  # noqa: ANN401 — as `call`
        """As `call`, for what may be gone: None where the answer is one of the error codes `missing`."""
        try:
            return self.call(service, operation, emulator=emulator, **parameters)
        except RealiseError as error:
            code = str(getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", ""))
            if code in missing:
                return None
            raise

    def call(self, service: str, operation: str, *, emulator: str = "", **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 — the API's own
        """Call `operation` (boto3's name, such as `create_queue`) in the resource's account and region.

        Raises:
            RealiseError: AWS's service model or the emulator refuses the parameters, or the caller's policies do not allow it.
        """
        client = self._held(service, operation, emulator, parameters)
        self.authorize(service, client.meta.method_to_api_mapping[operation], parameters)
        try:
            return cast("dict[str, Any]", getattr(client, operation)(**parameters))
        except Exception as error:
            # botocore makes its errors' types at run time: all of them say what was refused.
            msg = f"{emulator or SERVED_BY[service]} refused {service}:{operation}: {error}"
            raise RealiseError(msg) from error

    def _held(self, service: str, operation: str, emulator: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 — boto3 makes its clients' types at run time
        """The client for a call whose parameters hold to AWS's service model.

        Raises:
            RealiseError: they do not.
        """
        where = emulator or SERVED_BY[service]
        client = self.emulators.client(service, self.place.account, self.place.region, emulator=where)
        found = shapes.faults(client.meta.service_model, client.meta.method_to_api_mapping[operation], parameters)
        if found:
            msg = f"AWS would refuse {service}:{operation}: {'; '.join(found)}"
            raise RealiseError(msg)
        return client

    def introduce_role(self, role_arn: str) -> None:
        """Make a role of ministack known to moto, whose services look it and its trust policy up there; once is enough."""
        name, theirs = role_arn.rsplit("/", 1)[-1], self.by_aws("at AWS there is one IAM")
        if not any(each["RoleName"] == name for each in theirs.call("iam", "list_roles", emulator=MOTO)["Roles"]):
            trust = self._trust(role_arn)
            theirs.call("iam", "create_role", emulator=MOTO, RoleName=name, AssumeRolePolicyDocument=trust)

    def arn(self, service: str, resource: str, *, region: bool = True) -> str:
        """ARN of a resource in this place."""
        return f"arn:aws:{service}:{self.place.region if region else ''}:{self.place.account}:{resource}"

    def assumed_by(self, role_arn: str, service: str, source_arn: str) -> None:
        """Hold a role's trust policy to what AWS asks when a service is handed the role.

        Raises:
            RealiseError: the service may not assume it for `source_arn`.
        """
        verdict = policy.may_assume(self._trust(role_arn), role_arn, service, source_arn)
        if not verdict:
            msg = f"{service} may not assume {role_arn} for {source_arn}: {verdict.reason}; let it in by the role's trust policy"
            raise RealiseError(msg)

    def _trust(self, role_arn: str) -> str:
        # The service looks its role's trust up by itself.
        itself = self.by_aws("the service itself is let in or not")
        role = itself.call("iam", "get_role", RoleName=role_arn.rsplit("/", 1)[-1])["Role"]
        document = role["AssumeRolePolicyDocument"]
        # boto3 parses it where the emulator escapes it as AWS does.
        return document if isinstance(document, str) else json.dumps(document)

    def done(self, id_: str, **outputs: Any) -> Created:  # noqa: ANN401 — outputs are JSON
        """The answer: `id_` and the outputs beside the inputs."""
        return Created(id=id_, outputs={**self.request.inputs, **outputs})


Creator = Callable[[Ask], Created]
Reader = Callable[[Ask, str], Mapping[str, Any] | None]
Updater = Callable[[Ask, str], Created]
Deleter = Callable[[Ask, str], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one resource type is realised.

    Attributes:
        create: Makes the resource and answers with id and outputs.
        read: Looks it up by its id: its properties as they are now, in the names and shapes of `create`'s inputs and
            outputs; None if it is gone. A property that cannot be read back is absent. From an id alone too (an import).
        update: Applies changed inputs to the resource with an id; without it, every change is a replacement.
        delete: Takes it away; what is gone already is no error.
        replaces: Inputs that cannot be changed in place.
        check: Why it would be refused, seen without making it; without it, `create` is tried up to its first call that makes
            something.
        replaces_of: Which of the changed inputs cannot be changed in place, where `replaces` cannot say it beforehand.
        attempt: Makes the request that the real provider makes to preview a creation or change; None if it makes none.
    """

    create: Creator
    read: Reader | None = None
    update: Updater | None = None
    delete: Deleter | None = None
    replaces: frozenset[str] = frozenset()
    check: Callable[[Ask], Sequence[str]] | None = None
    replaces_of: Callable[[Ask], Sequence[str]] | None = None
    attempt: Callable[[Ask], None] | None = None


Rows = Mapping[str, Row]


class _Enough(Exception):  # noqa: N818 — no error: the end of a trial
    """A trial has come to a call that would make or need something."""


class _Trial(Ask):
    """An ask that holds calls to the service model and makes none."""

    def call(self, service: str, operation: str, *, emulator: str = "", **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 — as `Ask.call`
        self._held(service, operation, emulator, parameters)
        raise _Enough

    def assumed_by(self, role_arn: str, service: str, source_arn: str) -> None:
        """The role may not be there yet."""

    def introduce_role(self, role_arn: str) -> None:
        """Likewise."""


def tried(row: Row, ask: Ask) -> Sequence[str]:
    """Why `row` would not make what is asked, without making it."""
    if not ask.request.type.startswith("aws:") or ask.request.type.startswith("aws:eks/"):
        return ()
    trial = _Trial(
        request=ask.request,
        place=ask.place,
        emulators=ask.emulators,
        owner=ask.owner,
        # Nothing but AWS's calls is held back: what is made elsewhere must not be reached.
        host=None,
        lab=None,
        provider=ask.provider,
    )
    try:
        row.create(trial)
    except _Enough:
        return ()
    except RealiseError as error:
        return (str(error),)
    return ()


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 — JSON
    """Whether two values of a property mean the same: documents by what they say, lists of plain values as sets, 1 as "1"."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        left, right = cast("Mapping[str, Any]", one), cast("Mapping[str, Any]", other)
        return all(same(left.get(key), right.get(key)) for key in {*left, *right})
    if isinstance(one, list) and isinstance(other, list):
        pair = (cast("list[Any]", one), cast("list[Any]", other))
        if len(pair[0]) != len(pair[1]):
            return False
        if not any(isinstance(each, (list, Mapping)) for half in pair for each in half):
            first, second = (sorted(map(_plain, half)) for half in pair)
            return first == second
        return all(same(*each) for each in zip(*pair, strict=True))
    if isinstance(one, str) and isinstance(other, str):
        return one == other or _parsed(one) == _parsed(other) != None  # noqa: E711 — a comparison chain
    empty: tuple[Any, ...] = (None, "", [], {})
    return (one in empty and other in empty) or _plain(one) == _plain(other)


def _plain(value: Any) -> str:  # noqa: ANN401 — JSON
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _parsed(text: str) -> Any:  # noqa: ANN401 — JSON
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def tag_list(tags: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    """Tags as most of AWS's APIs take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


__all__ = [
    "Ask",
    "Inputs",
    "Left",
    "Place",
    "RealiseError",
    "Row",
    "Rows",
    "Where",
    "same",
    "tag_list",
    "tried",
]
