"""A writer between a real Git host and moto's AWS: events go in, commits come out."""

import hashlib
import io
import itertools
import json
import re
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeAlias, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
import pytest
import urllib3
from aws_lambda_powertools import Logger
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse
from moto.core.models import botocore_stubber
from moto.sqs.models import sqs_backends

from functions.gitops_writer import handler
from functions.gitops_writer.handler import Writer
from rehearsal.githost import GitHost
from tests.rehearsal import githost_kit
from tests.rehearsal.githost_kit import DEV_APP, REPOSITORY, STG_APP

REGION: Final = "eu-central-1"
ACCOUNT: Final = "123456789012"  # moto's own
LONG: Final = 100.0
# As components/image_hook.py declares it.
VISIBILITY_SECONDS: Final = 720
# A refusal of AWS may quote the request; so do those made here, and whatever is written must not hold it.
QUOTED: Final = "AWS quotes the request: eyJxdW90ZWQ"
_NUMBERS: Final = itertools.count()
_OPERATION: Final = re.compile(r"(?:query|mutation) (\w+)")


@cache
def aws(service: str) -> Any:  # noqa: ANN401 — boto3's clients are made at run time
    """The boto3 client for whatever stands in for AWS; making one takes longer than most of what it is used for."""
    return own(service)


def own(service: str) -> Any:  # noqa: ANN401 — as above
    """A client of the caller's own, to be stubbed."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return cast("Any", boto3).client(service, region_name=REGION, **keys)


def entry(service: str, /, **more: object) -> dict[str, object]:
    """A catalogue entry as components/catalogue.py makes it."""
    images = {
        "dev": f"111111111111.dkr.ecr.eu-central-1.amazonaws.com/develop/{service}",
        "stg": f"222222222222.dkr.ecr.eu-central-1.amazonaws.com/release/{service}",
        "prd": f"222222222222.dkr.ecr.eu-central-1.amazonaws.com/release/{service}",
    }
    whole: dict[str, object] = {
        "service": service,
        "namespace": service,
        "port": 8080,
        "health_path": "/healthz",
        "images": images,
        "hosts": {each: f"{service}.{each}.example.com" for each in images},
    }
    return whole | more


def tag(time: datetime, commit: str = "abcdefabcdef") -> str:
    """A tag of the pipelines' form."""
    return f"{time:%Y%m%dT%H%M%SZ}-{commit}"


def ecr_event(repository: str, image_tag: str | None, digest: str = "sha256:" + "0" * 64, **detail: object) -> dict[str, Any]:
    """ECR's event as EventBridge puts it into the queue."""
    told: dict[str, object] = {
        "result": "SUCCESS",
        "repository-name": repository,
        "image-digest": digest,
        "action-type": "PUSH",
        **({"image-tag": image_tag} if image_tag is not None else {}),
    }
    return {
        "version": "0",
        "id": "13cde686-328b-6117-af20-0e5566167482",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "111111111111",
        "time": "2026-01-01T00:00:00Z",
        "region": REGION,
        "resources": [],
        "detail": told | detail,
    }


def image_file(service: str, place: str = "overlays/dev") -> str:
    """Path of a machine-written file."""
    return f"apps/{service}/{place}/image/kustomization.yaml"


def written(service: str, image_tag: str, digest: str) -> bytes:
    """A machine-written file with its image."""
    return (
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n# people's words\nimages:\n"
        f'  - name: {service}\n    newTag: "{image_tag}"\n    digest: {digest}\n'
    ).encode()


Listener: TypeAlias = Callable[[str, bool], AWSResponse | None]
"""Called before (False) and after (True) a call; what it raises the caller gets. Before a call to AWS it may answer it."""


