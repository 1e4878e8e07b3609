"""Shows what the dead-letter and failure queues of a stack's tracks hold, and replays what is chosen.

Without --send and --send-all nothing is taken out: messages are received, shown, and made visible again, also when it is
interrupted. A replayed message is sent first and deleted then: what ends in between is a message that is sent twice, which is
harmless, for the same event twice is one commit.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from bootstrap.bootstrap import ROOT, BootstrapError, Place, check_caller, read_settings
from components import naming
from components.settings import Settings, SettingsError

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

QUEUES: Final = ("undelivered", "unprocessed", "failures")
DONE: Final = 0
LEFT: Final = 1
REFUSED: Final = 2
# What shells make of SIGINT.
INTERRUPTED: Final = 130

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
_PAGE: Final = 10
# Long enough to read a queue and to replay it; what a lost connection leaves hidden is back after it by itself.
_HIDDEN_SECONDS: Final = 120
# A short poll asks some of the servers that hold a standard queue, and may find nothing where something is; a long one asks all.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
_QUIET: Final = 3
_WAIT_SECONDS: Final = 2
_SWEEP: Final = {"slipway": "sweep"}
_SHORT_ID: Final = 8
# A log has no edge to fold at.
_LOG_WIDTH: Final = 200

ERRORS: Final = (BotoCoreError, ClientError)


class ReplayError(Exception):
    """It must not go on, and nothing has been changed. Each line reads: what, got; allowed; fix."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One queue that is read.

    Attributes:
        track: Its track.
        queue: One of `QUEUES`.
        url: Where it is.
        images_url: Where its track's events of images go.
        builds_url: Where its track's events of builds go; "" where nothing reports them.
        most_receives: How often the track's queue gives an event to the writer.
    """

    track: str
    queue: str
    url: str
    images_url: str
    most_receives: str
    builds_url: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.track} {self.queue}"


@dataclass(frozen=True, kw_only=True)
class Count:
    """How much of a queue was seen.

    Attributes:
        source: The queue.
        seen: Messages that were received.
        about: Messages that could be, before it was read, as SQS estimates it.
        hidden: Messages that somebody else was receiving then, likewise.
    """

    source: Source
    seen: int
    about: int
    hidden: int


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One message.

    Attributes:
        source: Where it lies.
        id: Given by SQS.
        handle: What it is deleted and made visible by; another each time that it is received.
        sent_at: When it was sent; of one in `unprocessed` that is when it came into the queue images.
            https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html
        receives: How often it was received, by this command too.
        body: Whatever was sent.
        attributes: Those that EventBridge or the scheduler adds.
    """

    source: Source
    id: str
    handle: str
    sent_at: datetime
    receives: int
    body: str
    attributes: Mapping[str, str]

    @property
    def content(self) -> Any:  # noqa: ANN401 — any JSON
        """The body's JSON; the body itself where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return self.body

    @property
    def event(self) -> Any:  # noqa: ANN401 — any JSON
        """What is replayed: the content, or what the writer wrapped in its reason; None where there is nothing."""
        if self.source.queue == "failures":
            # functions/gitops_writer/queues.py, give_up
            return _field(self.content, "event")
        return self.content

    @property
    def payload(self) -> str:
        """What a replay sends, letter for letter where it is not wrapped; "" where there is nothing."""
        if self.source.queue != "failures":
            return self.body
        if self.event is None:
            return ""
        return self.event if isinstance(self.event, str) else json.dumps(self.event)

    @property
    def is_sweep(self) -> bool:
        """Whether it is the scheduler's own, which is no event of an image.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
        """
        return self.event == _SWEEP or "SCHEDULE_ARN" in self.attributes

    @property
    def is_build(self) -> bool:
        """Whether it is about a build (components/build_reports.py), and not about an image."""
        return _field(self.event, "source") == "aws.codepipeline"

    @property
    def url(self) -> str:
        """The queue that a replay sends it to; "" where there is none."""
        return self.source.builds_url if self.is_build else self.source.images_url

    @property
    def service(self) -> str:
        """The service whose image or build it is; "" where it does not say."""
        if self.is_build:
            return str(_field(self.event, "detail", "pipeline") or "").rpartition(".")[2]
        repository = str(_field(self.event, "detail", "repository-name") or "")
        return repository.removeprefix(naming.repository_prefix(self.source.track)) or str(_field(self.content, "service") or "")

    @property
    def tag(self) -> str:
        """The image's tag, or the state of a build; "" where it does not say."""
        if self.is_build:
            return str(_field(self.event, "detail", "state") or "")
        return str(_field(self.event, "detail", "image-tag") or "")

    @property
    def why(self) -> str:
        """Why it lies where it lies."""
        if self.source.queue == "failures":
            return str(_field(self.content, "reason") or "it says no reason: it was not the writer that sent it")
        if self.source.queue == "unprocessed":
            function = "reporter" if self.is_build else "writer"
            return f"received {self.source.most_receives} times and given back each time: the {function}'s log says why"
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
        told = [self.attributes[key] for key in ("ERROR_CODE", "ERROR_MESSAGE") if self.attributes.get(key)]
        return ": ".join(told) or "it names no error: it was not EventBridge that sent it"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A stack's queues, read and replayed.

    Attributes:
        place: The stack's account.
        sources: Queues that are read.
        console: Where progress is shown.
        wait_seconds: How long the last look into a queue waits for more.
    """

    place: Place
    sources: Sequence[Source]
    console: Console
    wait_seconds: int = _WAIT_SECONDS

    @property
    def sqs(self) -> "SQSClient":
        """SQS in the stack's account."""
        return self.place.client("sqs")

    @contextmanager
    def held(self) -> Generator["Held"]:
        """Receive all that the queues hold; whatever happens within, all that was not deleted is visible again after it."""
        held = Held()
        try:
            with self._progress() as progress:
                for source in self.sources:
                    self._receive(source, held, progress)
            yield held
        finally:
            with _whole():
                self._release([letter for id_, letter in held.letters.items() if id_ not in held.deleted])

    def _receive(self, source: Source, held: "Held", progress: Progress) -> None:
        about, hidden = self._estimate(source.url)
        bar = progress.add_task(f"reading {source.name}", total=about)
        seen: set[str] = set()
        quiet = 0
        while quiet < _QUIET:
            with _whole():
                answer = self.sqs.receive_message(
                    QueueUrl=source.url,
                    MaxNumberOfMessages=_PAGE,
                    VisibilityTimeout=_HIDDEN_SECONDS,
                    WaitTimeSeconds=self.wait_seconds if quiet == _QUIET - 1 else 0,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                )
                letters = [_letter(source, message) for message in answer.get("Messages", [])]
                # Of one that comes twice the later handle is the one that counts.
                held.letters.update({letter.id: letter for letter in letters})
            fresh = {letter.id for letter in letters} - seen
            seen |= fresh
            quiet = 0 if fresh else quiet + 1
            progress.update(bar, completed=len(seen), total=max(about, len(seen)))
        held.counts.append(Count(source=source, seen=len(seen), about=about, hidden=hidden))

    def _estimate(self, url: str) -> tuple[int, int]:
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names).get("Attributes", {})
        about, hidden = (int(found.get(name, 0)) for name in names)
        return about, hidden

    def _release(self, letters: Sequence[Letter]) -> None:
        late = 0
        for source in self.sources:
            own = [letter for letter in letters if letter.source == source]
            for start in range(0, len(own), _PAGE):
                page = own[start : start + _PAGE]
                entries = [{"Id": str(n), "ReceiptHandle": each.handle, "VisibilityTimeout": 0} for n, each in enumerate(page)]
                try:
                    answer = self.sqs.change_message_visibility_batch(QueueUrl=source.url, Entries=cast("Any", entries))
                    late += len(answer.get("Failed", []))
                except ERRORS:
                    late += len(page)
        if late:
            self.console.print(f"Not made visible at once, but after {_HIDDEN_SECONDS} s: {late}.")

    def send(self, letters: Sequence[Letter], held: "Held") -> None:
        """Replay, oldest first: send, and only then delete. What cannot be is noted, and does not hold back the rest."""
        swept: set[str] = set()
        with self._progress() as progress:
            bar = progress.add_task("replaying", total=len(letters))
            for letter in letters:
                with _whole():
                    self._send(letter, held, swept)
                progress.advance(bar)

    def _send(self, letter: Letter, held: "Held", swept: set[str]) -> None:
        track = letter.source.track
        if not letter.is_sweep and not letter.url:
            held.faults[letter.id] = "not replayed: it is about a build, and without builds.reporter nothing reports builds"
            return
        try:
            # One sweep does what all of a track would have done.
            if not letter.is_sweep:
                self.sqs.send_message(QueueUrl=letter.url, MessageBody=letter.payload)
            elif track not in swept:
                self.place.client("lambda").invoke(
                    FunctionName=naming.function(track), InvocationType="Event", Payload=json.dumps(_SWEEP).encode()
                )
                swept.add(track)
        except ERRORS as error:
            held.faults[letter.id] = f"not replayed: {error}"
            return
        held.sent.add(letter.id)
        try:
            self.sqs.delete_message(QueueUrl=letter.source.url, ReceiptHandle=letter.handle)
        except ERRORS as error:
            held.faults[letter.id] = f"replayed, and still here: {error} To replay it again is harmless."
        else:
            held.deleted.add(letter.id)

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        return Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)


