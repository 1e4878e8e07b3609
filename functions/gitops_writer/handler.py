"""Joins core and edges: what Lambda calls.

Two kinds of input: messages of the image queue, and `{"slipway": "sweep"}` on schedule.
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, TypeVar, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
import urllib3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from botocore.config import Config

from . import aws, core, scaffold
from .catalogue import Catalogue
from .core import Message, Outcome, Plan, Reason, Snapshot
from .ecr import Registry
from .github import App, GitHub, RefusedError, StaleHeadError, UnavailableError
from .pace import Pace
from .queues import Queue
from .settings import Settings, read

NAMESPACE: Final = "slipway"

# A burst becomes one commit; this many messages are read in well under a minute.
_MOST_MESSAGES: Final = 1000
# Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
_FIRST_WAIT_SECONDS: Final = 0.15
_LONGEST_WAIT_SECONDS: Final = 1.0
# A moving branch lets one of a few writers through each time; these many losses in a row mean something else.
_CONFLICTS: Final = 20
# Trouble of GitHub's own is not waited out here, where every second costs: the queue waits.
_TROUBLES: Final = 3
_PATIENCE_SECONDS: Final = 5.0
# A turn among commits is waited for: in the queue each wait would count as a try.
_LONGEST_TURN_SECONDS: Final = 20.0
# A read and a commit, both slow, and the acknowledgements.
_RESERVE_SECONDS: Final = 25.0

Remaining = Callable[[], float]
"""Seconds that the invocation has left."""

T = TypeVar("T")


@dataclass(kw_only=True)
class _Batch:
    """The messages of one invocation.

    Attributes:
        given: Those that Lambda received: it deletes them unless they are reported as failed.
        drained: Those that were received here: they must be deleted here.
        events: By message, the events that wait for a commit.
    """

    given: dict[str, Message]
    drained: dict[str, Message] = field(default_factory=dict[str, Message])
    events: dict[str, core.Event] = field(default_factory=dict[str, core.Event])
    done: set[str] = field(default_factory=set[str])

    @property
    def messages(self) -> Mapping[str, Message]:
        return {**self.drained, **self.given}

    @property
    def open(self) -> list[Message]:
        return [message for message in self.messages.values() if message.id not in self.done]


@dataclass(kw_only=True)
class _Tries:
    """What one invocation has learned from tries that came to nothing.

    Attributes:
        tags: By service, the tag of a commit whose answer may have been lost.
        seen: The branch as it was read last.
    """

    tags: dict[str, str] = field(default_factory=dict[str, str])
    seen: Snapshot | None = None


@dataclass(kw_only=True)
class Writer:
    """One track's writer.

    Attributes:
        settings: Its configuration.
        github: The GitOps repository.
        registry: The track's images.
        queue: Where events wait.
        catalogue: The declared services.
        logger: JSON lines.
        metrics: CloudWatch metrics, by log lines.
        pace: How often commits are made.
        clock: Seconds since 1970.
        sleep: Waits.
    """

    settings: Settings
    github: GitHub
    registry: Registry
    queue: Queue
    catalogue: Catalogue
    logger: Logger
    metrics: EphemeralMetrics
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    # Events

    def write(self, records: Iterable[Mapping[str, Any]], remaining: Remaining) -> list[str]:
        """Carry out the messages given, and what else waits in the queue.

        Returns:
            The ids of the messages given that must be seen again.
        """
        batch = _Batch(given={message.id: message for message in map(_message, records)})
        after_seconds = 0.0
        self._take(batch, list(batch.given.values()))
        tried = _Tries()
        self.registry.forget()
        try:
            self._persist(lambda: self._write_once(batch, tried, remaining), remaining)
        except UnavailableError as error:
            after_seconds = error.after_seconds
            self.logger.warning(
                "back to the queue", extra={"detail": str(error), "messages": len(batch.open), "after_seconds": after_seconds}
            )
        except RefusedError as error:
            # Nobody's event is at fault: they wait, and end in the redrive queue, whence they are replayed once it is mended.
            self.logger.exception("GitHub refuses this writer", extra={"detail": str(error), "messages": len(batch.open)})
            self._count("refused")
        finally:
            self._return(batch, after_seconds)
        return [identity for identity in batch.given if identity not in batch.done]

    def _write_once(self, batch: _Batch, tried: _Tries, remaining: Remaining) -> None:
        """Read everything, decide, commit."""
        self._drain(batch)
        if not batch.events:
            return
        if self._await_turn(remaining):
            # What came in the meantime is in the same commit.
            self._drain(batch)
        events = list(batch.events.values())
        declared = self.catalogue.covering({event.service for event in events})
        latest: dict[str, core.Tag] = {}
        for event in events:
            if event.service in declared:
                latest[event.service] = max(event.tag, latest.get(event.service, event.tag))
        self.registry.prefetch(latest.items())
        images, chosen, outcomes = core.elect(events, declared, self.registry.look_up)
        commits: Mapping[str, str] = {}
        if images:
            tried.seen = snapshot = self._snapshot(images, known=tried.seen)
            plan = self._plan(images, snapshot)
            plan, commits = self._commit(plan, snapshot, tried)
            outcomes += [
                replace(plan.outcomes[service], message=event.message) for service, group in chosen.items() for event in group
            ]
        self._settle(batch, outcomes, commits)

    def _drain(self, batch: _Batch) -> None:
        room = _MOST_MESSAGES - len(batch.messages)
        try:
            waiting = self.queue.drain(room) if room > 0 else []
        except aws.ERRORS as error:
            # Nothing is held back by it: what waits there is somebody else's, or another time's.
            self.logger.warning("not drained: what was given is carried out", extra={"detail": aws.described(error)})
            waiting = []
        fresh = [message for message in waiting if message.id not in batch.messages]
        batch.drained |= {message.id: message for message in fresh}
        self._take(batch, fresh)

    def _take(self, batch: _Batch, messages: Sequence[Message]) -> None:
        """Read messages; those that wait for no commit are settled at once."""
        self._count("events", len(messages))
        events, outcomes = core.read_events(messages, self.settings.repository_prefix)
        batch.events |= {event.message: event for event in events}
        self._settle(batch, outcomes, {})

    def _settle(self, batch: _Batch, outcomes: Iterable[Outcome], commits: Mapping[str, str]) -> None:
        """Record outcomes and acknowledge their messages; what cannot be given up properly is not acknowledged."""
        counted: set[str] = set()
        deletable: list[Message] = []
        for outcome in outcomes:
            message = batch.messages[outcome.message]
            if outcome.reason is Reason.FAILED:
                try:
                    self.queue.give_up(message, outcome)
                except aws.ERRORS as error:
                    self.logger.error("not given up: no room in the failure queue", extra={"detail": aws.described(error)})  # noqa: TRY400 — its text may quote the request
                    continue
            first = outcome.service not in counted
            self._record(outcome, commits.get(outcome.service, ""), repeated=outcome.reason is Reason.BUMPED and not first)
            if outcome.reason is Reason.BUMPED:
                counted.add(outcome.service)
            batch.done.add(message.id)
            batch.events.pop(message.id, None)
            if message.id in batch.drained:
                deletable.append(message)
        try:
            failed = self.queue.delete(deletable)
        except aws.ERRORS as error:
            failed = [aws.described(error)]
        if failed:
            self.logger.warning("not deleted: will be seen again, without effect", extra={"messages": len(failed)})

    def _return(self, batch: _Batch, after_seconds: float) -> None:
        """Let what is not done be seen again soon: otherwise it stays hidden for the queue's whole visibility timeout."""
        if not batch.open:
            return
        try:
            failed = self.queue.put_back(batch.open, after_seconds=after_seconds)
        except aws.ERRORS as error:
            failed = [aws.described(error)]
        if failed:
            self.logger.warning("not put back: seen again after the visibility timeout", extra={"messages": len(failed)})

    # Sweep

    def sweep(self, remaining: Remaining) -> dict[str, Any]:
        """Compare the registry with Git for every declared service; mend, scaffold, mark.

        Returns:
            What was found and done, for whoever invoked it.

        Raises:
            GitHubError: it did not come to its end; the next one goes on.
        """
        try:
            return self._sweep(remaining)
        except aws.ERRORS as error:
            # Its own text may quote the request, and Lambda logs what is raised.
            raise UnavailableError(aws.described(error)) from None

    def _sweep(self, remaining: Remaining) -> dict[str, Any]:
        self.catalogue.refresh()
        services = sorted(self.catalogue.names)
        held = self.registry.images(services)
        images: dict[str, core.Image | None] = {}
        for service in services:
            images[service], refused = core.newest(service, held[service])
            for outcome in refused:
                self._record(outcome)
        tried = _Tries()
        own = self._persist(lambda: self._mend(images, tried, remaining), remaining) if services else None
        marked = self._mark(services, held, own, remaining) if own else 0
        if marked is not None:
            self._count("swept")
        report: dict[str, object] = {"services": len(services), "marked": marked}
        self.logger.info("swept" if marked is not None else "swept in part: the next sweep goes on", extra=report)
        return report

    def _mend(self, images: Mapping[str, core.Image | None], tried: _Tries, remaining: Remaining) -> Snapshot:
        """Bring the branch to these images, in one commit; the branch as it is then."""
        self._await_turn(remaining)
        tried.seen = snapshot = self._snapshot(images, references=True, known=tried.seen)
        plan = self._plan(images, snapshot)
        plan, commits = self._commit(plan, snapshot, tried)
        for outcome in plan.outcomes.values():
            if outcome.reason not in {Reason.CURRENT, Reason.UNCHANGED, Reason.OLDER}:
                self._record(outcome, commits.get(outcome.service, ""))
        self._count("drift", sum(outcome.reason is Reason.BUMPED for outcome in plan.outcomes.values()))
        return snapshot.changed({path: text for service in commits for path, text in plan.changes.get(service, {}).items()})

    def _mark(
        self, services: Sequence[str], held: Mapping[str, Sequence[core.Found]], own: Snapshot, remaining: Remaining
    ) -> int | None:
        """Put each environment's mark on the image it references; how many moved, None when time ran out."""
        snapshots = {own.branch: own}
        layout = self.settings.layout
        references: dict[str, dict[str, core.Reference]] = {service: {} for service in services}
        for environment, branch in self.settings.environments.items():
            paths = [path for service in services for path in core.reference_paths(service, layout, environment)]
            if branch not in snapshots:
                snapshots[branch] = self.github.snapshot(branch, paths, ())
            for service in services:
                references[service][environment] = core.reference(snapshots[branch], service, layout, environment)
        moved = 0
        for service in services:
            todo, missing = core.marks(service, held[service], references[service])
            for outcome in missing:
                self._record(outcome)
            for mark in todo:
                if remaining() < _RESERVE_SECONDS:
                    return None
                if self.registry.apply(mark):
                    moved += 1
                    self.logger.info("marked", extra={"service": service, "mark": mark.name, "digest": mark.digest})
        self._count("marked", moved)
        return moved

    # Both

    @property
    def _readers(self) -> list[str]:
        """Environments that read the branch written here."""
        return [each for each, branch in self.settings.environments.items() if branch == self.settings.branch]

    def _snapshot(self, services: Iterable[str], *, references: bool = False, known: Snapshot | None = None) -> Snapshot:
        """The branch written here, with all that planning reads; on demand also with what says what the environments render."""
        layout, services = self.settings.layout, list(services)
        files, directories = core.wanted(services, layout, self._readers)
        if references:
            files += [p for each in services for reader in self._readers for p in core.reference_paths(each, layout, reader)]
        return self.github.snapshot(self.settings.branch, files, directories, ask_removed=self.settings.scaffold, known=known)

    def _plan(self, images: Mapping[str, core.Image | None], snapshot: Snapshot) -> Plan:
        return core.plan(
            images,
            snapshot,
            layout=self.settings.layout,
            environments=self._readers,
            scaffold=self._scaffold if self.settings.scaffold else None,
        )

    def _scaffold(self, service: str) -> Mapping[str, str]:
        return scaffold.files(self.catalogue.service(service), self.settings.layout)

    def _commit(self, plan: Plan, snapshot: Snapshot, tried: _Tries) -> tuple[Plan, Mapping[str, str]]:
        """Commit a plan; the plan with its true outcomes, and by service the commit that has it."""
        outcomes = dict(plan.outcomes)
        commits: dict[str, str] = {}
        for service, outcome in outcomes.items():
            if outcome.reason is Reason.CURRENT and tried.tags.get(service) == outcome.tag:
                # Our own commit of a moment ago: it was made, only its answer was lost.
                outcomes[service] = replace(outcome, reason=Reason.BUMPED, detail="found written after an answer was lost")
                commits[service] = snapshot.head
        tried.tags.update({service: outcomes[service].tag for service in plan.changes})
        refused: dict[str, str] = {}
        try:
            self._commit_some(plan, sorted(plan.changes), snapshot.head, commits, refused)
        except StaleHeadError:
            # Surely not made: who finds these tags on the branch finds somebody else's commit.
            for service in plan.changes.keys() - commits.keys():
                tried.tags.pop(service, None)
            raise
        for service, why in refused.items():
            outcomes[service] = replace(outcomes[service], reason=Reason.FAILED, detail=f"GitHub does not take the change: {why}")
        for service in plan.scaffolded:
            if service in commits:
                self._count("scaffolded")
                self.logger.info(
                    "scaffolded", extra={"service": service, "branch": self.settings.branch, "commit": commits[service]}
                )
        return replace(plan, outcomes=outcomes), commits

    def _commit_some(
        self, plan: Plan, services: Sequence[str], head: str, commits: dict[str, str], refused: dict[str, str]
    ) -> str:
        """Commit these services' changes on `head`: at once, and by halves only when GitHub finds fault with one of them."""
        if not services:
            return head
        changes = {path: text for service in services for path, text in plan.changes[service].items()}
        headline, body = _words(plan, services)
        self.pace.asked(self.clock())
        try:
            made = self.github.commit(self.settings.branch, head, changes, headline=headline, body=body)
        except RefusedError as error:
            if error.access:
                raise
            if len(services) == 1:
                refused[services[0]] = str(error)
                return head
            middle = len(services) // 2
            head = self._commit_some(plan, services[:middle], head, commits, refused)
            return self._commit_some(plan, services[middle:], head, commits, refused)
        self.pace.made(self.clock())
        commits.update(dict.fromkeys(services, made))
        return made

    def _await_turn(self, remaining: Remaining) -> bool:
        """Wait until a commit may be tried; whether that took time.

        Raises:
            UnavailableError: it would take too long.
        """
        wait = self.pace.wait(self.clock())
        if not wait:
            return False
        if wait > _LONGEST_TURN_SECONDS or remaining() - wait < _RESERVE_SECONDS:
            msg = f"GitHub is to be left alone for {wait:.0f} s yet"
            raise UnavailableError(msg, after_seconds=wait)
        self.metrics.add_metric(name="paced_seconds", unit=MetricUnit.Seconds, value=wait)
        self.sleep(wait)
        return True

    def _persist(self, step: Callable[[], T], remaining: Remaining) -> T:
        """Do a step until the branch holds still for it, or GitHub is well again; not for longer than makes sense.

        Raises:
            UnavailableError: it did not work in time.
        """
        conflicts = troubles = 0
        while True:
            try:
                return step()
            except StaleHeadError as error:
                conflicts += 1
                self._count("conflicts")
                cause = UnavailableError(f"the branch moved {conflicts} times: {error}")
                if conflicts >= _CONFLICTS:
                    raise cause from None
            except UnavailableError as error:
                troubles += 1
                cause = error
                self.pace.hold(self.clock() + error.after_seconds)
                if troubles >= _TROUBLES or error.after_seconds > _PATIENCE_SECONDS:
                    raise
            except aws.ERRORS as error:
                # botocore has retried already.
                raise UnavailableError(aws.described(error)) from None
            wait = random.uniform(0, min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** (conflicts + troubles)))  # noqa: S311 — spreads load, hides nothing
            wait += cause.after_seconds
            if remaining() - wait < _RESERVE_SECONDS:
                raise cause
            self._count("retries")
            self.logger.info("trying again", extra={"detail": str(cause), "wait_seconds": round(wait, 3)})
            self.sleep(wait)

    # Telling

    def _count(self, name: str, value: float = 1) -> None:
        if value:
            self.metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)

    def _record(self, outcome: Outcome, commit: str = "", *, repeated: bool = False) -> None:
        """One line and the counts of an outcome; `repeated` for a second event of an image that has been counted."""
        facts: dict[str, object] = {
            "service": outcome.service,
            "branch": self.settings.branch,
            "tag": outcome.tag,
            "digest": outcome.digest,
            "commit": commit,
            "reason": outcome.reason.value,
            "detail": outcome.detail,
        }
        if outcome.pinned:
            facts["pinned"] = ",".join(outcome.pinned)
        if outcome.reason is Reason.FAILED:
            self._count("failures")
            self.logger.error("failed", extra=facts)
        elif outcome.reason is Reason.BUMPED and not repeated:
            self._count("bumped")
            self._count("pinned", 1 if outcome.pinned else 0)
            if outcome.pushed_at is not None:
                seconds = max(0.0, self.clock() - outcome.pushed_at.timestamp())
                self.metrics.add_metric(name="push_to_commit_seconds", unit=MetricUnit.Seconds, value=seconds)
            self.logger.info("pinned: written beneath the pin" if outcome.pinned else "bumped", extra=facts)
        elif outcome.reason is Reason.SCAFFOLDED:
            pass  # told with the commit
        else:
            self._count("skipped")
            self._count(f"skipped_{'duplicate' if repeated else outcome.reason.value}")
            level = self.logger.warning if outcome.reason in core.SUSPICIOUS else self.logger.info
            level("skipped", extra=facts)


