"""Reports the builds of one track as commit statuses: what Lambda calls for messages of the builds queue."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
import urllib3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from botocore.config import Config

from . import aws, builds
from .builds import Changed, Skip, Status, Unreadable
from .core import Message, Outcome, Reason
from .github import App, RefusedError, UnavailableError, set_status
from .pace import Pace
from .pipelines import Pipelines
from .queues import Queue
from .settings import ReporterSettings, read_reporter

NAMESPACE: Final = "slipway"
# A status is posted, then the run is looked at again; a run that changes at every look is left to its next event.
_LOOKS: Final = 4
# A turn is waited for this long: in the queue each wait would count as a try.
_LONGEST_TURN_SECONDS: Final = 20.0
# Three looks and a post, all of them slow, and the acknowledgements.
_RESERVE_SECONDS: Final = 25.0

Remaining = Callable[[], float]
"""Seconds that the invocation has left."""


@dataclass(kw_only=True)
class Reporter:
    """One track's reporter.

    Attributes:
        settings: Its configuration.
        app: The GitHub App that reports.
        pipelines: The track's pipelines.
        topic: SNS, which tells people.
        queue: Where events wait.
        logger: JSON lines.
        metrics: CloudWatch metrics, by log lines.
        pace: How often statuses are set.
        clock: Seconds since 1970.
        sleep: Waits.
    """

    settings: ReporterSettings
    app: App
    pipelines: Pipelines
    topic: Any
    queue: Queue
    logger: Logger
    metrics: EphemeralMetrics
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def report(self, records: Iterable[Mapping[str, Any]], remaining: Remaining) -> list[str]:
        """Report the runs that messages are about, each run once.

        Returns:
            The ids of the messages that must be seen again.
        """
        failed: list[str] = []
        runs: dict[str, tuple[Changed, list[Message]]] = {}
        for message in map(_message, records):
            match builds.read(message, self.settings.track):
                case Changed() as changed:
                    known, messages = runs.get(changed.execution, (changed, []))
                    both = replace(known, succeeded=known.succeeded or changed.succeeded, failed=known.failed or changed.failed)
                    runs[changed.execution] = (both, [*messages, message])
                case Unreadable() as unreadable:
                    failed += self._give_up(message, "", unreadable.why)
                case skipped:
                    self._skip(skipped, {})
        for changed, messages in runs.values():
            failed += self._carry_out(changed, messages, remaining)
        return failed

    def _carry_out(self, changed: Changed, messages: list[Message], remaining: Remaining) -> list[str]:
        """Report one run; the ids of its messages that must be seen again."""
        after_seconds = 0.0
        try:
            seen = self._report(changed, remaining)
            if changed.failed:
                self._tell(changed, seen)
        except RefusedError as error:
            if not error.access:
                return [each for message in messages for each in self._give_up(message, changed.service, str(error))]
            # No event is at fault: all wait, and end in the queue `unprocessed`, whence they are replayed.
            self.logger.exception("GitHub refuses this reporter", extra={"detail": str(error), "service": changed.service})
            self._count("refused")
        except UnavailableError as error:
            after_seconds = error.after_seconds
            self.pace.hold(self.clock() + after_seconds)
            self.logger.warning("back to the queue", extra={"detail": str(error), "service": changed.service})
        except aws.ERRORS as error:
            self.logger.warning("back to the queue", extra={"detail": aws.described(error), "service": changed.service})
        else:
            return []
        self._return(messages, after_seconds)
        return [each.id for each in messages]

    def _report(self, changed: Changed, remaining: Remaining) -> Status | None:
        """Set the status that the run has now, and look again: nothing that was late must stand over what came in between.

        Returns:
            The status, None where there is none to set.
        """
        told: Status | None = None
        for _ in range(_LOOKS):
            seen = self._look(changed)
            if isinstance(seen, Skip):
                self._skip(seen, {"service": changed.service, "execution": changed.execution})
                return told
            if seen == told:
                return told
            self._await_turn(remaining)
            self.pace.asked(self.clock())
            set_status(
                self.app,
                seen.repository,
                seen.commit,
                {
                    "state": seen.state,
                    "context": seen.context,
                    "description": seen.description,
                    "target_url": seen.target_url,
                },
            )
            self.pace.made(self.clock())
            self._count(f"reported_{seen.state}")
            self.logger.info(
                "reported",
                extra={
                    "service": changed.service,
                    "repository": seen.repository,
                    "commit": seen.commit,
                    "state": seen.state,
                    "execution": changed.execution,
                },
            )
            told = seen
        return told

    def _tell(self, changed: Changed, seen: Status | None) -> None:
        """Tell people of a failed run; of one whose event comes twice they may hear twice."""
        text = builds.message(changed, self.settings.region, seen, chat=self.settings.chat)
        self.topic.publish(TopicArn=self.settings.topic_arn, Message=text)
        self._count("told")

    def _look(self, changed: Changed) -> Status | Skip:
        found = self.pipelines.look(changed.pipeline, changed.execution)
        if found is None:
            return Skip.GONE
        seen = builds.status(changed, self.settings.region, *found)
        if seen is Skip.NO_COMMIT and changed.succeeded:
            msg = "CodePipeline has no commit yet of a run whose source has succeeded"
            raise UnavailableError(msg)
        return seen

    def _await_turn(self, remaining: Remaining) -> None:
        """Wait until a status may be set.

        Raises:
            UnavailableError: it would take too long.
        """
        wait = self.pace.wait(self.clock())
        if wait > _LONGEST_TURN_SECONDS or remaining() - wait < _RESERVE_SECONDS:
            msg = f"GitHub is to be left alone for {wait:.0f} s yet, or the invocation ends"
            raise UnavailableError(msg, after_seconds=wait)
        if wait:
            self.sleep(wait)

    def _give_up(self, message: Message, service: str, why: str) -> list[str]:
        """Put a message with its reason into the failure queue; its id if that cannot be done."""
        self._count("failures")
        self.logger.error("failed", extra={"service": service, "detail": why})
        try:
            self.queue.give_up(message, Outcome(reason=Reason.FAILED, service=service, detail=why))
        except aws.ERRORS as error:
            self.logger.error("not given up: no room in the failure queue", extra={"detail": aws.described(error)})  # noqa: TRY400 — its text may quote the request
            return [message.id]
        return []

    def _return(self, messages: list[Message], after_seconds: float) -> None:
        try:
            failed = self.queue.put_back(messages, after_seconds=after_seconds)
        except aws.ERRORS as error:
            failed = [aws.described(error)]
        if failed:
            self.logger.warning("not put back: seen again after the visibility timeout", extra={"messages": len(failed)})

    def _skip(self, why: Skip, facts: Mapping[str, str]) -> None:
        self._count(f"skipped_{why.value}")
        self.logger.info("skipped", extra={**facts, "reason": why.value})

    def _count(self, name: str) -> None:
        self.metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


def _message(record: Mapping[str, Any]) -> Message:
    return Message(
        id=record["messageId"],
        handle=record["receiptHandle"],
        body=record["body"],
        receives=int(record.get("attributes", {}).get("ApproximateReceiveCount", 1)),
    )


def make(variables: Mapping[str, str]) -> Reporter:
    """A reporter for the configuration in `variables`.

    Raises:
        SettingsError: the configuration cannot be worked with.
    """
    settings = read_reporter(variables)
    config = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=3, read_timeout=15)
    clients = cast("Any", boto3)
    secrets = clients.client("secretsmanager", config=config)
    name = variables.get("POWERTOOLS_SERVICE_NAME") or f"{NAMESPACE}-{settings.track}-build-reporter"
    return Reporter(
        settings=settings,
        app=App(
            api_url=settings.api_url,
            app_id=settings.app_id,
            installation_id=settings.installation_id,
            read_key=lambda: secrets.get_secret_value(SecretId=settings.key_secret)["SecretString"],
            pool=urllib3.PoolManager(),
        ),
        topic=clients.client("sns", config=config),
        pipelines=Pipelines(client=clients.client("codepipeline", config=config)),
        queue=Queue(client=clients.client("sqs", config=config), url=settings.queue_url, failure_url=settings.failure_queue_url),
        logger=Logger(service=name),
        metrics=EphemeralMetrics(namespace=variables.get("POWERTOOLS_METRICS_NAMESPACE") or NAMESPACE, service=name),
    )


@cache
def _reporter() -> Reporter:
    """Made once a process: clients and token outlive an invocation."""
    return make(os.environ)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 — Lambda's own object
    """Lambda's entry."""
    reporter = _reporter()

    def remaining() -> float:
        return context.get_remaining_time_in_millis() / 1000

    try:
        failed = reporter.report(event["Records"], remaining)
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}
    finally:
        if reporter.metrics.metric_set:
            reporter.metrics.flush_metrics()