@dataclass(kw_only=True)
class Held:
    """What was received, and what became of it.

    Attributes:
        letters: By id.
        counts: Of each queue that was read to its end.
        sent: Ids of those that were replayed.
        deleted: Of those, the ones that are gone.
        faults: By id, what went wrong.
    """

    letters: dict[str, Letter] = field(default_factory=dict[str, Letter])
    counts: list[Count] = field(default_factory=list[Count])
    sent: set[str] = field(default_factory=set[str])
    deleted: set[str] = field(default_factory=set[str])
    faults: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def sorted(self) -> Sequence[Letter]:
        """The letters, queue by queue and oldest first."""
        order = [count.source for count in self.counts]
        return sorted(self.letters.values(), key=lambda each: (order.index(each.source), each.sent_at, each.id))

    @property
    def shown(self) -> Mapping[str, str]:
        """Each id as it is shown: as short as tells it from all others."""
        for length in range(_SHORT_ID, 1 + max(map(len, self.letters), default=0)):
            if len({id_[:length] for id_ in self.letters}) == len(self.letters):
                return {id_: id_[:length] for id_ in self.letters}
        return {id_: id_ for id_ in self.letters}


def find_tracks(settings: Settings, track: str | None) -> Sequence[str]:
    """The tracks that are asked for, of those that the stack hosts.

    Raises:
        ReplayError: it hosts none, or not that one.
    """
    hosted = list(settings.hosted_tracks)
    if not hosted:
        hosts = ", ".join(sorted({each.host for each in settings.tracks.values()}))
        msg = f"--stack is {settings.stack!r}, which hosts no track: one of {hosts} is allowed. Name the track's host."
        raise ReplayError(msg)
    if track is not None and track not in hosted:
        msg = f"--track is {track!r}: one of {', '.join(hosted)} is allowed in stack {settings.stack}. Name one of them."
        raise ReplayError(msg)
    return hosted if track is None else [track]