def _words(plan: Plan, services: Sequence[str]) -> tuple[str, str]:
    """Headline and body of a commit."""
    lines = [f"{service} {plan.outcomes[service].tag or 'scaffolded'}" for service in services]
    new = sum(service in plan.scaffolded for service in services)
    if len(services) == 1:
        return lines[0], "Scaffolded, as it had no directory." if new else ""
    what = f"Scaffold {new} services" if new == len(services) else f"Write images of {len(services)} services"
    return what, "\n".join(lines)


def _message(record: Mapping[str, Any]) -> Message:
    return Message(
        id=record["messageId"],
        handle=record["receiptHandle"],
        body=record["body"],
        receives=int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)),
    )


def make(variables: Mapping[str, str]) -> Writer:
    """A writer for the configuration in `variables`.

    Raises:
        SettingsError: the configuration cannot be worked with.
    """
    settings = read(variables)
    config = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=3, read_timeout=15)
    clients = cast("Any", boto3)
    secrets = clients.client("secretsmanager", config=config)
    app = App(
        api_url=settings.api_url,
        app_id=settings.app_id,
        installation_id=settings.installation_id,
        read_key=lambda: secrets.get_secret_value(SecretId=settings.key_secret)["SecretString"],
        pool=urllib3.PoolManager(),
    )
    name = variables.get("POWERTOOLS_SERVICE_NAME") or f"{NAMESPACE}-{settings.track}-gitops-writer"
    return Writer(
        settings=settings,
        github=GitHub(app=app, repository=settings.gitops_repository),
        registry=Registry(client=clients.client("ecr", config=config), prefix=settings.repository_prefix),
        queue=Queue(client=clients.client("sqs", config=config), url=settings.queue_url, failure_url=settings.failure_queue_url),
        catalogue=Catalogue(client=clients.client("ssm", config=config), path=settings.catalogue_path),
        logger=Logger(service=name),
        metrics=EphemeralMetrics(namespace=variables.get("POWERTOOLS_METRICS_NAMESPACE") or NAMESPACE, service=name),
    )


@cache
def _writer() -> Writer:
    """Made once a process: clients, token and catalogue outlive an invocation."""
    return make(os.environ)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 — Lambda's own object
    """Lambda's entry.

    Raises:
        ValueError: the event is neither messages nor a sweep.
    """
    writer = _writer()

    def remaining() -> float:
        return context.get_remaining_time_in_millis() / 1000

    try:
        if event.get("slipway") == "sweep":
            return writer.sweep(remaining)
        if "Records" in event:
            failed = writer.write(event["Records"], remaining)
            return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}
        msg = f'the event holds {sorted(event)}: `Records` of SQS or {{"slipway": "sweep"}} is needed'
        raise ValueError(msg)
    finally:
        if writer.metrics.metric_set:
            writer.metrics.flush_metrics()
