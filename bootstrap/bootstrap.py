"""What an account needs before the first `pulumi up`, made by a person with administrator's credentials.

State bucket and its key, GitHub's OIDC provider, the environment's hosted zone, and empty secrets for the keys that are
never Pulumi's. Everything is read first and only what differs is changed: run it as often as you like. Without `--apply`
it changes nothing and says what it would do.
"""

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from components import iam, naming
from components.ci_access import AUDIENCE, ISSUER
from components.settings import Settings, SettingsError
from components.settings import read_settings as settings_of

ROOT: Final = Path(__file__).resolve().parent.parent
STATE_KEY_ALIAS: Final = f"alias/{naming.PROJECT}-state"
# Every step of an update writes the whole checkpoint: versions pile up, and three months of them are enough to go back.
_OLD_VERSIONS_DAYS: Final = 90
# https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html: what AWS's own default lets the account's
# IAM decide, by name. Without PutKeyPolicy here nobody could ever change the key again.
_KEY_ACTIONS: Final = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
_STATE_ACTIONS: Final = (
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:PutObject",
)
_CLOSED: Final = {
    "BlockPublicAcls": True,
    "BlockPublicPolicy": True,
    "IgnorePublicAcls": True,
    "RestrictPublicBuckets": True,
}


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


def read_settings(stack: str, root: Path = ROOT) -> Settings:
    """Return the settings of `stack`, checked as the program checks them.

    Raises:
        SettingsError: there is no such file, it does not parse, or a setting is missing, unknown or wrong.
    """
    return settings_of(stack, root)


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


def state_key(place: Place) -> Iterator[Step]:
    """The key of the state: of the bucket's objects, and of the secrets inside them (`awskms://`)."""
    kms = place.client("kms")
    wanted = _document(key_statements(place.settings))
    key = _find_key(place)
    if key is None:

        def make() -> None:
            made = kms.create_key(Description=f"State of {naming.PROJECT} and its secrets", Policy=wanted)["KeyMetadata"]["KeyId"]
            kms.enable_key_rotation(KeyId=made)
            kms.create_alias(AliasName=STATE_KEY_ALIAS, TargetKeyId=made)

        yield Step(text=f"make KMS key {STATE_KEY_ALIAS}, rotated every year", do=make)
        return
    if not kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]:
        yield Step(text=f"rotate KMS key {STATE_KEY_ALIAS} every year", do=lambda: kms.enable_key_rotation(KeyId=key))
    if not same_policy(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"], wanted):
        yield Step(
            text=f"set the policy of KMS key {STATE_KEY_ALIAS}",
            do=lambda: kms.put_key_policy(KeyId=key, PolicyName="default", Policy=wanted),
        )


def key_statements(settings: Settings) -> Sequence[iam.Statement]:
    """The account's IAM decides, as by AWS's default; and the preview role decrypts, without which it reads no state."""
    account = settings.environment.account
    return [
        iam.grant("ByIdentityPolicies", to={"AWS": iam.account_root(account)}, actions=_KEY_ACTIONS, resources=["*"]),
        iam.grant(
            "PreviewsReadState",
            # By condition: a key's policy refuses a principal that does not exist yet, and the first `pulumi up` makes the role.
            to={"AWS": "*"},
            actions=["kms:Decrypt"],
            resources=["*"],
            conditions={
                "StringEquals": {
                    "aws:PrincipalArn": f"arn:aws:iam::{account}:role/{naming.role(settings.stack, 'preview')}",
                    "kms:CallerAccount": account,
                }
            },
        ),
    ]


def state_bucket(place: Place) -> Iterator[Step]:
    """The bucket of Pulumi's state: versioned, encrypted with the key above, over TLS only, closed to the public."""
    s3, key = place.client("s3"), _find_key(place)
    # Names of buckets are world-wide: if somebody else has this one, every call says so instead of trusting it.
    ours = {"Bucket": place.bucket, "ExpectedBucketOwner": place.account}
    exists = _bucket_exists(place, s3)
    if not exists:
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html: us-east-1 is said by saying nothing
        where = {} if place.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": place.region}}
        yield Step(text=f"make bucket {place.bucket}", do=lambda: s3.create_bucket(Bucket=place.bucket, **where))
    if not exists or s3.get_bucket_versioning(**ours).get("Status") != "Enabled":
        yield Step(
            text="keep every version of the state",
            do=lambda: s3.put_bucket_versioning(**ours, VersioningConfiguration={"Status": "Enabled"}),
        )

    def rules(arn: str | None) -> dict[str, Any]:
        encryption = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}
        return {"Rules": [{"ApplyServerSideEncryptionByDefault": encryption, "BucketKeyEnabled": True}]}

    have: dict[str, Any] = s3.get_bucket_encryption(**ours)["ServerSideEncryptionConfiguration"]["Rules"][0] if exists else {}
    if key is None or not _within(rules(key)["Rules"][0], have):
        yield Step(
            text=f"encrypt the state with {STATE_KEY_ALIAS}",
            do=lambda: s3.put_bucket_encryption(**ours, ServerSideEncryptionConfiguration=rules(_find_key(place))),
        )
    if not exists or _or_none(s3.get_public_access_block, "PublicAccessBlockConfiguration", ours) != _CLOSED:
        yield Step(
            text="close the bucket to the public",
            do=lambda: s3.put_public_access_block(**ours, PublicAccessBlockConfiguration=_CLOSED),
        )
    arn = f"arn:aws:s3:::{place.bucket}"
    policy = _document([iam.deny_plain_http("TlsOnly", actions=_STATE_ACTIONS, resources=[arn, f"{arn}/*"])])
    if not exists or not same_policy(_or_none(s3.get_bucket_policy, "Policy", ours), policy):
        yield Step(text="refuse plain HTTP", do=lambda: s3.put_bucket_policy(**ours, Policy=policy))
    lifecycle = [
        {
            "ID": "old-versions",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": _OLD_VERSIONS_DAYS},
        }
    ]
    if not exists or _or_none(s3.get_bucket_lifecycle_configuration, "Rules", ours) != lifecycle:
        yield Step(
            text=f"drop versions that were replaced {_OLD_VERSIONS_DAYS} days ago",
            do=lambda: s3.put_bucket_lifecycle_configuration(**ours, LifecycleConfiguration={"Rules": lifecycle}),
        )


