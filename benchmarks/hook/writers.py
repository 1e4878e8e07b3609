"""Writers as Lambda runs them: at most two at once, each fed by a poller with ten messages, and the registry that they ask."""

import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
from aws_lambda_powertools import Logger
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto import mock_aws
from moto.ecr.models import ecr_backends

from benchmarks.hook.clock import Clock
from benchmarks.hook.host import APP, BRANCH, REPOSITORY
from benchmarks.hook.queue import Client, StandardQueue, throttled
from functions.gitops_writer import handler
from functions.gitops_writer.handler import Writer
from functions.gitops_writer.queues import Queue

REGION: Final = "eu-central-1"
PREFIX: Final = "develop/"
IMAGE_FILE: Final = "apps/{service}/overlays/dev/image/kustomization.yaml"
_ACCOUNT: Final = "123456789012"
"""moto's."""
FUNCTION_SECONDS: Final = 120.0
"""components/image_hook.py: what the function has for an invocation."""
_QUEUE, _FAILURES, _DEAD = "https://sqs/images", "https://sqs/failures", "https://sqs/unprocessed"
_CONCURRENCY, _BATCH = 2, 10
_THROTTLED: Final = ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "SendMessage", "DescribeImages")
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One run of the function: how many messages it was given, and how long it took in the world's seconds."""

    given: int
    seconds: float


@dataclass(kw_only=True)
class Hook:
    """Queue, failure queue, dead-letter queue, and the two writers between them and the Git host.

    Attributes:
        clock: Everything's.
        queue: Where events are put.
        failures: What the writers gave up.
        dead: What came too often.
        trouble: Share of invocations in which AWS throttles one kind of request (botocore's own retries have come to nothing).
        invocations: All so far.
        logs: The writers' lines.
        crashes: Invocations that ended with an error.
    """

    clock: Clock
    queue: StandardQueue
    failures: StandardQueue
    dead: StandardQueue
    trouble: float = 0.0
    invocations: list[Invocation] = field(default_factory=list[Invocation])
    logs: list[io.StringIO] = field(default_factory=list[io.StringIO])
    crashes: list[str] = field(default_factory=list[str])
    throttles: Counter[str] = field(default_factory=Counter[str])
    writers: list[Writer] = field(default_factory=list[Writer])
    _chance: random.Random = field(default_factory=lambda: random.Random(3))  # noqa: S311 — the same faults every time
    _busy: list[bool] = field(default_factory=lambda: [False] * _CONCURRENCY)
    _throttled: list[str] = field(default_factory=lambda: [""] * _CONCURRENCY)

    def meet(self, number: int, operation: str) -> None:
        """Throttle what this invocation of a writer is to be throttled in."""
        if operation == self._throttled[number]:
            self.throttles[operation] += 1
            raise throttled(operation)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nobody works."""
        return not len(self.queue) and not any(self._busy)

    def lines(self) -> list[dict[str, Any]]:
        """What the writers logged so far."""
        return [json.loads(line) for log in self.logs for line in log.getvalue().splitlines()]

    def poll(self, number: int, over: threading.Event) -> None:
        """Feed one writer until it is over."""
        client, writer = Client(queues={_QUEUE: self.queue}, trouble=lambda _: None), self.writers[number]
        while not over.is_set():
            self._busy[number] = True
            messages = client.receive_message(QueueUrl=_QUEUE, MaxNumberOfMessages=_BATCH)["Messages"]
            if not messages:
                self._busy[number] = False
                time.sleep(0.01)
                continue
            self._throttled[number] = self._chance.choice(_THROTTLED) if self._chance.random() < self.trouble else ""
            self._invoke(client, writer, messages)
        self._busy[number] = False

    def _invoke(self, client: Client, writer: Writer, messages: list[dict[str, Any]]) -> None:
        records = [
            {"messageId": each["MessageId"], "receiptHandle": each["ReceiptHandle"], "body": each["Body"]}
            | {"attributes": each["Attributes"]}
            for each in messages
        ]
        ends, began = self.clock.now() + FUNCTION_SECONDS, time.perf_counter()
        try:
            failed = set(writer.write(records, lambda: ends - self.clock.now()))
        except Exception as error:  # noqa: BLE001 — as Lambda does: the messages are seen again, and the error is counted
            self.crashes.append(repr(error))
            return
        finally:
            self.invocations.append(Invocation(given=len(records), seconds=time.perf_counter() - began))
            writer.metrics.flush_metrics()
        done = [{"Id": str(n), "ReceiptHandle": each["receiptHandle"]} for n, each in enumerate(records)]
        client.delete_message_batch(
            QueueUrl=_QUEUE,
            Entries=[each for each, record in zip(done, records, strict=True) if record["messageId"] not in failed],
        )


@contextmanager
def polled(hook: Hook) -> Generator[None]:
    """The pollers, at work."""
    over = threading.Event()
    threads = [threading.Thread(target=hook.poll, args=(number, over)) for number in range(_CONCURRENCY)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@dataclass(kw_only=True)
class Images:
    """The registry's images, put there as fast as moto can hold them.

    Attributes:
        clock: What push times are.
    """

    clock: Clock
    _client: Any = None

    def repository(self, service: str) -> None:
        """Make one."""
        self._ecr.create_repository(repositoryName=f"{PREFIX}{service}")

    def push(self, service: str, tag: str, *, at: float) -> None:
        """Put an image there, as if pushed at a time (seconds since 1970)."""
        digest = f"sha256:{random.getrandbits(256):064x}"
        manifest: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"digest": digest, "size": 1},
            "layers": [],
        }
        self._ecr.put_image(
            repositoryName=f"{PREFIX}{service}",
            imageManifest=json.dumps(manifest),
            imageManifestMediaType=_MANIFEST,
            imageTag=tag,
        )
        # moto knows no clock but the world's.
        ecr_backends[_ACCOUNT][REGION].repositories[f"{PREFIX}{service}"].images[-1].image_pushed_at = int(at)

    @property
    def _ecr(self) -> Any:  # noqa: ANN401 — boto3's clients are made at run time
        self._client = self._client or cast("Any", boto3).client("ecr", region_name=REGION)
        return self._client


def key() -> tuple[str, bytes]:
    """The App's private key and its public one, PEM."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public


