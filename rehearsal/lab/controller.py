"""What every controller of the lab is: a thread that looks at a cluster again and again, until it is stopped."""

import threading
from collections.abc import Callable
from typing import Final

# Between two looks. The engine and Argo CD wait for what controllers do: this is most of that wait.
LOOK_SECONDS: Final = 0.15
_STOP_SECONDS: Final = 10


class Controller:
    """Looks, and goes on looking whatever a look ends with: the next one may find the server again.

    Attributes:
        name: Of the controller, as its chart names it.
        fault: What the last look failed with; "" when it did not.
    """

    def __init__(self, name: str, look: Callable[[], None], *, every_seconds: float = LOOK_SECONDS) -> None:
        """Prepare; `look` compares what is with what is wanted, and acts."""
        self.name, self.fault = name, ""
        self._look, self._every_seconds = look, every_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Look at once, and then from time to time."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Once this returns, nothing of a look is under way."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 — a controller outlives every fault, and tells of the last
                self.fault = f"{type(error).__name__}: {error}"
            else:
                self.fault = ""
            self._ended.wait(self._every_seconds)


__all__ = ["LOOK_SECONDS", "Controller"]
