"""Identities and what is kept for them: roles and policies, parameters, secrets."""

from typing import Final

from rehearsal.cloud.row import Ask, RealiseError, Row, Rows
from rehearsal.program import Created

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
_STANDARD_PARAMETER_BYTES: Final = 4096
_AT_DELETION: Final = "counts when it is deleted"


def _role(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    made = ask.call(
        "iam",
        "create_role",
        RoleName=name,
        **inputs.tagged("Tags"),
        **inputs.renamed(
            {
                "assumeRolePolicy": "AssumeRolePolicyDocument",
                "description": "Description",
                "maxSessionDuration": "MaxSessionDuration",
                "path": "Path",
                "permissionsBoundary": "PermissionsBoundary",
            }
        ),
    )["Role"]
    inputs.leave("forceDetachPolicies", _AT_DELETION)
    return ask.done(name, name=name, arn=made["Arn"], uniqueId=made["RoleId"])


def _role_policy(ask: Ask) -> Created:
    role, name = ask.inputs.needed("role"), ask.inputs.text("name", ask.request.name)
    ask.call("iam", "put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=ask.inputs.needed("policy"))
    return ask.done(f"{role}:{name}", name=name)


def _role_policy_attachment(ask: Ask) -> Created:
    role, arn = ask.inputs.needed("role"), ask.inputs.needed("policyArn")
    # ministack attaches what does not exist; AWS does not.
    ask.call("iam", "get_policy", PolicyArn=arn)
    ask.call("iam", "attach_role_policy", RoleName=role, PolicyArn=arn)
    return ask.done(f"{role}/{arn}")


def _policy(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    made = ask.call(
        "iam",
        "create_policy",
        PolicyName=name,
        PolicyDocument=inputs.needed("policy"),
        **inputs.tagged("Tags"),
        **inputs.renamed({"description": "Description", "path": "Path"}),
    )["Policy"]
    return ask.done(made["Arn"], name=name, arn=made["Arn"], policyId=made["PolicyId"])


def _parameter(ask: Ask) -> Created:
    inputs = ask.inputs
    name, value = inputs.needed("name"), inputs.needed("value")
    if len(value.encode()) > _STANDARD_PARAMETER_BYTES and inputs.text("tier", "Standard") == "Standard":
        msg = f"value has {len(value.encode())} bytes: a standard parameter holds {_STANDARD_PARAMETER_BYTES}; declare less"
        raise RealiseError(msg)
    made = ask.call(
        "ssm",
        "put_parameter",
        Name=name,
        Value=value,
        **inputs.tagged("Tags"),
        **inputs.renamed({"type": "Type", "description": "Description", "tier": "Tier", "overwrite": "Overwrite"}),
    )
    return ask.done(name, arn=ask.arn("ssm", f"parameter{name}"), version=made["Version"])


def _secret(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    made = ask.call(
        "secretsmanager",
        "create_secret",
        Name=name,
        **inputs.tagged("Tags"),
        **inputs.renamed({"description": "Description", "kmsKeyId": "KmsKeyId"}),
    )
    inputs.leave("recoveryWindowInDays", _AT_DELETION)
    return ask.done(made["ARN"], name=name, arn=made["ARN"])


def _secret_version(ask: Ask) -> Created:
    secret = ask.inputs.needed("secretId")
    made = ask.call("secretsmanager", "put_secret_value", SecretId=secret, SecretString=ask.inputs.needed("secretString"))
    return ask.done(f"{secret}|{made['VersionId']}", arn=made["ARN"], versionId=made["VersionId"])


ROWS: Final[Rows] = {
    "aws:iam/policy:Policy": Row(create=_policy),
    "aws:iam/role:Role": Row(create=_role),
    "aws:iam/rolePolicy:RolePolicy": Row(create=_role_policy),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Row(create=_role_policy_attachment),
    "aws:secretsmanager/secret:Secret": Row(create=_secret),
    "aws:secretsmanager/secretVersion:SecretVersion": Row(create=_secret_version),
    "aws:ssm/parameter:Parameter": Row(create=_parameter),
}