@contextmanager
def hooked(clock: Clock, url: str, private_key: str) -> Generator[Hook]:
    """The writers, over moto's registry, catalogue and secrets."""
    with mock_aws():
        cast("Any", boto3).client("secretsmanager", region_name=REGION).create_secret(Name="key", SecretString=private_key)
        dead = StandardQueue(clock=clock)
        hook = Hook(clock=clock, queue=StandardQueue(clock=clock, dead=dead), failures=StandardQueue(clock=clock), dead=dead)
        for number in range(_CONCURRENCY):
            hook.writers.append(_writer(hook, url, number))
        yield hook


def _writer(hook: Hook, url: str, number: int) -> Writer:
    writer = handler.make(
        {
            "SLIPWAY_TRACK": "develop",
            "SLIPWAY_BRANCH": BRANCH,
            "SLIPWAY_IMAGE_FILE": IMAGE_FILE,
            "SLIPWAY_REPOSITORY_PREFIX": PREFIX,
            "SLIPWAY_GITOPS_REPOSITORY": REPOSITORY,
            "SLIPWAY_GITHUB_API_URL": url,
            "SLIPWAY_GITHUB_APP_ID": str(APP),
            "SLIPWAY_GITHUB_INSTALLATION_ID": str(APP),
            "SLIPWAY_GITHUB_KEY_SECRET": "key",
            "SLIPWAY_QUEUE_URL": _QUEUE,
            "SLIPWAY_FAILURE_QUEUE_URL": _FAILURES,
            "SLIPWAY_CATALOGUE_PATH": "/slipway/develop/services/",
            "SLIPWAY_SCAFFOLD": "true",
            "SLIPWAY_ENVIRONMENTS": json.dumps({"dev": "dev"}),
        }
    )
    client: Any = Client(
        queues={_QUEUE: hook.queue, _FAILURES: hook.failures}, trouble=lambda operation: hook.meet(number, operation)
    )
    writer.queue = Queue(client=client, url=_QUEUE, failure_url=_FAILURES)
    writer.clock = writer.github.app.clock = writer.catalogue.clock = hook.clock.now
    writer.sleep = hook.clock.sleep
    hook.logs.append(io.StringIO())
    writer.logger = Logger(service=f"bench-{number}-{id(hook)}", stream=hook.logs[-1])

    def describe(**_: object) -> None:
        hook.meet(number, "DescribeImages")

    cast("Any", writer.registry.client).meta.events.register("before-call.ecr.DescribeImages", describe)
    return writer


def declare(service: str) -> None:
    """Put a service into the writers' catalogue."""
    entry: Mapping[str, object] = {
        "service": service,
        "namespace": service,
        "port": 8080,
        "health_path": "/healthz",
        "images": {"dev": f"111111111111.dkr.ecr.{REGION}.amazonaws.com/{PREFIX}{service}"},
        "hosts": {},
    }
    cast("Any", boto3).client("ssm", region_name=REGION).put_parameter(
        Name=f"/slipway/develop/services/{service}", Value=json.dumps(entry), Type="String"
    )


def tag_at(seconds: float, number: int) -> str:
    """The tag of a build that began then."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%SZ}-{number:012x}"


def event(service: str, tag: str, **detail: object) -> str:
    """ECR's event, as EventBridge puts it into the queue."""
    told = {"action-type": "PUSH", "result": "SUCCESS", "repository-name": f"{PREFIX}{service}", "image-tag": tag} | detail
    return json.dumps({"source": "aws.ecr", "detail-type": "ECR Image Action", "detail": told})


Say = Callable[[str], None]

__all__ = [
    "IMAGE_FILE",
    "Hook",
    "Images",
    "Invocation",
    "Say",
    "declare",
    "event",
    "hooked",
    "key",
    "polled",
    "tag_at",
]
