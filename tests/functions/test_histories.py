"""Arbitrary histories through the whole writer over real Git: whatever happens in whatever order, the end is the same.

Events come twice, late, in any order and again; two writers take turns or cut in on each other; processes die at any step;
people commit in between. In the end every service is at its newest image, and no commit has ever gone back.
"""

import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from functions.gitops_writer.core import parse_tag
from functions.gitops_writer.handler import Writer
from functions.gitops_writer.manifests import read_entry
from tests.functions.kit import LONG, VISIBILITY_SECONDS, Bench, bench, ecr_event, image_file, tag, written
from tests.rehearsal.githost_kit import REPOSITORY

OLD: Final = "20200101T000000Z-000000000000"
NONE: Final = "sha256:" + "0" * 64
SERVICES: Final = ("storefront", "invoices", "search")


class CrashError(BaseException):
    """The process is gone: nothing of it runs on, not even what catches every exception."""


# What may happen


@dataclass(frozen=True)
class Push:
    """An image is built, some minutes before now; its event comes so many times, perhaps never."""

    service: str
    minutes: int
    copies: int


@dataclass(frozen=True)
class Replay:
    """The event of an earlier push comes, late or again."""

    index: int
    copies: int


@dataclass(frozen=True)
class Person:
    """Somebody commits: a page of their own, or words in a machine-written file."""

    service: str = ""


@dataclass(frozen=True)
class Wait:
    """Time goes by."""

    seconds: int


@dataclass(frozen=True)
class Invoke:
    """Lambda gives a writer what it has received; the writer finds the rest.

    Attributes:
        writer: Which of the two.
        given: At most so many messages.
        crash: The call that the process dies at, and whether after it; None when it lives.
        meanwhile: What happens between the reading and the commit.
        acknowledged: How many of the messages Lambda deletes before it dies itself; None for those that it should.
    """

    writer: int
    given: int = 10
    crash: tuple[str, bool] | None = None
    meanwhile: "Person | Invoke | None" = None
    acknowledged: int | None = None


Action: TypeAlias = Push | Replay | Person | Wait | Invoke

CALLS: Final = (
    "secrets-manager.GetSecretValue",
    "github.token",
    "sqs.ReceiveMessage",
    "ssm.GetParametersByPath",
    "ecr.DescribeImages",
    "github.ReadBranch",
    "github.CommitImages",
    "sqs.DeleteMessageBatch",
)
CRASHES: Final = st.none() | st.tuples(st.sampled_from(CALLS), st.booleans())
COPIES: Final = st.sampled_from([1, 1, 2, 0, 12])  # twelve: more than Lambda gives, and than one request deletes
PEOPLE: Final = st.builds(Person, st.sampled_from(["", *SERVICES]))
GIVEN: Final = st.sampled_from([10, 1, 2])
ALONE: Final = st.builds(Invoke, st.integers(0, 1), GIVEN, CRASHES, st.none() | PEOPLE, st.none() | st.integers(0, 9))
INVOCATIONS: Final = ALONE | st.builds(Invoke, st.integers(0, 1), GIVEN, CRASHES, ALONE)
PUSHES: Final = st.builds(Push, st.sampled_from(SERVICES), st.integers(0, 30), COPIES)
ACTIONS: Final = (
    PUSHES
    | INVOCATIONS
    | PUSHES
    | INVOCATIONS
    | st.builds(Replay, st.integers(0, 20), COPIES)
    | PEOPLE
    | st.builds(Wait, st.sampled_from([25, 2 * VISIBILITY_SECONDS]))
)


@dataclass(kw_only=True)
class Run:
    """One invocation on its way."""

    crash: tuple[str, bool] | None
    meanwhile: "Callable[[], None] | None"
    dead: bool = False


