"""The three stacks realised in accounts of a test's own, to be read, changed and taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rehearsal.cloud import CloudWorld, Emulators, Place, bootstrap, place_of
from rehearsal.cloud.row import Rows
from rehearsal.program import Request, evaluate, stack_config
from tests.rehearsal.cloud.kit import REGION, Accounts, first_up

# The gitops repository is declared where it is made first.
STACKS: Final[Mapping[str, str]] = {"prd": "example.com", "dev": "dev.example.com", "stg": "stg.example.com"}


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A realised resource."""

    request: Request
    id: str

    def __str__(self) -> str:
        """As a person would speak of it."""
        return f"{self.request.type} {self.request.name} of {self.request.stack}"


@dataclass(kw_only=True)
class Standing:
    """Stacks, realised in accounts of their own."""

    world: CloudWorld
    emulators: Emulators
    things: Sequence[Thing] = field(default_factory=list[Thing])

    def of(self, type_: str) -> list[Thing]:
        """Those of a type."""
        found = [each for each in self.things if each.request.type == type_]
        assert found, f"no {type_} is declared"
        return found

    def read(self, thing: Thing) -> Mapping[str, Any] | None:
        """What stands there."""
        return self.world.read(thing.request, thing.id)

    def client(self, stack: str, service: str, emulator: str = "") -> Any:  # noqa: ANN401 — boto3 makes its clients' types at run time
        """A client in a stack's account."""
        place = self.world.place(stack)
        return self.emulators.client(service, place.account, place.region, emulator=emulator)


def request_of(stack: str, type_: str, name: str, inputs: Mapping[str, Any]) -> Request:
    """What the engine would ask for."""
    return Request(stack=stack, type=type_, name=name, inputs=dict(inputs), custom=True, parent="")


def new_accounts(accounts: Accounts) -> Mapping[str, str]:
    """An account that no test has used yet, for that of each stack."""
    return {place_of(stack).account: next(accounts) for stack in STACKS}


def places(moved: Mapping[str, str]) -> Mapping[str, Place]:
    """Where each stack is, in its new account."""
    return {stack: Place(account=moved[place_of(stack).account], region=REGION) for stack in STACKS}


def realised(world: CloudWorld, moved: Mapping[str, str], rows: Rows) -> list[Thing]:
    """Realise the three programs in their new accounts; those of their resources that `rows` are for."""
    requests: dict[tuple[str, str, str], Request] = {}
    for stack, zone in STACKS.items():
        bootstrap(world.emulators, world.place(stack), zone=zone, secrets={})
        for each in evaluate(stack, config=_config(stack, moved), world=world).resources:
            requests[stack, each.type, each.name] = request_of(stack, each.type, each.name, each.inputs)
    return [Thing(request=requests[each.stack, each.type, each.name], id=each.id) for each in world.realised if each.type in rows]


def _config(stack: str, moved: Mapping[str, str]) -> dict[str, object]:
    """The stack's configuration of the first `up`, with other accounts."""
    found: dict[str, object] = {}
    for key, value in stack_config(stack, first_up(stack)).items():
        text = value
        for old, new in moved.items():
            text = text.replace(old, new)
        found[key] = text
    return found
