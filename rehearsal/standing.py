"""Lets a program be realised more than once: what stands is kept, what differs is updated, and only what is new is made."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rehearsal.cloud.row import RealiseError
from rehearsal.cloud.world import CloudWorld
from rehearsal.program import Created, Program, Request

_Key = tuple[str, str, str, str]


@dataclass(kw_only=True)
class StandingWorld:
    """Answers registrations from what was made before, as the engine does with its state.

    What a later evaluation no longer declares stays: nothing here deletes.

    Attributes:
        world: Where resources are made and updated.
        made: What stands: inputs and answer by stack, type, parent and name, which are the URN.
        ignored: Property paths that no update touches, likewise.
    """

    world: CloudWorld
    made: dict[_Key, tuple[Mapping[str, Any], Created]] = field(default_factory=dict[_Key, "tuple[Mapping[str, Any], Created]"])
    ignored: dict[_Key, Sequence[str]] = field(default_factory=dict[_Key, Sequence[str]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, request: Request) -> Created:
        """Make, update or return the resource.

        Raises:
            RealiseError: it cannot be made or updated as declared, or an input changed that AWS cannot change in place.
        """
        key = (request.stack, request.type, request.parent, request.name)
        with self._lock:
            known = self.made.get(key)
        if known is None:
            created = self.world.create(request)
        else:
            request = replace(request, inputs=_ignoring(request.inputs, known[0], self.ignored.get(key, ())))
            if known[0] == request.inputs:
                return known[1]
            created = self._updated(request, *known)
        with self._lock:
            self.made[key] = (request.inputs, created)
        return created

    def know(self, program: Program) -> None:
        """Keep what an evaluation declared beyond the inputs: which of them later ones must leave as they are."""
        with self._lock:
            for each in program.resources:
                self.ignored[each.stack, each.type, each.parent, each.name] = each.ignore_changes

    def call(self, stack: str, token: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a provider function."""
        return self.world.call(stack, token, args)

    def _updated(self, request: Request, old: Mapping[str, Any], created: Created) -> Created:
        if self.world.row(request.type) is None:
            return Created(id=created.id, outputs={**created.outputs, **request.inputs})
        changed = [key for key in {*old, *request.inputs} if old.get(key) != request.inputs.get(key)]
        if fixed := self.world.replaced(request, changed, old):
            msg = (
                f"{request.type} {request.name!r} of {request.stack} would be replaced, because {', '.join(sorted(fixed))} "
                "changed: the rehearsal only updates in place"
            )
            raise RealiseError(msg)
        updated = self.world.update(request, created.id, old)
        return Created(id=updated.id, outputs={**created.outputs, **updated.outputs})


def _ignoring(inputs: Mapping[str, Any], old: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Return `inputs` with the old values at some paths, as the engine sends them.

    https://www.pulumi.com/docs/iac/concepts/resources/options/ignorechanges/
    """
    found = dict(inputs)
    for path in paths:
        key, _, rest = path.partition(".")
        if rest and isinstance(found.get(key), dict) and isinstance(old.get(key), dict):
            found[key] = _ignoring(found[key], old[key], [rest])
        elif key in old:
            found[key] = old[key]
        else:
            found.pop(key, None)
    return found


__all__ = ["StandingWorld"]