@dataclass(kw_only=True)
class Play:
    """A history being played.

    Attributes:
        it: The world, and two writers in it.
        pushed: Service and tag of every image, in the order of their pushes.
        told: What an event has come of.
        pages: People's own files.
        words: What people wrote into machine-written files.
    """

    it: Bench
    pushed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    told: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    pages: dict[str, bytes] = field(default_factory=dict[str, bytes])
    words: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def __post_init__(self) -> None:
        """Begin with services at an old image."""
        self._runs: list[Run] = []
        self._writers: list[Writer] = [self.it.make(), self.it.make()]
        self._now = self.it.time()
        self.it.wire.listener = self._hear
        for service in SERVICES:
            self.it.declare(service)
        self.base = self.it.put({image_file(service): written(service, OLD, NONE) for service in SERVICES})

    def _hear(self, name: str, done: bool) -> None:
        run = self._runs[-1]
        if run.dead or run.crash == (name, done):
            run.dead = True
            raise CrashError
        if (name, done) == ("github.ReadBranch", True) and run.meanwhile is not None:
            meanwhile, run.meanwhile = run.meanwhile, None
            meanwhile()

    def act(self, action: Action) -> None:
        """Let one thing happen."""
        match action:
            case Push():
                image = (action.service, tag(self._now - timedelta(minutes=action.minutes)))
                if image not in self.pushed:
                    self.it.push(*image)
                    self.pushed.append(image)
                self._tell(image, action.copies)
            case Replay():
                if self.pushed:
                    self._tell(self.pushed[action.index % len(self.pushed)], action.copies)
            case Person():
                self._commit_by_hand(action.service)
            case Wait():
                self.it.world.now += action.seconds
            case Invoke():
                self._invoke(action)

    def _tell(self, image: tuple[str, str], copies: int) -> None:
        self.it.send(*[ecr_event(f"develop/{image[0]}", image[1])] * copies)
        if copies:
            self.told.add(image)

    def _commit_by_hand(self, service: str) -> None:
        number = len(self.pages) + len(self.words)
        if service:
            path = image_file(service)
            words = f"# words {number}\n"
            self.it.put({path: words.encode() + (self.it.host.read(REPOSITORY, "dev", path) or b"")})
            self.words.append((path, words))
        else:
            page = {f"docs/{number}.md": f"page {number}\n".encode()}
            self.it.put(dict(page))
            self.pages |= page

    def _invoke(self, action: Invoke) -> None:
        records = self.it.receive(action.given)
        meanwhile = action.meanwhile
        self._runs.append(Run(crash=action.crash, meanwhile=partial(self.act, meanwhile) if meanwhile else None))
        try:
            failed = self._writers[action.writer].write(records, self.it.until(LONG))
        except CrashError:
            self._writers[action.writer] = self.it.make()
        else:
            self.it.acknowledge(records[: action.acknowledged], failed)
        finally:
            self._runs.pop()

    def end(self) -> None:
        """Let what waits be done, by either writer, without any more trouble."""
        for turn in range(40):
            if self.it.waiting() == (0, 0):
                return
            self.it.world.now += 2 * VISIBILITY_SECONDS
            self._invoke(Invoke(turn % 2))

    def check(self) -> None:
        """What must hold in the end."""
        it = self.it
        assert it.waiting() == (0, 0)
        assert it.failures() == []
        for service in SERVICES:
            newest = max([tag for name, tag in self.told if name == service], default=OLD)
            assert read_entry(it.read(image_file(service)), service).tag == newest
            assert_never_back(tags_over_time(it, service, self.base))
        for path, page in self.pages.items():
            assert it.host.read(REPOSITORY, "dev", path) == page
        for path, words in self.words:
            assert it.read(path).count(words) == 1


def tags_over_time(it: Bench, service: str, base: str) -> list[str]:
    """The tags that the writer's commits have brought, the first one first; a commit that brings none is an error."""
    repository = it.host.repository(REPOSITORY)
    assert repository is not None
    store, path = repository.store, image_file(service)
    tags: list[str] = []
    for commit in store.commits(str(it.host.head(REPOSITORY, "dev")), without=base):
        parent, this = str(commit.parent_ids[0]), str(commit.id)
        changed = store.changed_paths(parent, this)
        machine = commit.author.name == "writer-dev[bot]"
        assert not machine or (changed and all(each.endswith("/image/kustomization.yaml") for each in changed))
        if path in changed:
            blobs = (store.resolve(f"{each}:{path}") for each in (parent, this))
            before, after = (read_entry(getattr(blob, "data", b"").decode(), service).tag for blob in blobs)
            assert (before != after) is machine
            tags += [after] if machine and after else []
    return tags


def assert_never_back(tags: list[str]) -> None:
    """Each commit brings a newer image than the one before, never the same and never an older one."""
    parsed = [parse_tag(each) for each in (OLD, *tags)]
    assert all(before and after and before < after for before, after in pairwise(parsed)), tags


LOST_ANSWER: Final = ("github.CommitImages", True)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, min_size=3, max_size=14))
@example([Push("search", 3, 1), Invoke(0, crash=LOST_ANSWER), Push("search", 1, 0), Invoke(1)])
@example([Push("search", 3, 1), Push("search", 1, 1), Invoke(0, meanwhile=Invoke(1, crash=LOST_ANSWER))])
@example([Push("search", 3, 12), Invoke(0, crash=("sqs.DeleteMessageBatch", True)), Replay(0, 2)])
@example([Push("search", 9, 3), Invoke(0, acknowledged=1), Push("search", 5, 1), Push("search", 7, 1), Invoke(1)])
@example([Push("search", 9, 1), Push("invoices", 9, 1), Invoke(0, meanwhile=Person("search")), Push("search", 30, 1)])
def test_any_history_ends_in_the_newest_images_and_never_goes_back(history: list[Action]) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        play = Play(it=stack.enter_context(bench(folder, patch)))
        for action in history:
            play.act(action)
        play.end()
        play.check()


