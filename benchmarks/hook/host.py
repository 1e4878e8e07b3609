"""The Git host in a process of its own, with GitHub's latency, GitHub's limits, and faults of every kind now and then."""

import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.hook.clock import Clock
from rehearsal.githost import Call, Fault, GitHost, Limits, PushEvent, Request

REPOSITORY: Final = "example-org/gitops"
BRANCH: Final = "dev"
APP: Final = 101
LATENCY_SECONDS: Final = 0.15
_STALE: Final = b'{"data": null, "errors": [{"type": "STALE_DATA", "message": "Expected branch to point to another commit"}]}'
_LIMITED: Final = b'{"data": null, "errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}'
_UNKNOWN: Final = b'{"data": null, "errors": [{"message": "Something went wrong while executing your query"}]}'
_SECONDARY: Final = b'{"message": "You have exceeded a secondary rate limit"}'

FAULTS: Final = {
    "401, token expired": Fault(status=401, body=b'{"message": "Bad credentials"}'),
    "403, Retry-After": Fault(status=403, headers={"Retry-After": "20"}, body=_SECONDARY),
    "429, Retry-After": Fault(status=429, headers={"Retry-After": "30"}, body=_SECONDARY),
    "RATE_LIMITED in 200": Fault(status=200, body=_LIMITED),
    "500": Fault(status=500),
    "502": Fault(status=502, body=b"<html>"),
    "503, Retry-After": Fault(status=503, headers={"Retry-After": "5"}),
    "error without a type in 200": Fault(status=200, body=_UNKNOWN),
    "half a body": Fault(status=200, body=b'{"data": {"createCommitOnBra'),
    "STALE_DATA": Fault(status=200, body=_STALE),
    "no answer": Fault(drop=True),
    "no answer, though carried out": Fault(drop=True, after=True),
    "504, though carried out": Fault(status=504, after=True),
}
"""What is answered in place of an answer, by name."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """A branch has moved.

    Attributes:
        seconds: When, since 1970 in the world's seconds.
        commit: To where.
        pusher: By whom.
    """

    seconds: float
    commit: str
    pusher: str


@dataclass(kw_only=True)
class Host:
    """The process.

    Attributes:
        folder: For repositories.
        clock: Shared with it.
        key: Public key of the writer's App, PEM.
        files: What the branch holds at first.
        people: Logins of people, who may push.
    """

    folder: Path
    clock: Clock
    key: bytes
    files: dict[str, bytes]
    people: Sequence[str]
    url: str = ""
    tokens: dict[str, str] = field(default_factory=dict[str, str])
    git_dir: Path = Path()
    pushes: list[Push] = field(default_factory=list[Push])

    def __enter__(self) -> Self:
        """Start it, before this process has threads."""
        context = multiprocessing.get_context("fork")
        self._orders, theirs = context.Pipe()
        self._news, told = context.Pipe(duplex=False)
        self._process = context.Process(target=self._serve, args=(theirs, told), name="githost", daemon=True)
        self._process.start()
        self.url, self.tokens, self.git_dir = self._orders.recv()
        self._moved = threading.Condition()
        self._listener = threading.Thread(target=self._listen, name="news", daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._orders.send(("stop", 0))
        self._process.join(20)
        self._process.kill()

    def _listen(self) -> None:
        while True:
            try:
                push: Push = self._news.recv()
            except (EOFError, OSError):
                return
            with self._moved:
                self.pushes.append(push)
                self._moved.notify_all()

    def wait_for_push(self, after: int, seconds: float) -> Push | None:
        """The first push beyond the first `after`, None if there is none in time."""
        with self._moved:
            self._moved.wait_for(lambda: len(self.pushes) > after, seconds)
            return self.pushes[after] if len(self.pushes) > after else None

    def trouble(self, rate: float) -> None:
        """Answer such a share of the writers' requests with a fault."""
        self._orders.send(("faults", rate))

    def put(self, files: dict[str, bytes]) -> None:
        """Commit files, past all rules."""
        self._orders.send(("put", files))
        self._orders.recv()

    def report(self) -> tuple[list[Request], Counter[str]]:
        """Requests since the last report, and faults by name."""
        self._orders.send(("report", 0))
        return self._orders.recv()

    # In the process

    def _serve(self, orders: Connection, told: Connection) -> None:
        planned, met = [0.0], Counter[str]()
        chance = random.Random(2)  # noqa: S311 — the same faults every time

        def faults(call: Call) -> Fault | None:
            if chance.random() >= planned[0] or call.operation not in {"CommitImages", "ReadBranch"}:
                return None
            commits = call.operation == "CommitImages"
            names = [name for name, each in FAULTS.items() if commits or not (each.after or name == "STALE_DATA")]
            # Of every kind as many as of any other.
            met[name := min(names, key=met.__getitem__)] += 1
            return FAULTS[name]

        def moved(event: PushEvent) -> None:
            if event.branch == BRANCH and event.after:
                told.send(Push(seconds=time.time(), commit=event.after, pusher=event.pusher))

        with GitHost(self.folder, latency_seconds=LATENCY_SECONDS, clock=self.clock.now, limits=Limits()) as host:
            host.create_repository(REPOSITORY, default_branch=BRANCH, auto_init=True)
            host.put_files(REPOSITORY, BRANCH, dict(self.files), "Scaffold")
            host.add_ruleset(REPOSITORY, _keep())
            host.add_app(
                APP, "writer", self.key, installation_id=APP, permissions={"contents": "write"}, repositories=[REPOSITORY]
            )
            tokens = {name: host.add_user(name, role="write") for name in self.people}
            host.faults = faults
            host.on_push(moved)
            orders.send((host.url, tokens, host.path(REPOSITORY)))
            seen = 0
            while True:
                order, value = orders.recv()
                if order == "stop":
                    return
                if order == "faults":
                    planned[0] = value
                if order == "put":
                    host.put_files(REPOSITORY, BRANCH, dict(value), "Settle")
                    orders.send(None)
                if order == "report":
                    requests, seen = host.requests[seen:], len(host.requests)
                    orders.send((requests, met.copy()))


def _keep() -> dict[str, Any]:
    """What dev's rules say of everybody: no force push, no deletion."""
    return {
        "name": "keep",
        "target": "branch",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": [f"refs/heads/{BRANCH}"], "exclude": []}},
        "bypass_actors": [],
        "rules": [{"type": "deletion"}, {"type": "non_fast_forward"}],
    }


__all__ = ["APP", "BRANCH", "FAULTS", "LATENCY_SECONDS", "REPOSITORY", "Host", "Push"]
