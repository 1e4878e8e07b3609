"""A writer between a real Git host and moto's AWS: events go in, commits come out."""

import hashlib
import io
import itertools
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
import pytest
from aws_lambda_powertools import Logger
from moto import mock_aws

from functions.gitops_writer import handler
from functions.gitops_writer.handler import Writer
from rehearsal.githost import GitHost
from tests.rehearsal import githost_kit
from tests.rehearsal.githost_kit import DEV_APP, REPOSITORY, STG_APP

REGION: Final = "eu-central-1"
LONG: Final = 100.0
_NUMBERS: Final = itertools.count()


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


@dataclass(kw_only=True)
class Bench:
    """One track's writer, its world, and what it said."""

    world: githost_kit.World
    writer: Writer
    track: str
    branch: str
    log: io.StringIO
    slept: list[float] = field(default_factory=list[float])

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

    def receive(self) -> list[dict[str, Any]]:
        """Take up to ten messages, as Lambda's poller does."""
        answer = self.client("sqs").receive_message(
            QueueUrl=self.writer.settings.queue_url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
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
        failed = self.writer.write(records, lambda: remaining)
        for record in records:
            if record["messageId"] not in failed:
                self.client("sqs").delete_message(QueueUrl=self.writer.settings.queue_url, ReceiptHandle=record["receiptHandle"])
        return failed

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
        return (self.host.read(REPOSITORY, branch or self.branch, path) or b"").decode()

    def commits(self) -> list[str]:
        """The writer's commits so far, by the requests that were carried out and answered."""
        return [
            each.operation for each in self.host.requests if each.operation == "CommitImages" and not (each.errors or each.fault)
        ]

    def lines(self, message: str = "") -> list[dict[str, Any]]:
        """What was logged."""
        every = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in every if not message or line["message"] == message]

    def metric(self, name: str) -> float:
        """Sum of a metric."""
        metrics: Any = self.writer.metrics.metric_set
        return sum(metrics.get(name, {}).get("Value", []))


@cache
def _session() -> boto3.Session:
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
        patch.setattr(boto3, "DEFAULT_SESSION", _session())
        githost_kit.protect(world.host)
        sqs = aws("sqs")
        aws("secretsmanager").create_secret(Name="key", SecretString=githost_kit.key(str(app)).private_pem.decode())
        writer = handler.make(
            {
                "SLIPWAY_TRACK": track,
                "SLIPWAY_BRANCH": branch,
                "SLIPWAY_IMAGE_FILE": image_file("{service}", "overlays/dev" if develop else "base"),
                "SLIPWAY_REPOSITORY_PREFIX": f"{track}/",
                "SLIPWAY_GITOPS_REPOSITORY": REPOSITORY,
                "SLIPWAY_GITHUB_API_URL": world.host.url,
                "SLIPWAY_GITHUB_APP_ID": str(app),
                "SLIPWAY_GITHUB_INSTALLATION_ID": str(app + 1000),
                "SLIPWAY_GITHUB_KEY_SECRET": "key",
                "SLIPWAY_QUEUE_URL": sqs.create_queue(QueueName="images")["QueueUrl"],
                "SLIPWAY_FAILURE_QUEUE_URL": sqs.create_queue(QueueName="failures")["QueueUrl"],
                "SLIPWAY_CATALOGUE_PATH": f"/slipway/{track}/services/",
                "SLIPWAY_SCAFFOLD": "true" if develop else "false",
                "SLIPWAY_ENVIRONMENTS": json.dumps({"dev": "dev"} if develop else {"stg": "stg", "prd": "master"}),
            }
        )
        writer.clock = writer.github.app.clock = lambda: world.now
        log, slept = io.StringIO(), list[float]()

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            world.now += seconds

        writer.sleep = sleep
        # Powertools keeps one logger a name for ever: each bench has its own.
        writer.logger = Logger(service=f"writer-{next(_NUMBERS)}", stream=log)
        made = Bench(world=world, writer=writer, track=track, branch=branch, log=log, slept=slept)
        yield made
        writer.github.app.pool.clear()