# At the same time

TIMES: Final = 4


@dataclass(kw_only=True)
class Crowd:
    """People who push with git, and writers, all at once.

    Attributes:
        it: The world.
        waves: Events yet to come, a list at a time: one with every push of a person, the rest afterwards.
        pushing: People who are not done.
        errors: What went wrong in a thread.
    """

    it: Bench
    waves: list[list[object]]
    pushing: set[str]
    errors: list[BaseException] = field(default_factory=list[BaseException])

    def __post_init__(self) -> None:
        """Nobody waits yet."""
        self._lock = threading.Lock()
        self._nothing = threading.Event()

    def tell(self) -> None:
        """Let the next events come."""
        with self._lock:
            self.it.send(*(self.waves.pop(0) if self.waves else ()))

    def person(self, name: str, token: str, service: str) -> None:
        """Change files, a machine-written one among them, and push; after each rejection once more on top of what is new."""
        it, path = self.it, image_file(service)
        copy = it.world.clone(token, name)
        for number in range(TIMES):
            it.world.change(copy, f"docs/{name}-{number}.md", f"page {number}\n")
            it.world.change(copy, path, f"# {name} {number}\n{(copy / path).read_text(encoding='utf-8')}")
            for _ in range(60):
                if it.world.git("push", "-q", "origin", "dev", cwd=copy).returncode == 0:
                    break
                done = it.world.git("pull", "-q", "--rebase", "origin", "dev", cwd=copy)
                assert done.returncode == 0, done.stderr
            else:
                pytest.fail(f"{name} was not let through in 60 tries")
            self.tell()

    def machine(self, writer: Writer) -> None:
        """Do what comes until nobody pushes any more, and nothing waits."""
        it, idle = self.it, 0
        while self.pushing or self.waves or it.waiting() != (0, 0):
            records = it.receive()
            if records:
                it.acknowledge(records, writer.write(records, it.until(LONG)))
                continue
            if not self.pushing:
                self.tell()
                idle += 1
                assert idle < 500, it.waiting()
            it.world.now += 5  # what went back is seen again
            self._nothing.wait(0.01)  # let people have the processor

    def run(self, target: Callable[..., None], name: str, *arguments: object) -> threading.Thread:
        """Begin a part, in a thread of its own."""

        def part() -> None:
            try:
                target(*arguments)
            except BaseException as error:  # noqa: BLE001 — raised in the test's own thread
                self.errors.append(error)
            finally:
                self.pushing.discard(name)

        thread = threading.Thread(target=part, name=name)
        thread.start()
        return thread


def test_people_who_push_with_git_and_two_writers_at_once_lose_nothing(dev: Bench) -> None:
    services = [f"service-{number}" for number in range(6)]
    repository = dev.host.repository(REPOSITORY)
    assert repository is not None
    for number, ruleset in list(repository.rulesets.items()):
        if ruleset.name == "write dev":
            dev.host.delete_ruleset(REPOSITORY, number)  # here people may push, too
    base = dev.put({image_file(service): written(service, OLD, NONE) for service in services})
    tags = [tag(dev.time(600 - 60 * number)) for number in range(7)]
    for service in services:
        dev.declare(service)
        for each in tags:
            dev.push(service, each)
    # Forward, but for the fourth, which comes last.
    waves: list[list[object]] = [
        [ecr_event(f"develop/{service}", each) for service in services] for each in (*tags[:3], *tags[4:], tags[3])
    ]
    people = {"alice": "service-0", "bob": "service-1"}
    tokens = {name: dev.host.add_user(name) for name in people}
    crowd = Crowd(it=dev, waves=waves, pushing=set(people))
    crowd.tell()
    threads = [crowd.run(crowd.person, name, name, tokens[name], service) for name, service in people.items()]
    threads += [crowd.run(crowd.machine, f"writer-{number}", dev.make()) for number in range(2)]
    for thread in threads:
        thread.join()

    assert not crowd.errors
    assert dev.failures() == []
    for service in services:
        brought = tags_over_time(dev, service, base)
        assert_never_back(brought)
        assert brought[-1] == tags[-1]
    made = repository.store.commits(str(dev.host.head(REPOSITORY, "dev")), without=base)
    subjects = [commit.message.strip() for commit in made]
    for name, service in people.items():
        assert subjects.count(f"Change {image_file(service)}") == TIMES
        for number in range(TIMES):
            assert subjects.count(f"Change docs/{name}-{number}.md") == 1
            assert dev.read(f"docs/{name}-{number}.md") == f"page {number}\n"
            assert dev.read(image_file(service)).count(f"# {name} {number}\n") == 1
