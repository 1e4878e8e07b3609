"""The rehearsal's AWS: emulated accounts on loopback, and the table by which declared resources become real in them.

with Emulators(folder) as emulators:
world = CloudWorld(emulators)
bootstrap(emulators, world.place("dev"), zone="dev.example.com", secrets={})
program = evaluate("dev", world=world)
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rehearsal.cloud.acts import ActError, Invoked, bootstrap, publish_push, run_schedule
    from rehearsal.cloud.emulators import MINISTACK, MOTO, EmulatorError, Emulators
    from rehearsal.cloud.identities import identity_of
    from rehearsal.cloud.row import Ask, Inputs, Left, Place, RealiseError, Row, Rows
    from rehearsal.cloud.table import NOT_EMULATED, TABLE
    from rehearsal.cloud.world import CloudWorld, NotEmulated, Realised, place_of

_HOMES: Final = {
    "acts": ("ActError", "Invoked", "bootstrap", "publish_push", "run_schedule"),
    "emulators": ("MINISTACK", "MOTO", "EmulatorError", "Emulators"),
    "identities": ("identity_of",),
    "row": ("Ask", "Inputs", "Left", "Place", "RealiseError", "Row", "Rows"),
    "table": ("NOT_EMULATED", "TABLE"),
    "world": ("CloudWorld", "NotEmulated", "Realised", "place_of"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 — what the name stands for
    # On demand: the emulators' processes come through here too, and need nothing of the program's SDK.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


__all__ = [
    "MINISTACK",
    "MOTO",
    "NOT_EMULATED",
    "TABLE",
    "ActError",
    "Ask",
    "CloudWorld",
    "EmulatorError",
    "Emulators",
    "Inputs",
    "Invoked",
    "Left",
    "NotEmulated",
    "Place",
    "RealiseError",
    "Realised",
    "Row",
    "Rows",
    "bootstrap",
    "identity_of",
    "place_of",
    "publish_push",
    "run_schedule",
]