@dataclass(kw_only=True)
class Wire:
    """What the writer's calls go over: tests listen, cut in, cut off, or answer in AWS's place.

    Attributes:
        listener: Hears of every call by its name, such as `github.CommitImages`, `github.token` or `sqs.DeleteMessageBatch`.
        called: The calls so far.
        slept: What AWS's client has waited before it tried again.
    """

    listener: Listener | None = None
    called: list[str] = field(default_factory=list[str])
    slept: list[float] = field(default_factory=list[float])

    def tell(self, name: str, *, done: bool) -> AWSResponse | None:
        """Pass a call on."""
        if not done:
            self.called.append(name)
        return self.listener(name, done) if self.listener else None

    def pool(self) -> urllib3.PoolManager:
        """What goes to GitHub."""
        return _Pool(self)

    def client(self, service: str, **options: object) -> Any:  # noqa: ANN401 — boto3's clients are made at run time
        """What goes to AWS; stands in for the session's own way to make a client."""
        made = cast("Any", shared_session()).client(service, **options)

        def before(event_name: str, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
            return self.tell(event_name.partition(".")[2], done=False) or botocore_stubber(event_name, request=request)

        def after(event_name: str, **_: object) -> None:
            self.tell(event_name.partition(".")[2], done=True)

        # All handlers are called whoever answers: moto's would carry out what is refused here.
        made.meta.events.unregister("before-send", botocore_stubber)
        made.meta.events.register("before-send", before)
        made.meta.events.register("after-call", after)
        return made

    def refuse(self, *names: str, code: str, times: float = float("inf")) -> None:
        """Let AWS answer the next calls of these names with an error."""
        left = [times]

        def listener(name: str, done: bool) -> AWSResponse | None:
            if done or name not in names or left[0] <= 0:
                return None
            left[0] -= 1
            body = json.dumps({"__type": code, "message": QUOTED})
            return AWSResponse("", 400, HTTPHeaders(), cast("Any", MockRawResponse(body)))

        self.listener = listener


class _Pool(urllib3.PoolManager):
    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def urlopen(self, method: str, url: str, redirect: bool = True, **more: Any) -> urllib3.BaseHTTPResponse:  # noqa: ANN401, FBT002 — urllib3's signature
        found = _OPERATION.search(bytes(more.get("body") or b"").decode())
        name = f"github.{found[1] if found else 'token'}"
        self._wire.tell(name, done=False)
        answer = super().urlopen(method, url, redirect, **more)
        self._wire.tell(name, done=True)
        return answer


@dataclass(kw_only=True)
class Bench:
    """One track's writer, its world, and what it said.

    Attributes:
        world: The Git host.
        writer: The writer.
        track: Its track.
        branch: Its branch.
        log: What it logged.
        slept: What it waited; the world's clock went on by as much.
        wire: What its calls go over.
        make: Makes another writer of the same track, as a cold start does: nothing is remembered.
    """

    world: githost_kit.World
    writer: Writer
    track: str
    branch: str
    log: io.StringIO
    make: Callable[[], Writer]
    slept: list[float] = field(default_factory=list[float])
    wire: Wire = field(default_factory=Wire)

    @property
    def host(self) -> GitHost:
        """The Git host."""
        return self.world.host

    def client(self, service: str) -> Any:  # noqa: ANN401 — boto3's clients are made at run time
        """A boto3 client."""
        return aws(service)

    def time(self, seconds: float = 0) -> datetime:
        """A moment before now."""
        return datetime.fromtimestamp(int(self.world.now), UTC) - timedelta(seconds=seconds)

    def declare(self, service: str, **more: object) -> None:
        """Put a service into the catalogue, and make its repository."""
        self.client("ssm").put_parameter(
            Name=f"/slipway/{self.track}/services/{service}", Value=json.dumps(entry(service, **more)), Type="String"
        )
        self.client("ecr").create_repository(repositoryName=f"{self.track}/{service}")

    def push(self, service: str, image_tag: str) -> str:
        """Put an image into the registry; its digest."""
        # moto makes an image's digest from its layers'.
        content = "sha256:" + hashlib.sha256(f"{service} {image_tag}".encode()).hexdigest()
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 1, "digest": content}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 1, "digest": "sha256:" + "2" * 64},
            "layers": [layer],
        }
        answer = self.client("ecr").put_image(
            repositoryName=f"{self.track}/{service}",
            imageManifest=json.dumps(manifest),
            imageManifestMediaType=manifest["mediaType"],
            imageTag=image_tag,
        )
        return str(answer["image"]["imageId"]["imageDigest"])

    def send(self, *events: object) -> None:
        """Put messages into the queue."""
        for event in events:
            body = event if isinstance(event, str) else json.dumps(event)
            self.client("sqs").send_message(QueueUrl=self.writer.settings.queue_url, MessageBody=body)

    def receive(self, most: int = 10) -> list[dict[str, Any]]:
        """Take up to ten messages, as Lambda's poller does."""
        answer = self.client("sqs").receive_message(
            QueueUrl=self.writer.settings.queue_url, MaxNumberOfMessages=most, MessageSystemAttributeNames=["All"]
        )
        return [
            {"messageId": each["MessageId"], "receiptHandle": each["ReceiptHandle"], "body": each["Body"]}
            | {"attributes": each["Attributes"]}
            for each in answer.get("Messages", [])
        ]

    def run(self, *events: object, remaining: float = LONG) -> list[str]:
        """Send events, and carry out one invocation for the first ten of what waits; the ids reported as failed."""
        self.send(*events)
        records = self.receive()
        failed = self.writer.write(records, self.until(remaining))
        self.acknowledge(records, failed)
        return failed

    def until(self, seconds: float) -> Callable[[], float]:
        """What is left of so many seconds of the world's clock."""
        end = self.world.now + seconds
        return lambda: end - self.world.now

    def acknowledge(self, records: Iterable[Mapping[str, Any]], failed: Sequence[str] = ()) -> None:
        """Delete messages as Lambda does: those that were not reported as failed."""
        for record in records:
            if record["messageId"] not in failed:
                self.client("sqs").delete_message(QueueUrl=self.writer.settings.queue_url, ReceiptHandle=record["receiptHandle"])

    def hidden(self) -> list[float]:
        """For each message in the queue, the seconds until it is seen again, at least 0; the least first."""
        queue = cast("Any", sqs_backends[ACCOUNT][REGION]).get_queue("images")
        return sorted(max(0.0, message.visible_at / 1000 - self.world.now) for message in queue._messages)  # noqa: SLF001 — no API tells

    def waiting(self) -> tuple[int, int]:
        """Messages in the queue: visible, and hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self.client("sqs").get_queue_attributes(QueueUrl=self.writer.settings.queue_url, AttributeNames=names)
        return int(got["Attributes"][names[0]]), int(got["Attributes"][names[1]])

    def failures(self) -> list[dict[str, Any]]:
        """What the failure queue holds."""
        got = self.client("sqs").receive_message(
            QueueUrl=self.writer.settings.failure_queue_url, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return [json.loads(each["Body"]) for each in got.get("Messages", [])]

    def put(self, files: Mapping[str, bytes | None], branch: str = "") -> str:
        """A person's commit."""
        return self.host.put_files(REPOSITORY, branch or self.branch, files, "By hand", author="alice")

    def read(self, path: str, branch: str = "") -> str:
        """A file at the tip of the branch; "" where there is none."""
        return (self.host.read(REPOSITORY, branch or self.branch, path) or b"").decode(errors="replace")

    def commits(self) -> list[str]:
        """The writer's commits so far, by the requests that were carried out and answered."""
        return [
            each.operation for each in self.host.requests if each.operation == "CommitImages" and not (each.errors or each.fault)
        ]

    def leaks(self, *outputs: str) -> list[str]:
        """What of secrets stands in outputs: the App's key, tokens and assertions, also in part, and what AWS quotes."""
        secrets = {QUOTED, "Bearer "}
        for app in (DEV_APP, STG_APP):
            # A line is the least of a key that could be of use.
            secrets |= set(githost_kit.key(str(app)).private_pem.decode().splitlines()[1:-1])
        for credential in self.host.credentials:
            secrets |= {credential, *(part for part in credential.split(".") if part)}
        return sorted(secret for secret in secrets if any(secret in output for output in outputs))

    def lines(self, message: str = "") -> list[dict[str, Any]]:
        """What was logged."""
        every = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in every if not message or line["message"] == message]

    def metric(self, name: str) -> float:
        """Sum of a metric."""
        metrics: Any = self.writer.metrics.metric_set
        return sum(metrics.get(name, {}).get("Value", []))


