"""rehearsal/standing.py: a program realised again makes what is new, updates what differs, and keeps the rest."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from rehearsal.cloud.row import RealiseError
from rehearsal.cloud.world import CloudWorld
from rehearsal.program import Created, Program, Request, evaluate
from rehearsal.standing import StandingWorld

TYPE = "aws:sqs/queue:Queue"


class Recorded:
    """A world that keeps what it was asked for."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.asked: list[tuple[str, str]] = []

    def create(self, request: Request) -> Created:
        """Answer with the inputs."""
        self.asked.append(("create", request.name))
        return Created(id=request.name, outputs=dict(request.inputs))

    def update(self, request: Request, id_: str, old: Mapping[str, Any]) -> Created:
        """Answer with the inputs."""
        self.asked.append(("update", f"{request.name}: {sorted(old)}"))
        return Created(id=id_, outputs=dict(request.inputs))

    def replaced(self, request: Request, changed: list[str], old: Mapping[str, Any]) -> list[str]:
        """Say that a name cannot change in place."""
        del request, old
        return [each for each in changed if each == "name"]

    def row(self, type_: str) -> object:
        """Know one type."""
        return object() if type_ == TYPE else None


def request(name: str = "q", type_: str = TYPE, **inputs: Any) -> Request:  # noqa: ANN401 — inputs
    return Request(stack="dev", type=type_, name=name, inputs=inputs, custom=True, parent="p")


def standing() -> tuple[StandingWorld, Recorded]:
    recorded = Recorded()
    return StandingWorld(world=cast("CloudWorld", recorded)), recorded


def test_what_stands_is_not_made_again() -> None:
    world, recorded = standing()
    first = world.create(request(delay=1))
    assert world.create(request(delay=1)) is first
    world.create(request("another", delay=1))
    assert recorded.asked == [("create", "q"), ("create", "another")]


def test_what_differs_is_updated_once() -> None:
    world, recorded = standing()
    world.create(request(delay=1))
    assert world.create(request(delay=2)).outputs["delay"] == 2
    world.create(request(delay=2))
    assert recorded.asked == [("create", "q"), ("update", "q: ['delay']")]


def test_what_cannot_change_in_place_is_refused_by_name() -> None:
    world, _ = standing()
    world.create(request(name="q", type_=TYPE))
    world.made["dev", TYPE, "p", "q"] = ({"name": "old"}, Created(id="q", outputs={}))
    asked = Request(stack="dev", type=TYPE, name="q", inputs={"name": "new"}, custom=True, parent="p")
    with pytest.raises(RealiseError, match=r"'q' of dev would be replaced, because name changed"):
        world.create(asked)


def test_ignored_inputs_stay_as_they_were() -> None:
    world, recorded = standing()
    world.create(request(secret="one", scaling={"desired": 3, "most": 5}))
    world.ignored["dev", TYPE, "p", "q"] = ("secret", "scaling.desired")
    world.create(request(secret="two", scaling={"desired": 4, "most": 5}))
    assert recorded.asked == [("create", "q")]
    world.create(request(secret="two", scaling={"desired": 4, "most": 6}))
    assert world.made["dev", TYPE, "p", "q"][0] == {"secret": "one", "scaling": {"desired": 3, "most": 6}}


def test_a_program_evaluated_twice_is_made_once() -> None:
    from rehearsal.program import Imagined  # noqa: PLC0415 — only here

    class Counting(Recorded):
        def __init__(self) -> None:
            super().__init__()
            self.imagined = Imagined()

        def create(self, request: Request) -> Created:
            super().create(request)
            return self.imagined.create(request)

        def call(self, stack: str, token: str, args: Mapping[str, Any]) -> dict[str, Any]:
            return self.imagined.call(stack, token, args)

    counting = Counting()
    world = StandingWorld(world=cast("CloudWorld", counting))
    first: Program = evaluate("dev", world=world)
    world.know(first)
    made = len(counting.asked)
    second = evaluate("dev", world=world)
    assert len(counting.asked) == made
    assert {each.urn: each.id for each in first.resources} == {each.urn: each.id for each in second.resources}
