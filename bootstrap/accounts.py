"""Makes in an account what `pulumi up` needs first. Each part reads everything, then yields the changes that are due."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bootstrap.place import (
    STATE_KEY_ALIAS,
    BootstrapError,
    Place,
    Step,
    bucket_exists,
    error_code,
    find_key,
    find_zone,
    secret_exists,
    secret_value,
)
from components import iam, naming
from components.ci_access import AUDIENCE, ISSUER
from components.settings import Settings

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


def state_key(place: Place) -> Iterator[Step]:
    """The key of the state: of the bucket's objects, and of the secrets inside them (`awskms://`)."""
    kms = place.client("kms")
    wanted = _document(key_statements(place.settings))
    key = find_key(place)
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
    s3, key = place.client("s3"), find_key(place)
    # Names of buckets are world-wide: if somebody else has this one, every call says so instead of trusting it.
    ours = {"Bucket": place.bucket, "ExpectedBucketOwner": place.account}
    exists = bucket_exists(place, s3)
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
            do=lambda: s3.put_bucket_encryption(**ours, ServerSideEncryptionConfiguration=rules(find_key(place))),
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
    if place.settings.network is not None and find_zone(place) is None:
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
    found = find_zone(place) if place.settings.network is not None else None
    if found is None:
        return []
    servers = place.client("route53").get_hosted_zone(Id=found)["DelegationSet"]["NameServers"]
    return [f"{place.settings.environment.zone}. 3600 IN NS {server}." for server in sorted(servers)]


def secret_names(settings: Settings) -> Mapping[str, str]:
    """Secret by purpose, of those that people fill: of writers and reporter where tracks are hosted, Argo CD's with clusters.

    Raises:
        BootstrapError: a track has the name of another purpose.
    """
    purposes = {
        **({"reader": naming.argocd_secret("reader")} if settings.clusters else {}),
        **({"ui": naming.argocd_secret("ui")} if settings.argocd.ui else {}),
        **(
            {"reporter": naming.reporter_key_secret()}
            if settings.hosted_tracks and settings.builds and settings.builds.reporter
            else {}
        ),
    }
    if taken := sorted(purposes.keys() & settings.hosted_tracks.keys()):
        msg = (
            f"slipway:tracks has the track {taken[0]}, and --put-key {taken[0]}=FILE is for another secret here: reader and ui "
            "are Argo CD's, reporter is that of the builds' App. Rename the track."
        )
        raise BootstrapError(msg)
    return {**{track: naming.app_key_secret(track) for track in settings.hosted_tracks}, **purposes}


def secrets(place: Place) -> Iterator[Step]:
    """Empty secrets, and the content of the files that were given."""
    client, names = place.client("secretsmanager"), secret_names(place.settings)
    if unknown := sorted(set(place.puts) - set(names)):
        known = ", ".join(names) or "none, in this stack"
        msg = f"--put-key is for {', '.join(unknown)}: one of {known} is allowed. Correct the name, or the stack."
        raise BootstrapError(msg)
    for purpose, name in names.items():
        exists = secret_exists(client, name)
        if not exists:
            reader = "the reporter" if purpose == "reporter" else "Argo CD" if "/argocd/" in name else "the writer"
            description = f"{purpose}: put there by a person, read by {reader}"
            yield Step(
                text=f"make empty secret {name}",
                do=lambda name=name, description=description: client.create_secret(Name=name, Description=description),
            )
        if purpose not in place.puts:
            continue
        content = read_key(place.puts[purpose], pem=purpose != "ui")
        if not exists or secret_value(client, name) != content:
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
        if error_code(error).startswith("NoSuch"):
            return None
        raise
