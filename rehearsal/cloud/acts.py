"""What happens around the declared resources: a person's bootstrap, ECR's events, the scheduler's clock."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rehearsal.cloud.emulators import Emulators
from rehearsal.cloud.row import Place

_ISSUER: Final = "https://token.actions.githubusercontent.com"
_AUDIENCE: Final = "sts.amazonaws.com"


class ActError(Exception):
    """AWS would not have done what was asked of it."""


def bootstrap(emulators: Emulators, place: Place, *, zone: str, secrets: Mapping[str, str]) -> None:
    """Do what a person does in an account before the first `up`; again is harmless.

    Args:
        emulators: Running emulators.
        place: The account and its region.
        zone: Name of the hosted zone.
        secrets: Secrets Manager secrets by name: the GitHub Apps' keys.
    """
    route53 = emulators.client("route53", place.account, place.region)
    if f"{zone}." not in {each["Name"] for each in route53.list_hosted_zones()["HostedZones"]}:
        route53.create_hosted_zone(Name=zone, CallerReference=f"bootstrap-{zone}")
    iam = emulators.client("iam", place.account, place.region)
    providers = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    if not any(each["Arn"].endswith(_ISSUER.removeprefix("https:/")) for each in providers):
        iam.create_open_id_connect_provider(Url=_ISSUER, ClientIDList=[_AUDIENCE])
    manager = emulators.client("secretsmanager", place.account, place.region)
    there = {each["Name"] for page in manager.get_paginator("list_secrets").paginate() for each in page["SecretList"]}
    for name, value in secrets.items():
        if name in there:
            manager.put_secret_value(SecretId=name, SecretString=value)
        else:
            manager.create_secret(Name=name, SecretString=value)


def publish_push(emulators: Emulators, place: Place, *, repository: str, tag: str, digest: str) -> str:
    """Emit ECR's event for a pushed image, which no emulator does by itself; answers with the event's id.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html

    Args:
        emulators: Running emulators.
        place: The repository's account and region.
        repository: Name of the repository.
        tag: The image's tag; "" for an untagged one.
        digest: Its manifest's digest, `sha256:…`.

    Raises:
        ActError: EventBridge did not take it.
    """
    detail = {
        "result": "SUCCESS",
        "repository-name": repository,
        "image-digest": digest,
        "action-type": "PUSH",
        **({"image-tag": tag} if tag else {}),
    }
    answer = emulators.client("events", place.account, place.region).put_events(
        Entries=[
            {
                "Source": "aws.ecr",
                "DetailType": "ECR Image Action",
                "Detail": json.dumps(detail),
                "Resources": [],
                "Time": datetime.now(UTC),
            }
        ]
    )
    if answer["FailedEntryCount"]:
        msg = f"EventBridge did not take the event of {repository}: {answer['Entries']}"
        raise ActError(msg)
    return str(answer["Entries"][0]["EventId"])


@dataclass(frozen=True, kw_only=True)
class Invoked:
    """What a schedule's target answered.

    Attributes:
        function: Name of the function.
        payload: Its answer.
        error: Kind of its failure, "" if there was none.
    """

    function: str
    payload: Any
    error: str


def run_schedule(emulators: Emulators, place: Place, name: str, *, group: str = "default") -> Invoked:
    """Do now what a schedule does at its time: invoke its function with its input, as its role.

    Args:
        emulators: Running emulators.
        place: The schedule's account and region.
        name: Its name.
        group: Its group.

    Raises:
        ActError: it is disabled, or its target is no function.
        botocore.exceptions.ClientError: the role may not invoke the function.
    """
    schedule = emulators.client("scheduler", place.account, place.region).get_schedule(Name=name, GroupName=group)
    target = schedule["Target"]
    if schedule["State"] != "ENABLED" or not str(target["Arn"]).startswith("arn:aws:lambda:"):
        msg = f"schedule {name} is {schedule['State']} with target {target['Arn']}: an enabled one of a function can be run"
        raise ActError(msg)
    function = str(target["Arn"]).rpartition(":function:")[2]
    answer = emulators.client_as(target["RoleArn"], "lambda", place.region, session=name).invoke(
        # By name, which ministack judges by; the ARN means the same.
        FunctionName=function,
        Payload=str(target.get("Input") or "{}").encode(),
    )
    return Invoked(function=function, payload=json.loads(answer["Payload"].read()), error=str(answer.get("FunctionError", "")))


__all__ = ["ActError", "Invoked", "bootstrap", "publish_push", "run_schedule"]
