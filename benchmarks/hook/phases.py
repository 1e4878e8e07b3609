"""The phases: one push at a time, a burst, a burst among people, hours of load with faults."""

import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.hook import audit
from benchmarks.hook.clock import Clock
from benchmarks.hook.host import Host
from benchmarks.hook.people import Person, breaks, own_file, words
from benchmarks.hook.writers import FUNCTION_SECONDS, IMAGE_FILE, Hook, Images, declare, event, polled, tag_at

PEOPLE: Final = ("alice", "bob")
SINGLES: Final = 120
# A writer commits every 17 s at most when it never rests: pushes that come slower wait for nothing.
_REST_SECONDS: Final = 20.0
BURST_SERVICES, BURST_PUSHES, BURST_SECONDS = 100, 500, 10.0
SWEPT_SERVICES: Final = 300
SOAK_SERVICES, SOAK_EVENTS = 200, 36_000
SOAK_HOURS: Final = 1.0
SOAK_SPEED: Final = 12.0
FAULTS: Final = 0.05
_HOUR: Final = 3600.0
_DRAIN_SECONDS: Final = 240.0
_NO_IMAGE: Final = b"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages: []\n"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Something measured.

    Attributes:
        what: In words.
        got: As shown.
        limit: As shown; "" for what is only told.
        good: Whether it holds.
        vital: Whether the benchmark fails if it does not.
    """

    what: str
    got: str
    limit: str = ""
    good: bool = True
    vital: bool = False


@dataclass(kw_only=True)
class World:
    """What the phases share.

    Attributes:
        clock: Everything's.
        host: The Git host.
        hook: Queues and writers.
        folder: For clones.
        images: The registry.
        newest: Newest eligible tag by service.
        batches: For the picture: seconds since a phase's start, and services in the commit, by phase.
    """

    clock: Clock
    host: Host
    hook: Hook
    folder: Path
    images: Images
    newest: dict[str, str] = field(default_factory=dict[str, str])
    batches: dict[str, list[tuple[float, int]]] = field(default_factory=dict[str, list[tuple[float, int]]])
    _numbers: int = 0

    def settle(self, services: Sequence[str]) -> None:
        """Put services into catalogue, registry and repository, without an image."""
        for service in services:
            declare(service)
            self.images.repository(service)
        self.host.put({IMAGE_FILE.format(service=service): _NO_IMAGE for service in services})

    def push(self, service: str, at: float) -> str:
        """An image is pushed; its event's body."""
        self._numbers += 1
        tag = tag_at(at, self._numbers)
        self.images.push(service, tag, at=at)
        self.newest[service] = max(tag, self.newest.get(service, ""))
        return event(service, tag)

    def behind(self) -> list[str]:
        """Services whose tag on the branch is not their newest."""
        found = audit.tags(self.host.git_dir, sorted(self.newest))
        return [
            f"{service}: {found[service] or 'nothing'} for {tag}" for service, tag in self.newest.items() if found[service] != tag
        ]

    def drained(self, seconds: float) -> bool:
        """Wait until nothing waits any more."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if self.hook.idle:
                return True
            time.sleep(0.01)
        return False

    def rest(self) -> None:
        """Let all limits and paces forget what was."""
        self.clock.set(skip_seconds=2 * _HOUR)


def services(prefix: str, count: int) -> list[str]:
    """Names."""
    return [f"{prefix}-{number:03}" for number in range(count)]


# One push


def one_push(world: World, say: Callable[[str], None]) -> list[Figure]:
    """Pushes one after another, each when the one before is through."""
    (service,) = services("single", 1)
    world.settle([service])
    seconds: list[float] = []
    begun, since = len(world.hook.invocations), audit.head(world.host.git_dir)
    with polled(world.hook):
        for number in range(SINGLES + 1):
            if number == 1:
                # The first has fetched a token and read the catalogue: the function is warm from here on.
                world.host.report()
                begun = len(world.hook.invocations)
            world.clock.set(skip_seconds=_REST_SECONDS)
            body, seen, began = world.push(service, world.clock.now()), len(world.host.pushes), time.time()
            world.hook.queue.send(body)
            push = world.host.wait_for_push(seen, 20)
            if push is not None:
                seconds.append(push.seconds - began)
            world.drained(20)
            if number % 40 == 0:
                say(f"{number} of {SINGLES} pushes are through")
    requests, _ = world.host.report()
    history = audit.history(world.host.git_dir, since)
    spent = [each.seconds for each in world.hook.invocations[begun:]]
    lost = SINGLES + 1 - len(seconds)
    first, *seconds = seconds or [0.0]
    return [
        Figure(what="first push of a cold writer (key, token, catalogue), event to commit", got=f"{first:.2f} s"),
        _seconds("one push, event to commit, p50", statistics.median(seconds), 1.0),
        _seconds("one push, event to commit, p99", _quantile(seconds, 0.99), 3.0),
        Figure(
            what="GitHub's requests per commit, token warm",
            got=f"{len(requests) / SINGLES:.2f}",
            limit="≤ 3",
            good=len(requests) <= 3 * SINGLES,
        ),
        Figure(what="Lambda's milliseconds per commit, waiting for GitHub included", got=f"{1000 * sum(spent) / SINGLES:.0f}"),
        _none("one push: lost, twice or reverted", lost + len(history.faults) + len(world.behind()), history.faults),
    ]


# Bursts


def burst(world: World, say: Callable[[str], None], *, people: bool) -> list[Figure]:
    """Many pushes over many services within seconds."""
    title = "burst among two people" if people else "burst"
    names = services("busy" if people else "burst", BURST_SERVICES)
    world.settle(names)
    world.rest()
    git_dir, since = world.host.git_dir, audit.head(world.host.git_dir)
    world.host.report()
    seen = len(world.host.pushes)
    sent: dict[tuple[str, str], float] = {}
    chance = random.Random(4)  # noqa: S311 — the same load every time
    with ExitStack() as stack:
        staff = [
            stack.enter_context(
                Person(name=name, host=world.host, folder=world.folder / f"{title}-{name}", every_seconds=1.0, edit=words(name))
            )
            for name in (PEOPLE if people else ())
        ]
        with polled(world.hook):
            began = time.monotonic()
            for number in range(BURST_PUSHES):
                time.sleep(max(0.0, began + number * BURST_SECONDS / BURST_PUSHES - time.monotonic()))
                # Every service at least once, in no order.
                service = names[number] if number < len(names) else chance.choice(names)
                body = world.push(service, world.clock.now())
                sent[service, json.loads(body)["detail"]["image-tag"]] = time.time()
                world.hook.queue.send(body)
            last = time.time()
            world.drained(30)
    history = audit.history(git_dir, since)
    when = {each.commit: each.seconds for each in world.host.pushes[seen:]}
    bot = [when[commit] for commit in history.commits]
    waits = [when[each.commit] - sent[each.service, each.tag] for each in history.bumps]
    world.batches[title] = _batches(history, when, last - BURST_SECONDS)
    say(f"{len(history.commits)} commits, the last {max(bot) - last:.2f} s after the last push")
    requests, _ = world.host.report()
    limit = 10.0 if people else 5.0
    figures = [
        _seconds(f"{title}: all at their newest, after the last push", max(bot) - last, limit),
        Figure(what=f"{title}: commits", got=str(len(history.commits)), limit="≤ 30", good=len(history.commits) <= 30),  # noqa: PLR2004 — the issue's limit
        Figure(what=f"{title}: event to commit, p50 of what was written", got=f"{statistics.median(waits):.2f} s"),
        _none(f"{title}: refused by a limit", sum(bool(each.limited) for each in requests)),
        _none(f"{title}: lost, twice or reverted", len(world.behind()) + len(history.faults), [*world.behind(), *history.faults]),
    ]
    return [*figures, *_people(title, staff, history, world)] if people else figures


def _people(title: str, staff: Sequence[Person], history: audit.History, world: World) -> list[Figure]:
    failed = [said for person in staff for said in person.failed]
    gone = [commit for person in staff for commit in person.pushed if commit not in history.all]
    reverted = [
        f"{person.name}'s file" for person in staff if audit.text(world.host.git_dir, own_file(person.name)) != person.own
    ]
    return [
        Figure(
            what=f"{title}: people's pushes",
            got=f"{sum(len(each.pushed) for each in staff)}, {sum(each.again for each in staff)} made again on top",
        ),
        _none(f"{title}: people's pushes that failed", len(failed), failed),
        _none(f"{title}: people's work lost or reverted", len(gone) + len(reverted), [*gone, *reverted]),
    ]


# The sweep


def sweep(world: World, say: Callable[[str], None]) -> list[Figure]:
    """Hundreds of declared services that have no directory and images that nobody heard of; then once more."""
    names = services("swept", SWEPT_SERVICES)
    for name in names:
        declare(name)
        world.images.repository(name)
        world.push(name, world.clock.now())
    world.rest()
    world.host.report()
    since, seconds = audit.head(world.host.git_dir), list[float]()
    for number in range(2):
        began, ends = time.monotonic(), world.clock.now() + FUNCTION_SECONDS
        world.hook.writers[number].sweep(lambda ends=ends: ends - world.clock.now())
        seconds.append(time.monotonic() - began)
        say(f"sweep {number + 1} took {seconds[-1]:.1f} s")
    history = audit.history(world.host.git_dir, since)
    requests, _ = world.host.report()
    return [
        _seconds(f"sweep of {SWEPT_SERVICES} services, each scaffolded and written", seconds[0], FUNCTION_SECONDS),
        _seconds("the sweep after it, which finds nothing to do", seconds[1], FUNCTION_SECONDS),
        Figure(what="sweeps: commits", got=str(len(history.commits)), limit="1", good=len(history.commits) == 1),
        Figure(what="sweeps: GitHub's requests", got=str(len(requests))),
        _none("sweeps: lost, twice or reverted", len(world.behind()) + len(history.faults), [*world.behind(), *history.faults]),
    ]


# Load and faults


@dataclass(kw_only=True)
class _Sent:
    """What was put into the queue.

    Attributes:
        valid: Pushes, by service and tag.
        doomed: How many messages must end in the failure queue whatever happens.
        events: All messages.
    """

    valid: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    doomed: int = 0
    events: Counter[str] = field(default_factory=Counter[str])


def soak(world: World, say: Callable[[str], None]) -> list[Figure]:
    """Hours of pushes with faults of every kind, on a clock that runs faster, its limits with it."""
    names = services("soak", SOAK_SERVICES)
    world.settle(names)
    world.rest()
    git_dir = world.host.git_dir
    world.host.report()
    world.hook.queue.twice, marks = 0.01, [len(log.getvalue()) for log in world.hook.logs]
    seen, since = len(world.host.pushes), audit.head(git_dir)
    with ExitStack() as stack:
        world.clock.set(speed=SOAK_SPEED)
        world.host.trouble(FAULTS)
        world.hook.trouble = FAULTS
        paths = [IMAGE_FILE.format(service=name) for name in names]
        staff = [
            stack.enter_context(
                Person(
                    name=name,
                    host=world.host,
                    folder=world.folder / f"soak-{name}",
                    every_seconds=30 / SOAK_SPEED,
                    edit=breaks(name, paths[number::2], 12),
                )
            )
            for number, name in enumerate(PEOPLE)
        ]
        with polled(world.hook):
            began = time.time()
            sent = _send(world, names, say)
            say("all is sent; what waits is worked off")
            world.drained(_DRAIN_SECONDS)
    world.host.trouble(0)
    world.hook.trouble, world.hook.queue.twice = 0.0, 0.0
    with polled(world.hook):
        world.drained(_DRAIN_SECONDS)
        given_up, dead = world.hook.failures.bodies(), world.hook.dead.bodies()
        say(f"{len(given_up)} events were given up with a reason, {len(dead)} came too often; all are replayed")
        mended = _replay(world, given_up, dead)
        world.drained(_DRAIN_SECONDS)
    world.clock.set(speed=1.0)
    return _judged(
        world,
        _Soak(
            sent=sent,
            staff=staff,
            given_up=given_up,
            dead=dead,
            replayed=mended,
            seen=seen,
            since=since,
            marks=marks,
            began=began,
        ),
    )


def _send(world: World, names: Sequence[str], say: Callable[[str], None]) -> _Sent:
    """Put the load into the queue: pushes, some twice, some late, and what is no push."""
    chance, sent = random.Random(5), _Sent()  # noqa: S311 — the same load every time
    late: list[tuple[float, str]] = []
    began, every = time.monotonic(), SOAK_HOURS * _HOUR / SOAK_SPEED / SOAK_EVENTS
    while sum(sent.events.values()) < SOAK_EVENTS:
        number = sum(sent.events.values())
        time.sleep(max(0.0, began + number * every - time.monotonic()))
        while late and late[0][0] <= world.clock.now():
            _put(world, sent, "late", late.pop(0)[1])
        kind, body = _next(world, names, chance, sent)
        if kind == "push" and chance.random() < FAULTS:
            late.append((world.clock.now() + chance.uniform(30, 300), body))
            late.sort()
            continue
        _put(world, sent, kind, body)
        if kind == "push" and chance.random() < FAULTS:
            _put(world, sent, "twice", body)
        if number % 3000 == 0:
            say(f"{number:,} of {SOAK_EVENTS:,} events; {len(world.hook.queue):,} wait; {len(world.host.pushes):,} pushes in all")
    for _, body in late:
        _put(world, sent, "late", body)
    return sent


def _put(world: World, sent: _Sent, kind: str, body: str) -> None:
    sent.events[kind] += 1
    world.hook.queue.send(body)


def _next(world: World, names: Sequence[str], chance: random.Random, sent: _Sent) -> tuple[str, str]:
    service, now = chance.choice(names), world.clock.now()
    if chance.random() >= FAULTS:
        body = world.push(service, now)
        sent.valid.add((service, json.loads(body)["detail"]["image-tag"]))
        return "push", body
    kind = chance.choice(("no JSON", "untagged", "malformed", "foreign", "undeclared", "future", "gone"))
    if kind == "no JSON":
        sent.doomed += 1
    tag = tag_at(now, chance.getrandbits(40))
    if kind == "future":
        # Ten minutes ahead of its push: in the registry, and never to be written.
        tag = tag_at(now + 600, chance.getrandbits(40))
        world.images.push(service, tag, at=now)
    bodies: Mapping[str, str] = {
        "no JSON": "{",
        "untagged": json.dumps(
            {
                "detail-type": "ECR Image Action",
                "detail": {"action-type": "PUSH", "result": "SUCCESS", "repository-name": f"develop/{service}"},
            }
        ),
        "malformed": event(service, "latest"),
        "foreign": event(service, tag, **{"repository-name": f"other/{service}"}),
        "undeclared": event("nobody", tag),
        "future": event(service, tag),
        "gone": event(service, tag),
    }
    return kind, bodies[kind]


def _replay(world: World, given_up: Sequence[str], dead: Sequence[str]) -> int:
    """What an operator does once files are mended; how many events were sent again."""
    replayed = 0
    for body in given_up:
        told: Any = json.loads(body)["event"]
        # What is no event is not sent again: it never will be one.
        if isinstance(told, dict):
            world.hook.queue.send(json.dumps(told))
            replayed += 1
    for body in dead:
        world.hook.queue.send(body)
        replayed += 1
    return replayed


@dataclass(frozen=True, kw_only=True)
class _Soak:
    """What the load left behind."""

    sent: _Sent
    staff: Sequence[Person]
    given_up: Sequence[str]
    dead: Sequence[str]
    replayed: int
    seen: int
    since: str
    marks: Sequence[int]
    began: float


def _judged(world: World, left: _Soak) -> list[Figure]:
    history = audit.history(world.host.git_dir, left.since)
    requests, faults = world.host.report()
    lines = [
        json.loads(line)
        for log, mark in zip(world.hook.logs, left.marks, strict=True)
        for line in log.getvalue()[mark:].splitlines()
    ]
    reasons = Counter(str(line["reason"]) for line in lines if line.get("reason"))
    told = {(line.get("service", ""), line.get("tag", "")) for line in lines if line.get("reason")}
    untold = [f"{service} {tag}" for service, tag in left.sent.valid if (service, tag) not in told]
    behind = world.behind()
    # One that was delivered twice may be kept twice.
    unkept = max(0, left.sent.doomed - sum(not isinstance(json.loads(body)["event"], dict) for body in left.given_up))
    when = {each.commit: each.seconds for each in world.host.pushes[left.seen :]}
    world.batches["an hour with faults"] = [
        (seconds * SOAK_SPEED, size) for seconds, size in _batches(history, when, left.began) if seconds > 0
    ]
    hour = [each for each in requests if each.operation == "CommitImages"]
    sizes = [size for _, size in world.batches["an hour with faults"]]
    shown = ", ".join(f"{number:,} {kind}" for kind, number in left.sent.events.most_common())
    return [
        Figure(what="load: events", got=f"{sum(left.sent.events.values()):,}: {shown}"),
        Figure(
            what="load: GitHub's faults",
            got=f"{faults.total():,}: " + ", ".join(f"{number} {name}" for name, number in faults.most_common()),
        ),
        Figure(
            what="load: AWS's throttles", got=", ".join(f"{number} {name}" for name, number in world.hook.throttles.most_common())
        ),
        Figure(what="load: outcomes", got=", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())),
        Figure(
            what="load: commits of the writers",
            got=f"{len(history.commits):,} with {len(history.bumps):,} bumps: "
            f"{statistics.median(sizes):.0f} services at the median, {max(sizes)} at most",
        ),
        Figure(
            what="load: requests for a commit",
            got=f"{len(hour):,}, of which {sum(bool(each.errors) for each in hour)} on a head that had moved",
        ),
        _none("load: refused by GitHub's own limits", sum(bool(each.limited) for each in requests)),
        Figure(
            what="load: given up with a reason, then replayed",
            got=f"{len(left.given_up):,} and {len(left.dead):,} unprocessed; {left.replayed:,} replayed",
        ),
        _none("load: invocations that failed as a whole", len(world.hook.crashes), world.hook.crashes),
        _none("load: lost", len(behind) + len(untold) + unkept + len(world.hook.queue), [*behind, *untold]),
        _none("load: written twice, or older over newer", len(history.faults), history.faults),
        *_people("load", left.staff, history, world),
    ]


# Parts


def _batches(history: audit.History, when: Mapping[str, float], began: float) -> list[tuple[float, int]]:
    sizes = Counter(each.commit for each in history.bumps)
    return [(when[commit] - began, sizes[commit]) for commit in history.commits if commit in when]


def _seconds(what: str, got: float, limit: float) -> Figure:
    return Figure(what=what, got=f"{got:.2f} s", limit=f"≤ {limit:.0f} s", good=got <= limit)


def _none(what: str, got: int, which: Sequence[str] = ()) -> Figure:
    shown = f"{got}" + (f": {'; '.join(which[:3])}" if which else "")
    return Figure(what=what, got=shown, limit="0", good=got == 0, vital=True)


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


__all__ = ["PEOPLE", "Figure", "World", "burst", "one_push", "soak", "sweep"]