def find_sources(place: Place, tracks: Sequence[str], queues: Sequence[str]) -> Sequence[Source]:
    """Where these queues of these tracks are.

    Raises:
        ReplayError: they have not been made.
    """
    found: list[Source] = []
    for track in tracks:
        images, builds = _queue_url(place, track, "images"), _find_queue(place, track, "builds")
        attributes = place.client("sqs").get_queue_attributes(QueueUrl=images, AttributeNames=["RedrivePolicy"])
        redrive = json.loads(attributes.get("Attributes", {}).get("RedrivePolicy", "{}"))
        found += [
            Source(
                track=track,
                queue=queue,
                url=_queue_url(place, track, queue),
                images_url=images,
                builds_url=builds,
                most_receives=str(redrive.get("maxReceiveCount", "too many")),
            )
            for queue in queues
        ]
    return found


def choose(held: Held, wanted: Sequence[str], *, every: bool) -> Sequence[Letter]:
    """The letters that are to be replayed, by whole or shortened id, or all that can be.

    What cannot be is noted as a fault when it was not named.

    Raises:
        ReplayError: an id that was named fits none or several, or its message holds nothing to replay.
    """
    if every:
        held.faults.update({each.id: "not replayed: it holds no event" for each in held.sorted if not _replayable(each)})
        return [each for each in held.sorted if _replayable(each)]
    chosen = {letter.id for prefix in wanted for letter in [_one(held, prefix)]}
    return [each for each in held.sorted if each.id in chosen]