def oidc_provider(place: Place) -> Iterator[Step]:
    """GitHub as identity provider: an account has one, so what is there is kept and only completed."""
    identities = place.client("iam")
    arn = f"arn:aws:iam::{place.account}:oidc-provider/{ISSUER}"
    if arn not in [each["Arn"] for each in identities.list_open_id_connect_providers()["OpenIDConnectProviderList"]]:
        yield Step(
            text=f"make OIDC provider {ISSUER}",
            # AWS knows the issuer's certificate: no thumbprint is needed.
            # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc_verify-thumbprint.html
            do=lambda: identities.create_open_id_connect_provider(Url=f"https://{ISSUER}", ClientIDList=[AUDIENCE]),
        )
    elif AUDIENCE not in identities.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"]:
        yield Step(
            text=f"let tokens for {AUDIENCE} in at OIDC provider {ISSUER}",
            do=lambda: identities.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=AUDIENCE),
        )


def hosted_zone(place: Place) -> Iterator[Step]:
    """The environment's public zone; a tooling stack has no names and needs none."""
    zone = place.settings.environment.zone
    if place.settings.network is not None and _find_zone(place) is None:
        yield Step(
            text=f"make hosted zone {zone}",
            do=lambda: place.client("route53").create_hosted_zone(
                Name=zone,
                CallerReference=str(uuid.uuid4()),
                HostedZoneConfig={"Comment": f"Environment {place.settings.stack}; made by bootstrap", "PrivateZone": False},
            ),
        )


def delegation(place: Place) -> Sequence[str]:
    """The records that the parent zone must hold; none while there is no zone."""
    found = _find_zone(place) if place.settings.network is not None else None
    if found is None:
        return []
    servers = place.client("route53").get_hosted_zone(Id=found)["DelegationSet"]["NameServers"]
    return [f"{place.settings.environment.zone}. 3600 IN NS {server}." for server in sorted(servers)]


def secret_names(settings: Settings) -> Mapping[str, str]:
    """Secret by purpose, of those that people fill: writers' keys where tracks are hosted, Argo CD's where clusters are.

    Raises:
        BootstrapError: a track has the name of another purpose.
    """
    argocd = ["reader"] if settings.clusters else []
    argocd += ["ui"] if settings.argocd.ui else []
    if taken := sorted(set(argocd) & set(settings.hosted_tracks)):
        msg = f"tracks is {', '.join(taken)}: any name but reader and ui is allowed, which are Argo CD's. Rename the track."
        raise BootstrapError(msg)
    return {
        **{track: naming.app_key_secret(track) for track in settings.hosted_tracks},
        **{purpose: naming.argocd_secret(purpose) for purpose in argocd},
    }