def _one_at_a_time(carry_out: Callable[..., Any]) -> Callable[..., Any]:
    lock = threading.Lock()

    def locked(*arguments: Any) -> Any:  # noqa: ANN401 — moto's own
        with lock:
            return carry_out(*arguments)

    return locked


@cache
def shared_session() -> boto3.Session:
    """Reads the services' models once for all tests, which takes most of a client's making."""
    return boto3.Session(region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")


@contextmanager
def bench(folder: Path, patch: pytest.MonkeyPatch, *, track: str = "develop") -> Generator[Bench]:
    """A writer of `track`, over a Git host with branch rules and a moto of its own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    patch.setenv("AWS_DEFAULT_REGION", REGION)
    patch.delenv("AWS_ENDPOINT_URL", raising=False)
    patch.delenv("AWS_PROFILE", raising=False)
    develop = track == "develop"
    branch, app = ("dev", DEV_APP) if develop else ("stg", STG_APP)
    with mock_aws(), githost_kit.world(folder) as world:
        # Reading the services' models takes most of a client's making: one session reads them for all tests.
        patch.setattr(boto3, "DEFAULT_SESSION", shared_session())
        # Queues go by the world's clock; of two moments the later one is later, also while that stands still.
        ticks = itertools.count(1)
        patch.setattr("moto.sqs.models.unix_time_millis", lambda: world.now * 1000 + next(ticks) / 1000)
        wire, log, slept = Wire(), io.StringIO(), list[float]()
        patch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=wire.slept.append))
        # moto keeps its queues in plain lists: of two writers at once each would lose what the other does.
        patch.setattr(BotocoreStubber, "process_request", _one_at_a_time(BotocoreStubber.process_request))
        githost_kit.protect(world.host)
        sqs = aws("sqs")
        aws("secretsmanager").create_secret(Name="key", SecretString=githost_kit.key(str(app)).private_pem.decode())
        variables = {
            "SLIPWAY_TRACK": track,
            "SLIPWAY_BRANCH": branch,
            "SLIPWAY_IMAGE_FILE": image_file("{service}", "overlays/dev" if develop else "base"),
            "SLIPWAY_REPOSITORY_PREFIX": f"{track}/",
            "SLIPWAY_GITOPS_REPOSITORY": REPOSITORY,
            "SLIPWAY_GITHUB_API_URL": world.host.url,
            "SLIPWAY_GITHUB_APP_ID": str(app),
            "SLIPWAY_GITHUB_INSTALLATION_ID": str(app + 1000),
            "SLIPWAY_GITHUB_KEY_SECRET": "key",
            "SLIPWAY_QUEUE_URL": sqs.create_queue(QueueName="images", Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)})[
                "QueueUrl"
            ],
            "SLIPWAY_FAILURE_QUEUE_URL": sqs.create_queue(QueueName="failures")["QueueUrl"],
            "SLIPWAY_CATALOGUE_PATH": f"/slipway/{track}/services/",
            "SLIPWAY_SCAFFOLD": "true" if develop else "false",
            "SLIPWAY_ENVIRONMENTS": json.dumps({"dev": "dev"} if develop else {"stg": "stg", "prd": "master"}),
        }

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            world.now += seconds

        def make() -> Writer:
            with pytest.MonkeyPatch.context() as session:
                session.setattr(boto3, "DEFAULT_SESSION", wire)
                writer = handler.make(variables)
            writer.github.app.pool = wire.pool()
            writer.clock = writer.github.app.clock = lambda: world.now
            writer.sleep = sleep
            # Powertools keeps one logger a name for ever: each writer has its own.
            writer.logger = Logger(service=f"writer-{next(_NUMBERS)}", stream=log)
            return writer

        made = Bench(world=world, writer=make(), track=track, branch=branch, log=log, make=make, slept=slept, wire=wire)
        yield made
        made.writer.github.app.pool.clear()
        assert not made.leaks(log.getvalue())
