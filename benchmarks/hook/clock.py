"""A clock that several processes share, and that may run faster than the world's."""

import multiprocessing
import time
from typing import Final

_REAL, _SHOWN, _SPEED = range(3)


class Clock:
    """Seconds since 1970; at first those of the world."""

    def __init__(self) -> None:
        """Begin now."""
        now = time.time()
        self._shared: Final = multiprocessing.get_context("fork").Array("d", [now, now, 1.0])

    def now(self) -> float:
        """What it shows."""
        with self._shared.get_lock():
            return self._now(time.time())

    def _now(self, real: float) -> float:
        return self._shared[_SHOWN] + (real - self._shared[_REAL]) * self._shared[_SPEED]

    @property
    def speed(self) -> float:
        """How many of its seconds one of the world's holds."""
        return self._shared[_SPEED]

    def set(self, *, speed: float = 1.0, skip_seconds: float = 0.0) -> None:
        """Run so fast from now on, after a leap."""
        with self._shared.get_lock():
            real = time.time()
            self._shared[_SHOWN] = self._now(real) + skip_seconds
            self._shared[_REAL], self._shared[_SPEED] = real, speed

    def sleep(self, seconds: float) -> None:
        """Wait so many of its seconds."""
        time.sleep(seconds / self.speed)


__all__ = ["Clock"]