def secrets(place: Place) -> Iterator[Step]:
    """Empty secrets, and the content of the files that were given."""
    client, names = place.client("secretsmanager"), secret_names(place.settings)
    if unknown := sorted(set(place.puts) - set(names)):
        known = ", ".join(names) or "none, in this stack"
        msg = f"--put-key is for {', '.join(unknown)}: one of {known} is allowed. Correct the name, or the stack."
        raise BootstrapError(msg)
    for purpose, name in names.items():
        exists = _secret_exists(client, name)
        if not exists:
            description = f"{purpose}: put there by a person, read by {'Argo CD' if '/argocd/' in name else 'the writer'}"
            yield Step(
                text=f"make empty secret {name}",
                do=lambda name=name, description=description: client.create_secret(Name=name, Description=description),
            )
        if purpose not in place.puts:
            continue
        content = read_key(place.puts[purpose], pem=purpose != "ui")
        if not exists or _secret_value(client, name) != content:
            yield Step(
                text=f"put {place.puts[purpose].name} into secret {name}",
                do=lambda name=name, content=content: client.put_secret_value(SecretId=name, SecretString=content),
            )


def read_key(path: Path, *, pem: bool) -> str:
    """The content of a key's file, looked at before it goes anywhere. No error ever quotes it.

    Args:
        path: The file.
        pem: Whether it must be an App's private key; otherwise it is one line, an OAuth App's client secret.

    Raises:
        BootstrapError: it cannot be read, or is something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"--put-key names {path}, which cannot be read ({type(error).__name__}): a text file is allowed. Correct the path."
        raise BootstrapError(msg) from None
    if pem:
        try:
            key = load_pem_private_key(text.encode(), password=None)
        except (TypeError, ValueError):
            key = None
        if not isinstance(key, RSAPrivateKey):
            msg = (
                f"--put-key names {path}, which holds no unencrypted RSA private key: the PEM file that GitHub gives for an App "
                "is allowed. Make a key on the App's page and name its file."
            )
            raise BootstrapError(msg)
        return text
    if len(lines := text.split()) != 1 or "PRIVATE KEY" in text:
        msg = (
            f"--put-key names {path} with {len(lines)} words: one, the client secret of the OAuth App, is allowed. Correct the "
            "file."
        )
        raise BootstrapError(msg)
    return lines[0]


PARTS: Final[Sequence[Callable[[Place], Iterator[Step]]]] = (state_key, state_bucket, oidc_provider, hosted_zone, secrets)


def run(place: Place, *, apply: bool, say: Callable[[str], None]) -> int:
    """Go through the parts; how many changes were due.

    Raises:
        BootstrapError: it must not go on.
    """
    check_caller(place)
    secret_names(place.settings)
    due = 0
    for part in PARTS:
        # A part is read whole before it is changed, and after the parts before it were.
        for step in list(part(place)):
            due += 1
            say(f"{'' if apply else 'would '}{step.text}")
            if apply:
                step.do()
    return due


def _next_steps(place: Place) -> Iterator[str]:
    stack, region = place.settings.stack, place.region
    if records := delegation(place):
        yield f"Records for the parent zone of {place.settings.environment.zone} (certificates wait for ever without them):"
        yield from (f"  {record}" for record in records)
    client = place.client("secretsmanager")
    names = secret_names(place.settings)
    if empty := [name for name in names.values() if not _secret_exists(client, name) or _secret_value(client, name) is None]:
        purposes = [purpose for purpose, name in names.items() if name in empty]
        yield f"Still empty: {', '.join(empty)}. Fill them: --put-key {purposes[0]}=FILE --apply"
    yield "Then, with these very credentials, for the roles of GitHub Actions are made by the first `pulumi up` itself:"
    yield f"  pulumi login 's3://{place.bucket}?region={region}'"
    yield f"  pulumi stack init {stack} --secrets-provider='awskms://{STATE_KEY_ALIAS}?region={region}'"
    yield f"  pulumi up --stack {stack}"


def main(arguments: Sequence[str] | None = None, *, session: Any = None, root: Path = ROOT) -> int:  # noqa: ANN401 — boto3.Session
    """Run it; 0 when all is well, 1 when it refuses or AWS does."""
    asked = _parser().parse_args(arguments)
    try:
        settings = read_settings(asked.stack, root)
        place = Place(
            settings=settings,
            session=session or cast("Any", boto3).Session(),
            puts=dict(asked.put_key),
        )
        due = run(place, apply=asked.apply, say=_say)
        if not due:
            _say("Nothing to do: the account is as it should be.")
        elif not asked.apply:
            _say(f"{due} changes, none made. With --apply they are made.")
        _say("\n".join(_next_steps(place)))
    except (BootstrapError, SettingsError) as error:
        _say(f"bootstrap: {error}", sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        text = (
            f"bootstrap: AWS says: {error} An administrator of the account is allowed to do all of it. Take such credentials "
            "(AWS_PROFILE) and run it again: what was made stays and is not made twice."
        )
        _say(text, sys.stderr)
        return 1
    return 0


def _say(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bootstrap", description=__doc__)
    parser.add_argument("--stack", required=True, help="stack whose account is prepared: dev, stg, prd")
    parser.add_argument("--apply", action="store_true", help="make the changes; without it they are only named")
    put = parser.add_argument("--put-key", action="append", type=_put, default=[], metavar="PURPOSE=FILE")
    put.help = "put a file into a secret: develop=app.private-key.pem, reader=…, ui=… (may be repeated)"
    return parser


def _put(text: str) -> tuple[str, Path]:
    purpose, separator, path = text.partition("=")
    if not (purpose and separator and path):
        # What was given is not quoted: it might be the key itself.
        msg = "it is not of the form PURPOSE=FILE: a purpose and a path are allowed. Name the file, never its content"
        raise argparse.ArgumentTypeError(msg)
    return purpose, Path(path)


def _document(statements: Sequence[iam.Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def same_policy(have: str | None, wanted: str) -> bool:
    """Whether two policies say the same: AWS turns lists of one into strings and orders lists as it likes."""
    return have is not None and _normal(json.loads(have)) == _normal(json.loads(wanted))


def _normal(value: Any) -> Any:  # noqa: ANN401 — any part of a policy
    if isinstance(value, Mapping):
        return {key: _normal(each) for key, each in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        items = [_normal(each) for each in cast("list[Any]", value)]
        return items[0] if len(items) == 1 else sorted(items, key=json.dumps)
    return value


def _within(wanted: Mapping[str, Any], have: Mapping[str, Any]) -> bool:
    """Whether all of `wanted` is in `have`, which may say more: AWS adds fields of its own over the years."""
    return all(
        _within(cast("Mapping[str, Any]", value), have.get(key) or {}) if isinstance(value, Mapping) else have.get(key) == value
        for key, value in wanted.items()
    )


def _or_none(call: Callable[..., Any], field: str, arguments: Mapping[str, str]) -> Any:  # noqa: ANN401 — what S3 answers
    """A part of a bucket's configuration; None when it has none, which S3 says by an error."""
    try:
        return call(**arguments)[field]
    except ClientError as error:
        if _code(error).startswith("NoSuch"):
            return None
        raise


