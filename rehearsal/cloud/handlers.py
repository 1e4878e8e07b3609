"""Permissions that handling a resource needs beyond the calls of its row.

A row makes as few calls as possible. The provider that bridges Terraform makes more, and AWS's own handlers of a type list what
they need (`handlers.<verb>.permissions` in the CloudFormation schemas). This table holds what these two need and the rows do not
show, so that the lab is as strict as AWS. The complete list is in tests/roles/needs.py; tests/engine/test_roles.py compares the
lab's roles with it.

Sources: https://docs.aws.amazon.com/cloudcontrolapi/latest/userguide/resource-type-schemas.html and, for each type,
https://github.com/hashicorp/terraform-provider-aws/tree/main/internal/service
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rehearsal.cloud.authorization import Permission

Actions = tuple[str, ...]

_READ_ROLE: Final = ("iam:GetRole", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies")
_READ_BUCKET: Final = (
    "s3:GetAccelerateConfiguration",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLogging",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketPolicy",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",
)

BEYOND: Final[Mapping[str, Mapping[str, Actions]]] = {
    "aws:ec2/subnet:Subnet": {"delete": ("ec2:DescribeNetworkInterfaces",)},
    "aws:ec2/vpc:Vpc": {"read": ("ec2:DescribeNetworkAcls", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups")},
    "aws:eks/accessEntry:AccessEntry": {"read": ("eks:DescribeAccessEntry",), "delete": ("eks:DeleteAccessEntry",)},
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": {
        "read": ("eks:ListAssociatedAccessPolicies",),
        "delete": ("eks:DisassociateAccessPolicy",),
    },
    "aws:eks/addon:Addon": {
        "read": ("eks:DescribeAddon",),
        "update": ("eks:DescribeUpdate",),
        "delete": ("eks:DeleteAddon",),
    },
    "aws:eks/cluster:Cluster": {"read": ("eks:DescribeCluster",), "update": ("eks:DescribeUpdate",)},
    "aws:eks/nodeGroup:NodeGroup": {"read": ("eks:DescribeNodegroup",), "update": ("eks:DescribeUpdate",)},
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": {
        "read": ("eks:DescribePodIdentityAssociation",),
        "delete": ("eks:DeletePodIdentityAssociation",),
    },
    "aws:iam/policy:Policy": {
        "read": ("iam:GetPolicy", "iam:GetPolicyVersion"),
        # Tags are brought to what is declared by taking the others away.
        "update": ("iam:ListPolicyVersions", "iam:TagPolicy", "iam:UntagPolicy"),
        "delete": ("iam:ListPolicyVersions",),
    },
    "aws:iam/role:Role": {
        "read": _READ_ROLE,
        "update": ("iam:TagRole", "iam:UntagRole", "iam:UpdateRole", "iam:UpdateRoleDescription"),
        "delete": ("iam:ListInstanceProfilesForRole",),
    },
    "aws:lambda/function:Function": {
        "read": ("lambda:GetFunctionCodeSigningConfig", "lambda:ListVersionsByFunction"),
        "delete": ("ec2:DescribeNetworkInterfaces",),
    },
    "aws:lb/listener:Listener": {"read": ("elasticloadbalancing:DescribeListenerAttributes",)},
    "aws:lb/loadBalancer:LoadBalancer": {
        "read": ("elasticloadbalancing:DescribeCapacityReservation",),
        # What it has left in the subnets is waited for.
        "delete": ("ec2:DescribeNetworkInterfaces",),
    },
    "aws:route53/record:Record": {
        "create": ("route53:GetChange", "route53:GetHostedZone"),
        "update": ("route53:GetChange", "route53:GetHostedZone"),
        "delete": ("route53:GetChange", "route53:GetHostedZone"),
    },
    "aws:s3/bucket:Bucket": {"read": _READ_BUCKET},
    "aws:secretsmanager/secret:Secret": {"read": ("secretsmanager:GetResourcePolicy",)},
    # The provider reads the value to compare it.
    "aws:secretsmanager/secretVersion:SecretVersion": {"read": ("secretsmanager:GetSecretValue",)},
}

VERBS: Final = ("create", "read", "update", "delete")


def needs(type_: str, verb: str, inputs: Mapping[str, Any], *, account: str, region: str) -> Sequence[Permission]:
    """Return what a verb of a type needs of its caller, beyond the row's own calls."""
    actions = BEYOND.get(type_, {}).get(verb, ())
    on = _arn(type_, inputs, account)
    context: dict[str, str | Sequence[str] | None] = {
        "aws:RequestedRegion": region,
        "aws:SecureTransport": "true",
        "aws:TagKeys": None,
        "iam:PermissionsBoundary": inputs.get("permissionsBoundary"),
        **_NOT_CARRIED,
    }
    return [Permission(action=each, resource=on, context=context) for each in actions]


# None of these actions passes a role or attaches a policy.
_NOT_CARRIED: Final = dict.fromkeys(
    ("ec2:CreateAction", "iam:AWSServiceName", "iam:AssociatedResourceArn", "iam:PassedToService", "iam:PolicyARN")
)


def _arn(type_: str, inputs: Mapping[str, Any], account: str) -> str:
    """Return the ARN that IAM's actions act on; `*` for other services."""
    kind = {"aws:iam/role:Role": "role", "aws:iam/policy:Policy": "policy"}.get(type_)
    if kind is None:
        return "*"
    return f"arn:aws:iam::{account}:{kind}{inputs.get('path') or '/'}{inputs.get('name', '*')}"


__all__ = ["BEYOND", "VERBS", "needs"]
