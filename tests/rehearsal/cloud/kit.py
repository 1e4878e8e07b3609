"""One track's flow, declared by the real components, in an account of the test's own."""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import yaml

from components.ci_access import CiAccess, CiAccessArgs
from components.image_hook import ImageHook, ImageHookArgs, ImageRule, ImageRuleArgs
from components.registry import Registry, RegistryArgs
from components.settings import load
from rehearsal.cloud import CloudWorld, Emulators, Place, bootstrap, publish_push
from rehearsal.program import Created, Program, Request, evaluate_component, stack_config

Accounts = Iterator[str]
REGION: Final = "eu-central-1"
DIGEST: Final = f"sha256:{'1' * 64}"
TAG: Final = "20260101T000000Z-000000000001"

# Tells what it was given and how far it gets, by the one way out that its role has.
HANDLER: Final = """
import importlib.util, json, os
import boto3
from botocore.exceptions import ClientError

def attempt(call, **parameters):
    try:
        call(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "allowed"

def handler(event, context):
    env = os.environ
    sqs, ssm, ecr = boto3.client("sqs"), boto3.client("ssm"), boto3.client("ecr")
    attempts = {
        "own catalogue": attempt(ssm.get_parameters_by_path, Path=env["SLIPWAY_CATALOGUE_PATH"]),
        "other catalogue": attempt(ssm.get_parameters_by_path, Path="/slipway/release/services/"),
        "own key": attempt(boto3.client("secretsmanager").get_secret_value, SecretId=env["SLIPWAY_GITHUB_KEY_SECRET"]),
        "other key": attempt(boto3.client("secretsmanager").get_secret_value, SecretId="slipway/github-app/release"),
        "own images": attempt(ecr.describe_images, repositoryName=env["SLIPWAY_REPOSITORY_PREFIX"] + "storefront"),
        "other images": attempt(ecr.describe_images, repositoryName="release/storefront"),
        "other queue": attempt(sqs.send_message, QueueUrl=env["SLIPWAY_QUEUE_URL"], MessageBody="loop"),
        "roles": attempt(boto3.client("iam").list_roles),
    }
    records = [json.loads(each["body"]) for each in event["Records"]] if "Records" in event else [event]
    for each in records:
        told = {
            "event": each,
            "attempts": attempts,
            "caller": boto3.client("sts").get_caller_identity()["Arn"],
            "sees the project": importlib.util.find_spec("pulumi") is not None,
        }
        sqs.send_message(QueueUrl=env["SLIPWAY_FAILURE_QUEUE_URL"], MessageBody=json.dumps(told))
    return {"batchItemFailures": []} if "Records" in event else {"swept": True}
"""


def write_archives(folder: Path, handler: str = HANDLER) -> Path:
    """A folder that stands for `dist/`."""
    for architecture in ("arm64", "x86_64"):
        with zipfile.ZipFile(folder / f"gitops_writer-{architecture}.zip", "w") as archive:
            archive.writestr("gitops_writer/__init__.py", "")
            archive.writestr("gitops_writer/handler.py", handler)
    return folder


def first_up(stack: str) -> dict[str, object]:
    """Return what differs in a stack's configuration while the GitOps repository is being made: its id is not known yet.

    The repository's first files are declared only then.
    """
    gitops = yaml.safe_load(stack_config(stack)["slipway:gitops"])
    return {"slipway:gitops": {key: value for key, value in gitops.items() if key != "id"}} if gitops["owner"] == stack else {}


Change = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(kw_only=True)
class Spoiled:
    """A world in which some resources are declared otherwise: to see what that breaks.

    Attributes:
        world: The world that realises them.
        changes: What becomes of the inputs, by type and logical name.
        spoiled: Which of them there were.
    """

    world: CloudWorld
    changes: Mapping[tuple[str, str], Change]
    spoiled: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def create(self, request: Request) -> Created:
        """Make it, changed."""
        key = (request.type, request.name)
        if key in self.changes:
            self.spoiled.add(key)
            request = replace(request, inputs=self.changes[key](dict(request.inputs)))
        return self.world.create(request)

    def call(self, stack: str, token: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Answer as the world does."""
        return self.world.call(stack, token, args)


def in_policy(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], key: str = "policy") -> Change:
    """Change the statements of a declared policy."""

    def apply(inputs: dict[str, Any]) -> dict[str, Any]:
        document = json.loads(inputs[key])
        return {**inputs, key: json.dumps({**document, "Statement": change(document["Statement"])})}

    return apply


def without(sid: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Leave a statement out."""
    return lambda statements: [each for each in statements if each["Sid"] != sid]


@dataclass(kw_only=True)
class Flow:
    """The develop track with two services, realised in an account.

    Attributes:
        emulators: Where.
        place: The account.
        program: What was declared.
    """

    emulators: Emulators
    place: Place
    program: Program

    def client(self, service: str) -> Any:  # noqa: ANN401 — boto3 makes its clients' types at run time
        """A client in the account."""
        return self.emulators.client(service, self.place.account, self.place.region)

    def push(self, repository: str, tag: str = TAG) -> None:
        """An image was pushed."""
        publish_push(self.emulators, self.place, repository=repository, tag=tag, digest=DIGEST)

    def take(self, purpose: str, *, wait_seconds: int = 20) -> list[dict[str, Any]]:
        """Messages of one of the track's queues, body read, as soon as there is one."""
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=f"slipway-develop-{purpose}")["QueueUrl"]
        answer = sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=wait_seconds, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        messages = cast("list[dict[str, Any]]", answer.get("Messages", []))
        for each in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return [{**each, "Body": json.loads(each["Body"])} for each in messages]


def flow(emulators: Emulators, account: str, changes: Mapping[tuple[str, str], Change] | None = None) -> Flow:
    """Realise the develop track in `account`, with `changes` to what is declared."""
    place = Place(account=account, region=REGION)
    secrets = {f"slipway/github-app/{track}": "key" for track in ("develop", "release")}
    bootstrap(emulators, place, zone="dev.example.com", secrets=secrets)
    world = CloudWorld(emulators, places={"dev": place})
    spoiled = Spoiled(world=world, changes=changes or {})
    program = evaluate_component(_declare, config=config_in("dev", account), world=spoiled)
    assert spoiled.spoiled == set(spoiled.changes), "a change met no resource"
    return Flow(emulators=emulators, place=place, program=program)


def config_in(stack: str, account: str) -> dict[str, object]:
    """Return the configuration of `stack` with another account of its own: in names of roles and connections too."""
    own = yaml.safe_load(stack_config(stack)["slipway:environments"])[stack]["account"]
    return {key: value.replace(own, account) for key, value in stack_config(stack).items()}


def _declare() -> None:
    settings = load()
    here, track = settings.environment, settings.tracks["develop"]
    access = CiAccess("access", CiAccessArgs(account=here.account, region=here.region, settings=settings))
    hook = ImageHook(
        "develop",
        ImageHookArgs(
            track_name="develop",
            track=track,
            settings=settings,
            **access.place,
        ),
    )
    for service in ("storefront", "invoices"):
        registry = Registry(service, RegistryArgs(service=service, track="develop", lifecycle=track.lifecycle))
        ImageRule(service, ImageRuleArgs(hook=hook, registry=registry, declaration={"service": service}))