def _find_key(place: Place) -> str | None:
    kms = place.client("kms")
    try:
        found = kms.describe_key(KeyId=STATE_KEY_ALIAS)["KeyMetadata"]
    except ClientError as error:
        if _code(error) == "NotFoundException":
            return None
        raise
    if found["KeyState"] != "Enabled":
        msg = (
            f"KMS key {STATE_KEY_ALIAS} is {found['KeyState']}: Enabled is allowed, or state and secrets cannot be read. Cancel "
            "its deletion or enable it, and run again."
        )
        raise BootstrapError(msg)
    return found["Arn"]


def _bucket_exists(place: Place, s3: Any) -> bool:  # noqa: ANN401 — a boto3 client
    try:
        s3.head_bucket(Bucket=place.bucket, ExpectedBucketOwner=place.account)
    except ClientError as error:
        if _code(error) == "404":
            return False
        if _code(error) == "403":
            msg = (
                f"Bucket {place.bucket} is there and not to be reached (403): one that account {place.account} owns is allowed. "
                "Look whose it is; if it is another account's, state must not go there."
            )
            raise BootstrapError(msg) from None
        raise
    return True


def _find_zone(place: Place) -> str | None:
    name = f"{place.settings.environment.zone}."
    listed = place.client("route53").list_hosted_zones_by_name(DNSName=name)["HostedZones"]
    found = [each["Id"] for each in listed if each["Name"] == name and not each["Config"]["PrivateZone"]]
    if len(found) > 1:
        msg = f"Public zones named {name} are {', '.join(found)}: one is allowed. Delete those that the parent does not name."
        raise BootstrapError(msg)
    return found[0] if found else None


def _secret_exists(client: Any, name: str) -> bool:  # noqa: ANN401 — a boto3 client
    try:
        found = client.describe_secret(SecretId=name)
    except ClientError as error:
        if _code(error) == "ResourceNotFoundException":
            return False
        raise
    if found.get("DeletedDate"):
        msg = f"Secret {name} is to be deleted: one in use is allowed. Run: aws secretsmanager restore-secret --secret-id {name}"
        raise BootstrapError(msg)
    return True


def _secret_value(client: Any, name: str) -> str | None:  # noqa: ANN401 — a boto3 client
    try:
        return client.get_secret_value(SecretId=name)["SecretString"]
    except ClientError as error:
        # Nothing has been put there yet.
        if _code(error) == "ResourceNotFoundException":
            return None
        raise


def _code(error: ClientError) -> str:
    return str(cast("Any", error).response["Error"]["Code"])
