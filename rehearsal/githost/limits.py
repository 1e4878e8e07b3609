"""GitHub's limits: how much an actor may ask in an hour, and how much it may create in a minute and in an hour.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api

All times are the host's clock's, so that a benchmark that runs it faster is held to limits that run faster with it.
"""

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

POINTS_PER_HOUR: Final = 5000
"""Requests an hour of an installation over REST, and points an hour over GraphQL, each for itself."""

_MINUTE_SECONDS: Final = 60
_HOUR_SECONDS: Final = 3600


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is held against each actor; the defaults are those that GitHub publishes.

    GitHub says of the two content limits that they hold "in general", and does not say which requests generate content: here
    every write to a repository through the API counts, whatever becomes of it, which is the strictest reading. What is refused
    by a limit changes nothing and counts for nothing.
    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits

    Attributes:
        content_per_minute: Content-generating requests within any 60 seconds.
        content_per_hour: Content-generating requests within any 3,600 seconds.
        points_per_hour: Requests of REST, and of GraphQL, in a clock's hour. Every GraphQL request counts as one point, the least
            that GitHub takes for it.

    Raises:
        ValueError: When a limit allows nothing at all.
    """

    content_per_minute: int = 80
    content_per_hour: int = 500
    points_per_hour: int = POINTS_PER_HOUR

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("content_per_minute", "content_per_hour", "points_per_hour"):
            if (got := getattr(self, name)) < 1:
                msg = f"Limits.{name} is {got}: at least 1 is allowed. Leave `limits` None to hold no limit."
                raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What is left of an actor's hourly allowance."""

    limit: int
    used: int
    reset_seconds: float


@dataclass(frozen=True, kw_only=True)
class Exceeded:
    """A limit that refuses a request.

    Attributes:
        kind: `primary` (requests and points an hour) or `secondary` (content).
        retry_after_seconds: Whole seconds of the host's clock until there is room, at least 1.
    """

    kind: str
    retry_after_seconds: int


class Demand(Protocol):
    """A request, as limits see it."""

    @property
    def login(self) -> str:
        """Who asks, "" for whoever asks for a token."""
        ...

    @property
    def resource(self) -> str:
        """`core` for REST, `graphql`: each has an allowance of its own."""
        ...

    @property
    def content(self) -> bool:
        """Whether it generates content."""
        ...


@dataclass(kw_only=True)
class Meter:
    """Counts what actors ask and create, and refuses what is too much once limits are set.

    Attributes:
        clock: Seconds since 1970.
        limits: What is held; None only counts.
    """

    clock: Callable[[], float]
    limits: Limits | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _used: Counter[tuple[str, str, int]] = field(default_factory=Counter[tuple[str, str, int]], repr=False)
    _content: dict[str, deque[float]] = field(default_factory=dict[str, deque[float]], repr=False)

    def admit(self, demand: Demand) -> Exceeded | None:
        """Count a request that is about to be carried out, or say which limit it would exceed."""
        with self._lock:
            now = self.clock()
            times = self._content.setdefault(demand.login, deque())
            while times and times[0] <= now - _HOUR_SECONDS:
                times.popleft()
            # Who asks for a token is no actor yet, and no limit of theirs is published.
            exceeded = self._exceeded(demand, times, now) if demand.login else None
            if exceeded is None:
                self._used[demand.login, demand.resource, _hour(now)] += 1
                if demand.content:
                    times.append(now)
            return exceeded

    def rate(self, login: str, resource: str) -> Rate:
        """An actor's allowance of this hour."""
        hour = _hour(self.clock())
        limit = self.limits.points_per_hour if self.limits else POINTS_PER_HOUR
        return Rate(limit=limit, used=self._used[login, resource, hour], reset_seconds=(hour + 1) * _HOUR_SECONDS)

    def _exceeded(self, demand: Demand, times: Sequence[float], now: float) -> Exceeded | None:
        limits = self.limits
        if limits is None:
            return None
        if self._used[demand.login, demand.resource, _hour(now)] >= limits.points_per_hour:
            return Exceeded(kind="primary", retry_after_seconds=_whole((_hour(now) + 1) * _HOUR_SECONDS - now))
        if not demand.content:
            return None
        waits = [
            times[-most] + window - now
            for most, window in ((limits.content_per_minute, _MINUTE_SECONDS), (limits.content_per_hour, _HOUR_SECONDS))
            if len(times) >= most and times[-most] > now - window
        ]
        return Exceeded(kind="secondary", retry_after_seconds=_whole(max(waits))) if waits else None


def _hour(now: float) -> int:
    return int(now // _HOUR_SECONDS)


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
