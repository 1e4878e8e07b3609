"""A build reporter between a real Git host, moto's queues and topic, and CodePipeline's runs."""

import io
import itertools
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
import pytest
from aws_lambda_powertools import Logger
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from moto import mock_aws
from moto.core.botocore_stubber import MockRawResponse
from moto.core.models import botocore_stubber

from components import naming
from functions.gitops_writer import reporter
from functions.gitops_writer.reporter import Reporter
from rehearsal.builds import Source
from rehearsal.builds.executions import Executions, Run
from rehearsal.githost import GitHost
from tests.functions.kit import LONG, QUOTED, REGION, aws, own, shared_session
from tests.rehearsal import githost_kit

APP: Final = 104
SERVICE_REPOSITORY: Final = "example-org/shop"
PIPELINE: Final = naming.pipeline("develop", "shop")
LOG: Final = "https://eu-central-1.console.aws.amazon.com/codesuite/codebuild/projects/slipway-develop-shop/build/1/log"
_NUMBERS: Final = itertools.count()


@dataclass(kw_only=True)
class Desk:
    """A reporter and its world.

    Attributes:
        world: The Git host.
        reporter: The reporter.
        executions: CodePipeline.
        events: CodePipeline's events so far.
        commit: A commit of the service's repository.
        log: What was logged.
        slept: What was waited.
        refusals: AWS's next answers by operation: an error's code.
        before: Called with the name of each operation of CodePipeline before it is answered.
    """

    world: githost_kit.World
    reporter: Reporter
    executions: Executions
    events: list[dict[str, Any]]
    commit: str
    log: io.StringIO
    slept: list[float] = field(default_factory=list[float])
    refusals: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    before: Callable[[str], None] = lambda _: None

    @property
    def host(self) -> GitHost:
        """The Git host."""
        return self.world.host

    def source(self, commit: str = "") -> Source:
        """What the source action hands on."""
        variables = {"FullRepositoryName": SERVICE_REPOSITORY, "CommitId": commit or self.commit, "BranchName": "develop"}
        return Source(action="Source", namespace="S", variables=variables, artifact="source", bucket="b", key="k")

    def build(self, *, error: str = "") -> Run:
        """A whole run."""
        run = self.executions.start(PIPELINE)
        self.executions.fetched(run, self.source())
        self.executions.built(run, url=LOG, error=error)
        return run

    def ours(self, *, since: int = 0) -> list[dict[str, Any]]:
        """The events that the declared rule sends: components/build_reports.py."""
        states = {"CANCELED", "FAILED", "RESUMED", "STOPPED", "SUCCEEDED", "SUPERSEDED"}
        return [each for each in self.events[since:] if each["detail"]["state"] in states]

    def deliver(self, *events: object, remaining: float = LONG) -> list[str]:
        """One invocation with these events; ids that are reported as failed. Acknowledges as Lambda does."""
        sqs, url = aws("sqs"), self.reporter.settings.queue_url
        for event in events:
            sqs.send_message(QueueUrl=url, MessageBody=event if isinstance(event, str) else json.dumps(event))
        return self.again(remaining=remaining)

    def again(self, *, remaining: float = LONG) -> list[str]:
        """One invocation with what the queue shows."""
        sqs, url = aws("sqs"), self.reporter.settings.queue_url
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])
        records = [
            {"messageId": each["MessageId"], "receiptHandle": each["ReceiptHandle"], "body": each["Body"]}
            | {"attributes": each["Attributes"]}
            for each in answer.get("Messages", [])
        ]
        end = self.world.now + remaining
        failed = self.reporter.report(records, lambda: end - self.world.now)
        for record in records:
            if record["messageId"] not in failed:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=record["receiptHandle"])
        return failed

    def hidden(self) -> int:
        """Messages that wait to be seen again."""
        name = "ApproximateNumberOfMessagesNotVisible"
        got = aws("sqs").get_queue_attributes(QueueUrl=self.reporter.settings.queue_url, AttributeNames=[name])
        return int(got["Attributes"][name])

    def failures(self) -> list[dict[str, Any]]:
        """What the failure queue holds."""
        url = self.reporter.settings.failure_queue_url
        got = aws("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [json.loads(each["Body"]) for each in got.get("Messages", [])]

    def statuses(self, commit: str = "") -> Mapping[str, Mapping[str, Any]]:
        """The commit's statuses by context, as a person sees them."""
        found = self.host.statuses(SERVICE_REPOSITORY, commit or self.commit)
        return {context: {"state": one.state, "url": one.target_url, "said": one.description} for context, one in found.items()}

    def state(self) -> str:
        """The one status of the commit."""
        (only,) = self.statuses().values()
        return str(only["state"])

    def posts(self) -> int:
        """Statuses that were set or refused."""
        return sum("/statuses/" in each.path for each in self.host.requests)

    def told(self) -> list[str]:
        """What people were told by the topic, which a queue listens to."""
        url = aws("sqs").get_queue_url(QueueName="people")["QueueUrl"]
        got = aws("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [each["Body"] for each in got.get("Messages", [])]

    def lines(self, message: str = "") -> list[dict[str, Any]]:
        """What was logged."""
        every = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in every if not message or line["message"] == message]

    def metric(self, name: str) -> float:
        """Sum of a metric."""
        metrics: Any = self.reporter.metrics.metric_set
        return sum(metrics.get(name, {}).get("Value", []))

    def leaks(self) -> list[str]:
        """Lines of the App's key, tokens, and what AWS quotes, that stand in the log."""
        secrets = {QUOTED, "Bearer ", *githost_kit.key(str(APP)).private_pem.decode().splitlines()[1:-1], *self.host.credentials}
        return sorted(each for each in secrets if each in self.log.getvalue())


@contextmanager
def desk(folder: Path, patch: pytest.MonkeyPatch, *, chat: bool = False) -> Generator[Desk]:
    """A reporter of the track `develop`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    patch.setenv("AWS_DEFAULT_REGION", REGION)
    patch.delenv("AWS_ENDPOINT_URL", raising=False)
    patch.delenv("AWS_PROFILE", raising=False)
    with mock_aws(), githost_kit.world(folder) as world:
        patch.setattr(boto3, "DEFAULT_SESSION", shared_session())
        host, sqs = world.host, aws("sqs")
        host.create_repository(SERVICE_REPOSITORY, default_branch="develop")
        commit = host.put_files(SERVICE_REPOSITORY, "develop", {"a": b"a"}, "Begin")
        host.add_app(
            APP,
            "reporter",
            githost_kit.key(str(APP)).public_pem,
            installation_id=APP + 1000,
            permissions={"statuses": "write"},
            repositories=[SERVICE_REPOSITORY],
        )
        aws("secretsmanager").create_secret(Name="key", SecretString=githost_kit.key(str(APP)).private_pem.decode())
        topic = aws("sns").create_topic(Name="alarms")["TopicArn"]
        people = sqs.create_queue(QueueName="people")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=people, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        aws("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        variables = {
            "AWS_REGION": REGION,
            "SLIPWAY_TRACK": "develop",
            "SLIPWAY_GITHUB_API_URL": host.url,
            "SLIPWAY_GITHUB_APP_ID": str(APP),
            "SLIPWAY_GITHUB_INSTALLATION_ID": str(APP + 1000),
            "SLIPWAY_GITHUB_KEY_SECRET": "key",
            "SLIPWAY_QUEUE_URL": sqs.create_queue(QueueName="builds")["QueueUrl"],
            "SLIPWAY_FAILURE_QUEUE_URL": sqs.create_queue(QueueName="failures")["QueueUrl"],
            "SLIPWAY_TOPIC_ARN": topic,
            "SLIPWAY_CHAT": "true" if chat else "false",
        }
        events: list[dict[str, Any]] = []

        def emit(kind: str, detail: Mapping[str, Any]) -> None:
            events.append({"source": "aws.codepipeline", "detail-type": kind, "region": REGION, "detail": dict(detail)})

        executions, log = Executions(emit=emit, clock=lambda: world.now), io.StringIO()
        made = Desk(world=world, reporter=reporter.make(variables), executions=executions, events=events, commit=commit, log=log)

        def sleep(seconds: float) -> None:
            made.slept.append(seconds)
            world.now += seconds

        it = made.reporter
        it.pipelines = type(it.pipelines)(client=_client(made, "codepipeline"))
        it.topic = _client(made, "sns")
        it.queue = type(it.queue)(client=_client(made, "sqs"), url=it.queue.url, failure_url=it.queue.failure_url)
        it.clock = it.app.clock = lambda: world.now
        it.sleep = sleep
        # Powertools keeps one logger a name for ever: each reporter has its own.
        it.logger = Logger(service=f"reporter-{next(_NUMBERS)}", stream=log)
        yield made
        it.app.pool.clear()
        assert not made.leaks()


def _client(desk: Desk, service: str) -> Any:  # noqa: ANN401 — boto3's clients are made at run time
    """A client whose calls are refused on demand; CodePipeline's are answered by the desk's runs, others by moto."""
    made = own(service)

    def before(event_name: str, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        if desk.refusals.get(operation):
            code = desk.refusals[operation].pop(0)
            if service == "sns":
                error = f"<ErrorResponse><Error><Code>{code}</Code><Message>{QUOTED}</Message></Error></ErrorResponse>"
                return AWSResponse("", 400, HTTPHeaders(), cast("Any", MockRawResponse(error)))
            return _answer(400, {"__type": code, "message": QUOTED})
        if service != "codepipeline":
            return botocore_stubber(event_name, request=request)
        desk.before(operation)
        return _answer(*desk.executions.answer(operation, json.loads(cast("bytes", request.body))))

    made.meta.events.unregister("before-send", botocore_stubber)
    made.meta.events.register("before-send", before)
    return made


def _answer(status: int, body: Mapping[str, Any]) -> AWSResponse:
    return AWSResponse("", status, HTTPHeaders(), cast("Any", MockRawResponse(json.dumps(body))))


__all__ = ["APP", "LOG", "PIPELINE", "SERVICE_REPOSITORY", "Desk", "desk"]