def _one(held: Held, prefix: str) -> Letter:
    fitting = [each for each in held.letters.values() if each.id.startswith(prefix)] if prefix else []
    if not fitting:
        seen = f"{len(held.letters)} messages" if len(held.letters) != 1 else "one message"
        msg = (
            f"--send names {prefix!r}, which no message has (seen: {seen}): the beginning of an id is allowed. Run it without "
            "--send, and take an id that it shows."
        )
        raise ReplayError(msg)
    if len(fitting) > 1:
        ids = ", ".join(sorted(each.id for each in fitting))
        msg = f"--send names {prefix!r}, which begins several ids: the beginning of one is allowed. Write more of it: {ids}."
        raise ReplayError(msg)
    if not _replayable(fitting[0]):
        msg = (
            f"--send names {prefix!r}, a message of {fitting[0].source.name} that holds no event: one with an event is allowed. "
            "Look at it with --json, and sweep in its stead (docs/runbook.md)."
        )
        raise ReplayError(msg)
    return fitting[0]


@contextmanager
def _whole() -> Generator[None]:
    """Let an interruption wait for the end, or what was received and not noted would be hidden for minutes; a second does not."""
    told = False

    def note(number: int, frame: object) -> None:
        nonlocal told
        del number, frame
        if told:
            raise KeyboardInterrupt
        told = True

    interrupting = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is signal.default_int_handler]
    # Others are never interrupted, and must not set handlers: https://docs.python.org/3/library/signal.html
    if threading.current_thread() is not threading.main_thread():
        interrupting = []
    for each in interrupting:
        signal.signal(each, note)
    try:
        yield
    finally:
        for each in interrupting:
            signal.signal(each, signal.default_int_handler)
    if told:
        raise KeyboardInterrupt


def _replayable(letter: Letter) -> bool:
    return letter.is_sweep or bool(letter.payload)


def _letter(source: Source, message: Any) -> Letter:  # noqa: ANN401 — SQS's own
    system = message.get("Attributes", {})
    own = message.get("MessageAttributes", {})
    return Letter(
        source=source,
        id=message["MessageId"],
        handle=message["ReceiptHandle"],
        sent_at=datetime.fromtimestamp(int(system.get("SentTimestamp", 0)) / 1000, tz=UTC),
        receives=int(system.get("ApproximateReceiveCount", 1)),
        body=message["Body"],
        attributes={key: str(value.get("StringValue", "")) for key, value in own.items()},
    )


def _field(content: Any, *path: str) -> Any:  # noqa: ANN401 — any JSON
    """What stands at `path` in `content`, or None."""
    for key in path:
        content = cast("Any", content).get(key) if isinstance(content, dict) else None
    return content


def _queue_url(place: Place, track: str, purpose: str) -> str:
    if url := _find_queue(place, track, purpose):
        return url
    msg = (
        f"There is no queue {naming.queue(track, purpose)} in account {place.account}: it is allowed to be missing only before "
        f"the stack's first up. Run: pulumi up --stack {place.settings.stack}"
    )
    raise ReplayError(msg)


def _find_queue(place: Place, track: str, purpose: str) -> str:
    """Where a queue is, "" where there is none."""
    try:
        return place.client("sqs").get_queue_url(QueueName=naming.queue(track, purpose))["QueueUrl"]
    except ClientError as error:
        if "NonExistentQueue" not in str(cast("Any", error).response["Error"]["Code"]):
            raise
        return ""


def _table(held: Held, letters: Sequence[Letter]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "track", "queue", "sent (UTC)", "receives", "service", "tag", "why"):
        # What is copied is never folded.
        table.add_column(heading, no_wrap=heading.startswith(("id", "sent")), overflow="fold")
    for letter in letters:
        cells = (
            held.shown[letter.id],
            letter.source.track,
            letter.source.queue,
            f"{letter.sent_at:%Y-%m-%d %H:%M:%S}",
            str(letter.receives),
            "(sweep)" if letter.is_sweep else letter.service or "?",
            letter.tag or ("" if letter.is_sweep else "?"),
            letter.why,
        )
        table.add_row(*map(_plain, cells))
    return table


def _plain(text: str) -> Text:
    """Text that nothing in a message can turn into markup or commands to a terminal."""
    return Text("".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text))


