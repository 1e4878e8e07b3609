"""Identities and what is kept for them: roles and policies, parameters, secrets."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rehearsal.cloud.emulators import MOTO
from rehearsal.cloud.row import Ask, RealiseError, Row, Rows, tag_list
from rehearsal.cloud.rows.parts import ours, tag_changes, told
from rehearsal.program import Created

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
_STANDARD_PARAMETER_BYTES: Final = 4096
# https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-versioning.html
_POLICY_VERSIONS: Final = 5
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
_SESSION_SECONDS: Final = 3600
# https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html
_RECOVERY_DAYS: Final = 30
_AT_DELETION: Final = "counts when it is deleted"
_MISSING: Final = "NoSuchEntity"


def _tags(found: Mapping[str, Any], key: str = "Tags") -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in found.get(key, [])}


def _document(found: Any) -> str:  # noqa: ANN401 — JSON, as text or read
    # boto3 parses it where the emulator escapes it as AWS does.
    return found if isinstance(found, str) else json.dumps(found)


# Roles


def _role(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    parameters = inputs.renamed({**_ROLE, "assumeRolePolicy": "AssumeRolePolicyDocument", **_BOUNDARY})
    made = ask.call("iam", "create_role", RoleName=name, **inputs.tagged("Tags"), **parameters)["Role"]
    inputs.leave("forceDetachPolicies", _AT_DELETION)
    return ask.done(name, **_role_outputs(made))


_ROLE: Final = {"description": "Description", "maxSessionDuration": "MaxSessionDuration", "path": "Path"}
_BOUNDARY: Final = {"permissionsBoundary": "PermissionsBoundary"}


def _role_outputs(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": found["RoleName"], "arn": found["Arn"], "uniqueId": found["RoleId"]}


def _read_role(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("iam", "get_role", _MISSING, RoleName=id_)
    if answer is None:
        return None
    found = answer["Role"]
    # `forceDetachPolicies` is the provider's own.
    there = {
        **_role_outputs(found),
        **ours(found, _ROLE),
        **ours(found.get("PermissionsBoundary", {}), {"permissionsBoundary": "PermissionsBoundaryArn"}),
        "assumeRolePolicy": _document(found["AssumeRolePolicyDocument"]),
        "tags": _tags(ask.by_aws("GetRole tells them").call("iam", "list_role_tags", RoleName=id_)),
    }
    return told(ask, there, maxSessionDuration=_SESSION_SECONDS, path="/")


def _update_role(ask: Ask, id_: str) -> Created:
    inputs = ask.inputs
    if ask.changed("assumeRolePolicy"):
        policy = inputs.needed("assumeRolePolicy")
        ask.call("iam", "update_assume_role_policy", RoleName=id_, PolicyDocument=policy)
        # Where moto knows the role too: `Ask.introduce_role`.
        there = ask.by_aws("at AWS there is one IAM")
        there.find("iam", "update_assume_role_policy", _MISSING, emulator=MOTO, RoleName=id_, PolicyDocument=policy)
    if ask.changed("description", "maxSessionDuration"):
        seconds = inputs.number("maxSessionDuration", _SESSION_SECONDS)
        # ministack does not hear an empty description: one that is taken away stays.
        ask.call("iam", "update_role", RoleName=id_, Description=inputs.text("description"), MaxSessionDuration=seconds)
    if ask.changed("permissionsBoundary"):
        if inputs.has("permissionsBoundary"):
            ask.call("iam", "put_role_permissions_boundary", RoleName=id_, **inputs.renamed(_BOUNDARY))
        else:
            ask.call("iam", "delete_role_permissions_boundary", RoleName=id_)
    new, gone = tag_changes(ask)
    if new:
        ask.call("iam", "tag_role", RoleName=id_, Tags=tag_list(new))
    if gone:
        ask.call("iam", "untag_role", RoleName=id_, TagKeys=gone)
    return ask.done(id_, **_role_outputs(ask.call("iam", "get_role", RoleName=id_)["Role"]))


def _delete_role(ask: Ask, id_: str) -> None:
    if ask.find("iam", "get_role", _MISSING, RoleName=id_) is None:
        return
    if ask.inputs.flag("forceDetachPolicies"):
        for each in ask.call("iam", "list_attached_role_policies", RoleName=id_)["AttachedPolicies"]:
            ask.call("iam", "detach_role_policy", RoleName=id_, PolicyArn=each["PolicyArn"])
        for name in ask.call("iam", "list_role_policies", RoleName=id_)["PolicyNames"]:
            ask.call("iam", "delete_role_policy", RoleName=id_, PolicyName=name)
    ask.call("iam", "delete_role", RoleName=id_)
    ask.by_aws("at AWS there is one IAM").find("iam", "delete_role", _MISSING, emulator=MOTO, RoleName=id_)


def _role_policy(ask: Ask) -> Created:
    role, name = ask.inputs.needed("role"), ask.inputs.text("name", ask.request.name)
    ask.call("iam", "put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=ask.inputs.needed("policy"))
    return ask.done(f"{role}:{name}", name=name)


def _read_role_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    role, _, name = id_.partition(":")
    found = ask.find("iam", "get_role_policy", _MISSING, RoleName=role, PolicyName=name)
    return found and {"role": role, "name": name, "policy": _document(found["PolicyDocument"])}


def _update_role_policy(ask: Ask, id_: str) -> Created:
    role, _, name = id_.partition(":")
    ask.call("iam", "put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=ask.inputs.needed("policy"))
    return ask.done(id_, name=name)


def _delete_role_policy(ask: Ask, id_: str) -> None:
    role, _, name = id_.partition(":")
    ask.find("iam", "delete_role_policy", _MISSING, RoleName=role, PolicyName=name)


def _role_policy_attachment(ask: Ask) -> Created:
    role, arn = ask.inputs.needed("role"), ask.inputs.needed("policyArn")
    # ministack attaches what does not exist.
    ask.by_aws("IAM itself refuses to attach what does not exist").call("iam", "get_policy", PolicyArn=arn)
    ask.call("iam", "attach_role_policy", RoleName=role, PolicyArn=arn)
    return ask.done(f"{role}/{arn}")


def _read_attachment(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    role, _, arn = id_.partition("/")
    answer = ask.find("iam", "list_attached_role_policies", _MISSING, RoleName=role) or {"AttachedPolicies": []}
    attached = any(each["PolicyArn"] == arn for each in answer["AttachedPolicies"])
    return {"role": role, "policyArn": arn} if attached else None


def _delete_attachment(ask: Ask, id_: str) -> None:
    role, _, arn = id_.partition("/")
    ask.find("iam", "detach_role_policy", _MISSING, RoleName=role, PolicyArn=arn)


# Managed policies


def _policy(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call(
        "iam",
        "create_policy",
        PolicyName=inputs.needed("name"),
        PolicyDocument=inputs.needed("policy"),
        **inputs.tagged("Tags"),
        **inputs.renamed(_POLICY),
    )["Policy"]
    return ask.done(made["Arn"], **_policy_outputs(made))


_POLICY: Final = {"description": "Description", "path": "Path"}


def _policy_outputs(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": found["PolicyName"], "arn": found["Arn"], "policyId": found["PolicyId"]}


def _read_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("iam", "get_policy", _MISSING, PolicyArn=id_)
    if answer is None:
        return None
    found = answer["Policy"]
    version = ask.call("iam", "get_policy_version", PolicyArn=id_, VersionId=found["DefaultVersionId"])["PolicyVersion"]
    there = {
        **_policy_outputs(found),
        **ours(found, _POLICY),
        "policy": _document(version["Document"]),
        "tags": _tags(ask.by_aws("GetPolicy tells them").call("iam", "list_policy_tags", PolicyArn=id_)),
    }
    return told(ask, there, path="/")


def _update_policy(ask: Ask, id_: str) -> Created:
    if ask.changed("policy"):
        # As the provider: the oldest version makes room for another.
        others = _other_versions(ask, id_)
        if len(others) + 1 >= _POLICY_VERSIONS:
            ask.call("iam", "delete_policy_version", PolicyArn=id_, VersionId=others[0])
        document = ask.inputs.needed("policy")
        ask.call("iam", "create_policy_version", PolicyArn=id_, PolicyDocument=document, SetAsDefault=True)
    new, gone = tag_changes(ask)
    if new:
        ask.call("iam", "tag_policy", PolicyArn=id_, Tags=tag_list(new))
    if gone:
        ask.call("iam", "untag_policy", PolicyArn=id_, TagKeys=gone)
    return ask.done(id_, **_policy_outputs(ask.call("iam", "get_policy", PolicyArn=id_)["Policy"]))


def _other_versions(ask: Ask, arn: str) -> list[str]:
    """Versions but the default one, the oldest first."""
    versions = ask.call("iam", "list_policy_versions", PolicyArn=arn)["Versions"]
    others = [str(each["VersionId"]) for each in versions if not each["IsDefaultVersion"]]
    return sorted(others, key=lambda each: int(each.removeprefix("v")))


def _delete_policy(ask: Ask, id_: str) -> None:
    answer = ask.find("iam", "get_policy", _MISSING, PolicyArn=id_)
    if answer is None:
        return
    # AWS counts a boundary as an attachment, as https://github.com/gruntwork-io/cloud-nuke/issues/972 shows.
    bound = [each["RoleName"] for each in _roles(ask) if each.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") == id_]
    if bound:
        msg = f"DeleteConflict: Cannot delete a policy attached to entities: {id_} is the boundary of {', '.join(bound)}"
        raise RealiseError(msg)
    for version in _other_versions(ask, id_):
        ask.call("iam", "delete_policy_version", PolicyArn=id_, VersionId=version)
    ask.call("iam", "delete_policy", PolicyArn=id_)


def _roles(ask: Ask) -> list[dict[str, Any]]:
    return ask.by_aws("IAM itself knows whom a policy bounds").call("iam", "list_roles")["Roles"]


# Parameters


_PARAMETER: Final = {"type": "Type", "description": "Description", "tier": "Tier"}
_STANDARD: Final = "Standard"
_SECURE: Final = "SecureString"


def _parameter(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    made = ask.call(
        "ssm",
        "put_parameter",
        Name=name,
        Value=_value(ask),
        **inputs.tagged("Tags"),
        **inputs.renamed({**_PARAMETER, "overwrite": "Overwrite"}),
    )
    return ask.done(name, **_parameter_outputs(ask, name, made))


def _value(ask: Ask) -> str:
    value = ask.inputs.needed("value")
    if len(value.encode()) > _STANDARD_PARAMETER_BYTES and ask.inputs.text("tier", _STANDARD) == _STANDARD:
        msg = f"value has {len(value.encode())} bytes: a standard parameter holds {_STANDARD_PARAMETER_BYTES}; declare less"
        raise RealiseError(msg)
    return value


def _parameter_outputs(ask: Ask, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {"arn": ask.arn("ssm", f"parameter/{name.removeprefix('/')}"), "version": found["Version"]}


_NO_PARAMETER: Final = "ParameterNotFound"


def _read_parameter(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("ssm", "get_parameter", _NO_PARAMETER, Name=id_, WithDecryption=True)
    if answer is None:
        return None
    found, wanted = answer["Parameter"], [{"Key": "Name", "Option": "Equals", "Values": [id_]}]
    (more,) = ask.call("ssm", "describe_parameters", ParameterFilters=wanted)["Parameters"]
    tags = ask.call("ssm", "list_tags_for_resource", ResourceType="Parameter", ResourceId=id_)["TagList"]
    # `overwrite` is the provider's own.
    there = {
        "name": id_,
        **_parameter_outputs(ask, id_, found),
        **ours(more, _PARAMETER),
        **({} if found["Type"] == _SECURE else {"value": found["Value"]}),
        "tags": _tags({"Tags": tags}),
    }
    return told(ask, there, tier=_STANDARD)


def _update_parameter(ask: Ask, id_: str) -> Created:
    inputs, outputs = ask.inputs, dict[str, Any]()
    if ask.changed("type"):
        # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html#API_PutParameter_Errors
        msg = (
            f"HierarchyTypeMismatchException: Parameter Store doesn't support changing a parameter type: {id_} is a "
            f"{ask.old.get('type')}; declare another parameter"
        )
        raise RealiseError(msg)
    parameters = {"Description": "", **inputs.renamed(_PARAMETER), "Value": _value(ask)}
    if ask.changed("value", "description", "tier"):
        made = ask.call("ssm", "put_parameter", Name=id_, Overwrite=True, **parameters)
        outputs = _parameter_outputs(ask, id_, made)
    new, gone = tag_changes(ask)
    if new:
        ask.call("ssm", "add_tags_to_resource", ResourceType="Parameter", ResourceId=id_, Tags=tag_list(new))
    if gone:
        ask.call("ssm", "remove_tags_from_resource", ResourceType="Parameter", ResourceId=id_, TagKeys=gone)
    outputs = outputs or _parameter_outputs(ask, id_, ask.call("ssm", "get_parameter", Name=id_)["Parameter"])
    return ask.done(id_, **outputs)


def _parameter_replaces(ask: Ask) -> Sequence[str]:
    """There is no way back to a standard parameter.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
    """
    back = ask.old.get("tier") == "Advanced" and ask.request.inputs.get("tier", _STANDARD) == _STANDARD
    return ["tier"] if back else []


def _delete_parameter(ask: Ask, id_: str) -> None:
    ask.find("ssm", "delete_parameter", _NO_PARAMETER, Name=id_)


# Secrets


_NO_SECRET: Final = "ResourceNotFoundException"  # noqa: S105 — an error's code


def _secret(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    parameters = {**inputs.tagged("Tags"), **inputs.renamed({"description": "Description", "kmsKeyId": "KmsKeyId"})}
    made = ask.call("secretsmanager", "create_secret", Name=name, **parameters)
    inputs.leave("recoveryWindowInDays", _AT_DELETION)
    return ask.done(made["ARN"], name=name, arn=made["ARN"])


def _standing_secret(ask: Ask, id_: str) -> dict[str, Any] | None:
    found = ask.find("secretsmanager", "describe_secret", _NO_SECRET, SecretId=id_)
    # One that waits for its end is gone for all who declare it.
    return None if found is None or "DeletedDate" in found else found


def _read_secret(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _standing_secret(ask, id_)
    if found is None:
        return None
    # `recoveryWindowInDays` is the provider's own.
    there = {
        "name": found["Name"],
        "arn": found["ARN"],
        **ours(found, {"description": "Description", "kmsKeyId": "KmsKeyId"}),
        "tags": _tags(found),
    }
    return told(ask, there)


def _update_secret(ask: Ask, id_: str) -> Created:
    inputs = ask.inputs
    if ask.changed("description", "kmsKeyId"):
        # "" is AWS's own key: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecret.html
        key = {"KmsKeyId": inputs.text("kmsKeyId")} if ask.changed("kmsKeyId") else {}
        ask.call("secretsmanager", "update_secret", SecretId=id_, Description=inputs.text("description"), **key)
    new, gone = tag_changes(ask)
    if new:
        ask.call("secretsmanager", "tag_resource", SecretId=id_, Tags=tag_list(new))
    if gone:
        ask.call("secretsmanager", "untag_resource", SecretId=id_, TagKeys=gone)
    return ask.done(id_, name=inputs.needed("name"), arn=id_)


def _delete_secret(ask: Ask, id_: str) -> None:
    if _standing_secret(ask, id_) is None:
        return
    days = ask.inputs.number("recoveryWindowInDays", _RECOVERY_DAYS)
    how: dict[str, Any] = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
    ask.call("secretsmanager", "delete_secret", SecretId=id_, **how)


def _secret_version(ask: Ask) -> Created:
    secret = ask.inputs.needed("secretId")
    made = ask.call("secretsmanager", "put_secret_value", SecretId=secret, SecretString=ask.inputs.needed("secretString"))
    return ask.done(f"{secret}|{made['VersionId']}", arn=made["ARN"], versionId=made["VersionId"])


def _stages(ask: Ask, id_: str) -> list[str]:
    """The labels of a version: without any it counts as gone.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
    """
    secret, _, version = id_.partition("|")
    found = _standing_secret(ask, secret) or {"VersionIdsToStages": {}}
    return found["VersionIdsToStages"].get(version, [])


def _read_secret_version(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    if not _stages(ask, id_):
        return None
    secret, _, version = id_.partition("|")
    # Not the secret itself.
    return {"secretId": secret, "arn": secret, "versionId": version}


def _delete_secret_version(ask: Ask, id_: str) -> None:
    """Takes its labels, without which AWS lets a version go; the current one stays with its secret, as AWS wants it.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
    """
    secret, _, version = id_.partition("|")
    for each in _stages(ask, id_):
        if each != "AWSCURRENT":
            gone = {"VersionStage": each, "RemoveFromVersionId": version}
            ask.call("secretsmanager", "update_secret_version_stage", SecretId=secret, **gone)


ROWS: Final[Rows] = {
    "aws:iam/policy:Policy": Row(
        create=_policy,
        read=_read_policy,
        update=_update_policy,
        delete=_delete_policy,
        replaces=frozenset({"name", "path", "description"}),
    ),
    "aws:iam/role:Role": Row(
        create=_role, read=_read_role, update=_update_role, delete=_delete_role, replaces=frozenset({"name", "path"})
    ),
    "aws:iam/rolePolicy:RolePolicy": Row(
        create=_role_policy,
        read=_read_role_policy,
        update=_update_role_policy,
        delete=_delete_role_policy,
        replaces=frozenset({"role", "name"}),
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Row(
        create=_role_policy_attachment, read=_read_attachment, delete=_delete_attachment
    ),
    "aws:secretsmanager/secret:Secret": Row(
        create=_secret, read=_read_secret, update=_update_secret, delete=_delete_secret, replaces=frozenset({"name"})
    ),
    # A version is what it is.
    "aws:secretsmanager/secretVersion:SecretVersion": Row(
        create=_secret_version, read=_read_secret_version, delete=_delete_secret_version
    ),
    "aws:ssm/parameter:Parameter": Row(
        create=_parameter,
        read=_read_parameter,
        update=_update_parameter,
        delete=_delete_parameter,
        replaces=frozenset({"name"}),
        replaces_of=_parameter_replaces,
    ),
}
