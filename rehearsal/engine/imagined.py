"""A realm without a world: answers as the test monitor's imagined world does, so that only the engine's own work is measured."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rehearsal.cloud.row import Where
from rehearsal.program import Created, Imagined, Request


class ImaginedRealm:
    """Keeps what it was asked for in memory.

    Attributes:
        resources: Properties by type and id.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.resources: dict[tuple[str, str], dict[str, Any]] = {}
        self._lock = threading.Lock()

    def create(self, request: Request, *, where: Where | None = None) -> Created:
        """Remember it."""
        created = self._world(where).create(request)
        with self._lock:
            self.resources[request.type, created.id] = dict(created.outputs)
        return created

    def read(self, request: Request, id_: str, *, where: Where | None = None) -> Mapping[str, Any] | None:
        """What was remembered."""
        del where
        return self.resources.get((request.type, id_))

    def update(self, request: Request, id_: str, old: Mapping[str, Any], *, where: Where | None = None) -> Created:
        """Remember it anew."""
        del old, where
        with self._lock:
            outputs = {**self.resources.get((request.type, id_), {}), **request.inputs}
            self.resources[request.type, id_] = outputs
        return Created(id=id_, outputs=outputs)

    def delete(self, request: Request, id_: str, *, where: Where | None = None) -> None:
        """Forget it."""
        del where
        with self._lock:
            self.resources.pop((request.type, id_), None)

    def check(self, request: Request, *, where: Where | None = None) -> Sequence[str]:
        """Nothing is refused here."""
        del request, where
        return ()

    def call(self, stack: str, token: str, args: Mapping[str, Any], *, where: Where | None = None) -> Mapping[str, Any]:
        """As imagined."""
        return self._world(where).call(stack, token, args)

    def attempt(self, request: Request, *, where: Where | None = None) -> None:
        """Everything may be tried."""
        del request, where

    def replaced(
        self, request: Request, changed: Sequence[str], old: Mapping[str, Any], *, where: Where | None = None
    ) -> Sequence[str]:
        """Everything can be changed in place."""
        del request, changed, old, where
        return ()

    @staticmethod
    def _world(where: Where | None) -> Imagined:
        place = where.place if where else None
        return Imagined(account=place.account if place else "111111111111", region=place.region if place else "eu-central-1")


__all__ = ["ImaginedRealm"]