def _say(held: Held, chosen: Sequence[Letter] | None, console: Console) -> None:
    """The table, and what came of it."""
    letters = held.sorted if chosen is None else chosen
    if letters:
        console.print(_table(held, letters))
        console.print()
    for count in held.counts:
        hidden = f"; {count.hidden} more are hidden, for somebody is reading them" if count.hidden else ""
        console.print(f"{count.source.name}: {count.seen} seen of about {count.about}{hidden}")
    for id_, fault in held.faults.items():
        console.print(_plain(f"{held.shown[id_]} {fault}"), soft_wrap=True)
    if chosen is not None:
        console.print(f"Replayed {len(held.sent)} of {len(chosen)}.")
    elif letters:
        console.print("Nothing was taken out. To replay: --send ID..., or --send-all.")


def _json(held: Held, chosen: Sequence[Letter] | None) -> str:
    messages = [
        {
            "id": each.id,
            "track": each.source.track,
            "queue": each.source.queue,
            "sent": each.sent_at.isoformat(timespec="milliseconds"),
            "receives": each.receives,
            "service": each.service,
            "tag": each.tag,
            "why": each.why,
            "sweep": each.is_sweep,
            "attributes": each.attributes,
            "body": each.body,
            "replayed": each.id in held.sent,
            "fault": held.faults.get(each.id, ""),
        }
        for each in held.sorted
        if chosen is None or each in chosen or each.id in held.faults
    ]
    queues = [
        {"track": each.source.track, "queue": each.source.queue, "seen": each.seen, "about": each.about, "hidden": each.hidden}
        for each in held.counts
    ]
    return json.dumps({"messages": messages, "queues": queues}, indent=2)


def _run(asked: argparse.Namespace, replay: Replay, console: Console) -> int:
    sends = bool(asked.send or asked.send_all)
    with replay.held() as held:
        chosen = choose(held, asked.send, every=asked.send_all) if sends else None
        try:
            if chosen:
                replay.send(chosen, held)
        finally:
            # What was done is told even if it was cut off.
            if asked.json:
                sys.stdout.write(f"{_json(held, chosen)}\n")
            else:
                _say(held, chosen, console)
    return LEFT if held.faults else DONE


def main(
    arguments: Sequence[str] | None = None,
    *,
    session: Any = None,  # noqa: ANN401 — boto3.Session
    root: Path = ROOT,
    wait_seconds: int = _WAIT_SECONDS,
) -> int:
    """Run it.

    Returns:
        0 when all is well, 1 when something could not be replayed, 2 when it refused and changed nothing, 130 when interrupted.
    """
    asked = _parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_LOG_WIDTH)
    try:
        settings = read_settings(asked.stack, root)
        tracks = find_tracks(settings, asked.track)
        place = Place(settings=settings, session=session or cast("Any", boto3).Session(), puts={})
        check_caller(place)
        sources = find_sources(place, tracks, [asked.queue] if asked.queue else QUEUES)
        return _run(asked, Replay(place=place, sources=sources, console=errors, wait_seconds=wait_seconds), console)
    except (ReplayError, BootstrapError, SettingsError) as error:
        why = str(error)
    except NoCredentialsError:
        why = f"There are no AWS credentials: those of stack {asked.stack}'s account are allowed. Log in, or set AWS_PROFILE."
    except ERRORS as error:
        why = (
            f"AWS says: {error} Whoever may receive, send and delete in the track's queues is allowed. Take such credentials "
            "(AWS_PROFILE). Nothing was changed."
        )
    except KeyboardInterrupt:
        errors.print("replay: interrupted. What was not replayed is in its queue, and visible.")
        return INTERRUPTED
    # An error may hold brackets of its own, and lines.
    errors.print(f"replay: {why}", markup=False, soft_wrap=True)
    return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m replay", description=__doc__)
    parser.add_argument("--stack", required=True, help="stack that hosts the track: dev, stg")
    parser.add_argument("--track", help="one of the stack's tracks; all unless given")
    parser.add_argument("--queue", choices=QUEUES, help="one of the queues; all unless given")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--send", nargs="+", default=[], metavar="ID", help="replay these; an id may be shortened")
    which.add_argument("--send-all", action="store_true", help="replay all that are found")
    parser.add_argument("--json", action="store_true", help="print JSON, with whole bodies, in place of the table")
    return parser
