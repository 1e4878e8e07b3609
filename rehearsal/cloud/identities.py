"""Who a role of ministack is, with all policies that limit and allow it: what the evaluator asks for."""

from typing import Any

from rehearsal.cloud.emulators import Emulators
from rehearsal.registry.policy import Document, Identity


def identity_of(emulators: Emulators, role_arn: str, region: str, *, session: str = "") -> Identity:
    """A role as it stands in ministack.

    Args:
        emulators: Running emulators.
        role_arn: The role.
        region: Any region: roles have none.
        session: Name of its session, "" where it does not matter.
    """
    account, name = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    iam = emulators.client("iam", account, region)
    role = iam.get_role(RoleName=name)["Role"]
    inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    return Identity(
        account=account,
        principal_arn=str(role["Arn"]),
        policies=[
            *(iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in inline),
            *(_document(iam, each["PolicyArn"]) for each in attached),
        ],
        boundary=_document(iam, boundary) if boundary else None,
        session=session,
    )


def _document(iam: Any, arn: str) -> Document:  # noqa: ANN401 — a client of boto3
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


def boundary_of(emulators: Emulators, account: str, name: str) -> str | None:
    """ARN of a role's permissions boundary as it is now; None without one, or without the role."""
    iam = emulators.client("iam", account, "us-east-1")
    try:
        role = iam.get_role(RoleName=name)["Role"]
    except iam.exceptions.NoSuchEntityException:
        return None
    return role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")


__all__ = ["boundary_of", "identity_of"]
