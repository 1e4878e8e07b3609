"""The account at hand: its settings, its clients, and how to find what bootstrap makes in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from botocore.exceptions import ClientError

from components import naming
from components.settings import Settings

STATE_KEY_ALIAS: Final = f"alias/{naming.PROJECT}-state"


class BootstrapError(Exception):
    """It must not go on. Each line reads: what, got; allowed; fix."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change that is due.

    Attributes:
        text: What it does, for people.
        do: Does it.
    """

    text: str
    do: Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Place:
    """The account at hand.

    Attributes:
        settings: The stack's settings.
        session: A boto3 session with a person's credentials.
        puts: File by purpose of a secret, whose content is to be put into it.
        clients: Those made so far, by service.
    """

    settings: Settings
    session: Any
    puts: Mapping[str, Path]
    clients: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def account(self) -> str:
        """The account that is meant."""
        return self.settings.environment.account

    @property
    def region(self) -> str:
        """Its region."""
        return self.settings.environment.region

    @property
    def bucket(self) -> str:
        """The state bucket, as components/ci_access.py names it."""
        return naming.bucket("state", self.account, self.region)

    def client(self, service: str) -> Any:  # noqa: ANN401 — boto3 makes its clients at run time
        """A client of one service in the stack's region."""
        if service not in self.clients:
            self.clients[service] = self.session.client(service, region_name=self.region)
        return self.clients[service]


def check_caller(place: Place) -> None:
    """Make sure, before anything else, that the credentials are the right account's.

    Raises:
        BootstrapError: they are another's.
    """
    caller = place.client("sts").get_caller_identity()
    if caller["Account"] != place.account:
        msg = (
            f"The AWS credentials belong to account {caller['Account']} ({caller['Arn']}): stack {place.settings.stack} is "
            f"allowed in account {place.account} only. Take that account's credentials, or name the right stack."
        )
        raise BootstrapError(msg)


def find_key(place: Place) -> str | None:
    """Return the ARN of the state's key, None where there is none."""
    kms = place.client("kms")
    try:
        found = kms.describe_key(KeyId=STATE_KEY_ALIAS)["KeyMetadata"]
    except ClientError as error:
        if error_code(error) == "NotFoundException":
            return None
        raise
    if found["KeyState"] != "Enabled":
        msg = (
            f"KMS key {STATE_KEY_ALIAS} is {found['KeyState']}: Enabled is allowed, or state and secrets cannot be read. Cancel "
            "its deletion or enable it, and run again."
        )
        raise BootstrapError(msg)
    return found["Arn"]


def bucket_exists(place: Place, s3: Any) -> bool:  # noqa: ANN401 — a boto3 client
    """Return whether the state bucket exists and is this account's."""
    try:
        s3.head_bucket(Bucket=place.bucket, ExpectedBucketOwner=place.account)
    except ClientError as error:
        if error_code(error) == "404":
            return False
        if error_code(error) == "403":
            msg = (
                f"Bucket {place.bucket} is there and not to be reached (403): one that account {place.account} owns is allowed. "
                "Look whose it is; if it is another account's, state must not go there."
            )
            raise BootstrapError(msg) from None
        raise
    return True


def find_zone(place: Place) -> str | None:
    """Return the id of the environment's public zone, None where there is none."""
    name = f"{place.settings.environment.zone}."
    listed = place.client("route53").list_hosted_zones_by_name(DNSName=name)["HostedZones"]
    found = [each["Id"] for each in listed if each["Name"] == name and not each["Config"]["PrivateZone"]]
    if len(found) > 1:
        msg = f"Public zones named {name} are {', '.join(found)}: one is allowed. Delete those that the parent does not name."
        raise BootstrapError(msg)
    return found[0] if found else None


def secret_exists(client: Any, name: str) -> bool:  # noqa: ANN401 — a boto3 client
    """Return whether a secret exists."""
    try:
        found = client.describe_secret(SecretId=name)
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return False
        raise
    if found.get("DeletedDate"):
        msg = f"Secret {name} is to be deleted: one in use is allowed. Run: aws secretsmanager restore-secret --secret-id {name}"
        raise BootstrapError(msg)
    return True


def secret_value(client: Any, name: str) -> str | None:  # noqa: ANN401 — a boto3 client
    """Return a secret's value, None where it is empty."""
    try:
        return client.get_secret_value(SecretId=name).get("SecretString")
    except ClientError as error:
        # Nothing has been put there yet.
        if error_code(error) == "ResourceNotFoundException":
            return None
        raise


def error_code(error: ClientError) -> str:
    """Return AWS's code of an error."""
    return str(cast("Any", error).response["Error"]["Code"])
