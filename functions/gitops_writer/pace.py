"""How often the writer commits: within what GitHub allows, so that under load batches grow and not their number. Pure."""

from dataclasses import dataclass, field
from typing import Final


@dataclass(kw_only=True)
class Rate:
    """So many at once, then one every so often; as a generic cell rate algorithm it needs but one number.

    Attributes:
        burst: How many may be made at once after a rest.
        every_seconds: What each takes to be allowed anew.
    """

    burst: int
    every_seconds: float
    _rested: float = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until one more is allowed."""
        return max(0.0, self._rested - (self.burst - 1) * self.every_seconds - now)

    def spend(self, now: float) -> None:
        """One was made."""
        self._rested = max(now, self._rested) + self.every_seconds


# Content may be created about 80 times a minute and 500 times an hour, by one App:
# https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits
# Two of these functions run at once (components/image_hook.py), and a third that sweeps: two times 36 and what comes by within
# a minute are 79, two times 36 and what comes by within an hour are 495.
_BURST: Final = 36
_EVERY_SECONDS: Final = 17.0
# A single push is never held up; of a burst each commit takes what came in the meantime.
_COMMITS_AT_ONCE: Final = 2
_COMMIT_EVERY_SECONDS: Final = 1.5


@dataclass(kw_only=True)
class Pace:
    """What one process may ask of GitHub, and when. Times are seconds since 1970."""

    _asked: Rate = field(default_factory=lambda: Rate(burst=_BURST, every_seconds=_EVERY_SECONDS))
    _made: Rate = field(default_factory=lambda: Rate(burst=_COMMITS_AT_ONCE, every_seconds=_COMMIT_EVERY_SECONDS))
    _held_until: float = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until the next commit may be tried."""
        return max(self._asked.wait(now), self._made.wait(now), self._held_until - now, 0.0)

    def asked(self, now: float) -> None:
        """GitHub was asked for a commit, whatever it said: nobody knows whether refusals count."""
        self._asked.spend(now)

    def made(self, now: float) -> None:
        """It made one."""
        self._made.spend(now)

    def hold(self, until: float) -> None:
        """GitHub wants to be left alone: whoever goes on asking is kept out for longer.

        https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#handle-rate-limit-errors-appropriately
        """
        self._held_until = max(self._held_until, until)
