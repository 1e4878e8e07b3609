"""Who is at the registry's door: sessions of declared roles, with the policies that stand in the emulated accounts."""

import json
import urllib.parse
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, cast

from rehearsal.cloud.emulators import MINISTACK, Emulators
from rehearsal.registry.policy import Document, Identity

_MANAGED: Final = "arn:aws:iam::aws:policy/"


class Identities:
    """Assumes roles, and knows whom it has given credentials to."""

    def __init__(self, emulators: Emulators) -> None:
        """Begin with nobody."""
        self._emulators = emulators
        self._roles: dict[str, tuple[str, str]] = {}

    def assume(self, role_arn: str, region: str, session: str) -> dict[str, str]:
        """Credentials of a session of `role_arn`, as environment variables."""
        account = role_arn.split(":")[4]
        sts = self._emulators.client("sts", account, region, emulator=MINISTACK)
        given = sts.assume_role(RoleArn=role_arn, RoleSessionName=session)["Credentials"]
        self._roles[given["AccessKeyId"]] = (role_arn, session)
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }

    def __call__(self, access_key_id: str, session_token: str) -> Identity:
        """Who an access key is, with the role's policies as they are now.

        Raises:
            LookupError: nobody here has it.
        """
        del session_token
        role_arn, session = self._roles[access_key_id]
        account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
        # IAM is global: any region does.
        iam = self._emulators.client("iam", account, "us-east-1", emulator=MINISTACK)
        inline = [
            iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"]
            for each in iam.list_role_policies(RoleName=name)["PolicyNames"]
        ]
        attached = [
            _managed(each["PolicyArn"]) if each["PolicyArn"].startswith(_MANAGED) else _customer(iam, each["PolicyArn"])
            for each in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        ]
        boundary = iam.get_role(RoleName=name)["Role"].get("PermissionsBoundary")
        return Identity(
            account=account,
            principal_arn=role_arn,
            policies=[*map(_document, inline), *attached],
            boundary=_customer(iam, boundary["PermissionsBoundaryArn"]) if boundary else None,
            session=session,
        )


def _customer(iam: Any, arn: str) -> Document:  # noqa: ANN401 — boto3 makes its clients' types at run time
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return _document(iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"])


@cache
def _managed(arn: str) -> Document:
    """A policy of AWS's own; moto carries their texts, in a module that no emulated account has to hold."""
    from moto.iam.aws_managed_policies import aws_managed_policies_data  # noqa: PLC0415 — a megabyte that few runs need

    policies = cast("Mapping[str, Mapping[str, Any]]", json.loads(aws_managed_policies_data))
    return _document(policies[arn.rpartition("/")[2]]["Document"])


def _document(given: object) -> Document:
    """A policy document, which the emulators hand out as a mapping, as JSON, or as percent-encoded JSON."""
    if isinstance(given, str):
        return cast("Document", json.loads(urllib.parse.unquote(given) if given.startswith("%") else given))
    return cast("Document", given)


__all__ = ["Identities"]
