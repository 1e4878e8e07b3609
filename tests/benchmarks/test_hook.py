"""What the hook's benchmark stands on: a queue as AWS describes standard queues, a clock, and an audit that sees faults."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from botocore.exceptions import ClientError

from benchmarks.hook import audit
from benchmarks.hook.clock import Clock
from benchmarks.hook.queue import Client, StandardQueue, throttled
from benchmarks.hook.writers import IMAGE_FILE, tag_at

URL: Final = "https://sqs/images"
OLD, NEW, NEWEST = (tag_at(1_700_000_000 + 60 * number, number) for number in range(3))


class Stopped(Clock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        """At zero."""
        super().__init__()
        self.time = 0.0

    def now(self) -> float:
        """As set."""
        return self.time


@pytest.fixture
def clock() -> Stopped:
    """A clock."""
    return Stopped()


def test_a_message_is_hidden_once_received_and_comes_again_when_its_time_is_over(clock: Stopped) -> None:
    queue = StandardQueue(clock=clock, visibility_seconds=30)
    queue.send("one")
    (first,) = queue.receive(10)
    assert (first.body, first.receives) == ("one", 1)
    assert queue.receive(10) == []
    clock.time = 30
    (again,) = queue.receive(10)
    assert again.receives == 2
    queue.delete(first.handle)
    clock.time = 60
    assert (queue.receive(10), len(queue)) == ([], 0)


def test_hiding_shortens_and_lengthens_and_only_by_the_latest_receipt(clock: Stopped) -> None:
    queue = StandardQueue(clock=clock, visibility_seconds=30)
    queue.send("one")
    (first,) = queue.receive(10)
    queue.hide(first.handle, 0)
    (second,) = queue.receive(10)
    queue.hide(first.handle, 0)
    assert queue.receive(10) == []
    queue.hide(second.handle, 90)
    clock.time = 60
    assert queue.receive(10) == []
    clock.time = 90
    assert len(queue.receive(10)) == 1


def test_what_came_too_often_goes_to_the_dead_letter_queue(clock: Stopped) -> None:
    dead = StandardQueue(clock=clock)
    queue = StandardQueue(clock=clock, visibility_seconds=1, most_receives=2, dead=dead)
    queue.send("one")
    for second in range(3):
        clock.time = second
        queue.receive(10)
    assert (dead.bodies(), len(queue)) == (["one"], 0)


def test_a_message_may_come_twice_as_aws_allows_itself(clock: Stopped) -> None:
    queue = StandardQueue(clock=clock, twice=1.0)
    queue.send("one")
    assert [queue.receive(1)[0].body, queue.receive(1)[0].body] == ["one", "one"]


def test_a_client_meets_trouble_where_it_is_planned(clock: Stopped) -> None:
    def trouble(operation: str) -> None:
        if operation == "DeleteMessageBatch":
            raise throttled(operation)

    client = Client(queues={URL: StandardQueue(clock=clock)}, trouble=trouble)
    client.send_message(QueueUrl=URL, MessageBody="one")
    (got,) = client.receive_message(QueueUrl=URL)["Messages"]
    with pytest.raises(ClientError, match="ThrottlingException"):
        client.delete_message_batch(QueueUrl=URL, Entries=[{"Id": "0", "ReceiptHandle": got["ReceiptHandle"]}])


def test_a_clock_that_runs_faster_leaps_and_goes_on_from_there() -> None:
    clock = Clock()
    before = clock.now()
    clock.set(speed=1000.0, skip_seconds=3600)
    assert clock.now() >= before + 3600
    assert clock.speed == 1000.0


# The audit


def git(folder: Path, *arguments: str, author: str = "alice") -> None:
    """Git, as somebody."""
    who = ["-c", f"user.name={author}", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S603, S607 — a test's own


def commit(folder: Path, files: Mapping[str, str], author: str) -> str:
    """A commit; its id."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Change", author=author)
    return audit.head(folder)


def image(tag: str) -> dict[str, str]:
    """An image file."""
    return {IMAGE_FILE.format(service="shop"): f'images:\n  - name: shop\n    newTag: "{tag}"\n'}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a branch dev."""
    git(tmp_path, "init", "-q", "-b", "dev")
    commit(tmp_path, {"README.md": "words\n", **image(OLD)}, "alice")
    return tmp_path


def test_an_audit_of_good_commits_finds_bumps_and_no_fault(repository: Path) -> None:
    since = audit.head(repository)
    commit(repository, {"docs/alice.md": "more\n"}, "alice")
    made = commit(repository, {**image(NEW), "apps/shop/base/new.yaml": "{}\n"}, audit.BOT)
    found = audit.history(repository, since)
    assert [(each.service, each.tag, each.commit) for each in found.bumps] == [("shop", NEW, made)]
    assert (found.commits, found.faults, len(found.all)) == ([made], [], 2)
    assert audit.tags(repository, ["shop", "nobody"]) == {"shop": NEW, "nobody": ""}


def test_an_audit_sees_an_older_tag_over_a_newer_one_a_second_one_and_what_is_not_the_writers(repository: Path) -> None:
    since = audit.head(repository)
    commit(repository, image(NEWEST), audit.BOT)
    commit(repository, image(NEW), audit.BOT)
    commit(repository, image(NEWEST), audit.BOT)
    commit(repository, {"README.md": "reverted\n"}, audit.BOT)
    said = " ".join(audit.history(repository, since).faults)
    assert f"writes shop {NEW} over {NEWEST}" in said
    assert f"writes shop {NEWEST} a second time" in said
    assert "changes README.md, which is no image file" in said
