"""components/ci_access.py: a pull request sees, one GitHub environment deploys, and neither grows stronger by it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from rehearsal.program import Program
from rehearsal.registry.policy import Identity, Request, judge
from tests.components.kit import identity, statement
from tests.conftest import STACKS

ACCOUNTS = {"dev": "111111111111", "stg": "222222222222", "prd": "333333333333"}
ISSUER = "token.actions.githubusercontent.com"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("purpose", "subject"), [("preview", "pull_request"), ("deploy", "environment:{stack}")])
def test_a_role_is_bound_to_one_repository_and_one_purpose_in_both_of_github_s_formats(
    purpose: str, subject: str, stack: str, programs: Mapping[str, Program]
) -> None:
    role = programs[stack].one("iam/role:Role", f"access-{purpose}").inputs
    (trust,) = json.loads(role["assumeRolePolicy"])["Statement"]
    end = subject.format(stack=stack)
    assert trust["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNTS[stack]}:oidc-provider/{ISSUER}"}
    assert trust["Action"] == ["sts:AssumeRoleWithWebIdentity"]
    # Exact: StringLike or a wildcard would let any branch, fork or look-alike in.
    assert trust["Condition"] == {
        "StringEquals": {
            f"{ISSUER}:aud": "sts.amazonaws.com",
            f"{ISSUER}:sub": [f"repo:example-org/platform:{end}", f"repo:example-org@4202137/platform@704213371:{end}"],
        }
    }
    assert role["maxSessionDuration"] == 3600


@pytest.mark.parametrize(("stack", "track"), [("dev", "develop"), ("stg", "release")])
def test_the_gitops_repository_s_workflows_see_which_images_there_are_and_nothing_else(
    stack: str, track: str, programs: Mapping[str, Program]
) -> None:
    program, account = programs[stack], ACCOUNTS[stack]
    role = program.one("iam/role:Role", f"access-{track}-images").inputs
    (trust,) = json.loads(role["assumeRolePolicy"])["Statement"]
    names = ("repo:example-org/gitops", "repo:example-org@4202137/gitops@812650447")
    # Of environments that admit the default branch alone: a pull request's own workflow has neither.
    assert trust["Condition"] == {
        "StringEquals": {
            f"{ISSUER}:aud": "sts.amazonaws.com",
            f"{ISSUER}:sub": [
                f"{name}:{end}" for end in ("environment:slipway-verify", "environment:slipway-promoter") for name in names
            ],
        }
    }
    (statement_,) = json.loads(program.one("iam/rolePolicy:RolePolicy", f"access-{track}-images").inputs["policy"])["Statement"]
    assert statement_["Action"] == ["ecr:DescribeImages"]
    assert statement_["Resource"] == [f"arn:aws:ecr:eu-central-1:{account}:repository/{track}/*"]
    reader = identity(program, f"access-{track}-images", account)
    assert may_with(reader, "ecr:DescribeImages", f"arn:aws:ecr:eu-central-1:{account}:repository/{track}/storefront")
    assert not may_with(reader, "ecr:DescribeImages", f"arn:aws:ecr:eu-central-1:{account}:repository/other/storefront")


def test_who_hosts_no_track_has_no_images_to_see(programs: Mapping[str, Program]) -> None:
    assert not [each for each in programs["prd"].of("iam/role:Role") if each.name.endswith("-images")]


def attached(program: Program, role: str) -> list[str]:
    name = program.one("iam/role:Role", role).inputs["name"]
    return [
        each.inputs["policyArn"]
        for each in program.of("iam/rolePolicyAttachment:RolePolicyAttachment")
        if each.inputs["role"] == name
    ]


@pytest.mark.parametrize("stack", STACKS)
def test_previewing_has_no_policy_of_aws_s_and_deploying_has_power_without_identities(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    # AWS's own policies for viewing read the environment variables of every function of the account.
    assert attached(program, "access-preview") == []
    assert attached(program, "access-deploy") == ["arn:aws:iam::aws:policy/PowerUserAccess"]


@pytest.mark.parametrize("stack", STACKS)
def test_a_preview_reads_the_state_of_its_own_stack_s_account_and_no_secret(stack: str, programs: Mapping[str, Program]) -> None:
    account = ACCOUNTS[stack]
    policy = programs[stack].one("iam/rolePolicy:RolePolicy", "access-preview").inputs["policy"]
    bucket = f"arn:aws:s3:::slipway-state-{account}-eu-central-1"
    assert statement(policy, "ReadState")["Resource"] == [bucket, f"{bucket}/*"]
    assert statement(policy, "ReadState")["Action"] == ["s3:GetObject", "s3:ListBucket"]


def may_with(caller: Identity, action: str, resource: str, **context: str | None) -> bool:
    """Whether `caller` may; keys are written `iam__PermissionsBoundary` for `iam:PermissionsBoundary`."""
    keys: dict[str, str | Sequence[str] | None] = {
        "iam:PermissionsBoundary": None,
        "iam:PolicyARN": None,
        "iam:PassedToService": None,
        **{key.replace("__", ":"): value for key, value in context.items()},
    }
    request = Request(caller=caller, action=action, resource=resource, context=keys, resource_account=caller.account)
    return bool(judge(request))


@pytest.mark.parametrize("stack", STACKS)
def test_a_deploy_makes_roles_of_ours_within_the_boundary_and_no_others(stack: str, programs: Mapping[str, Program]) -> None:
    account = ACCOUNTS[stack]
    deploy = identity(programs[stack], "access-deploy", account)
    boundary = f"arn:aws:iam::{account}:policy/slipway-{stack}-boundary"
    role, foreign = f"arn:aws:iam::{account}:role/slipway-develop-x-build", f"arn:aws:iam::{account}:role/somebody-else"
    managed = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
    for action in ("iam:CreateRole", "iam:PutRolePolicy"):
        assert may_with(deploy, action, role, iam__PermissionsBoundary=boundary)
        assert not may_with(deploy, action, role)
        assert not may_with(deploy, action, role, iam__PermissionsBoundary=f"arn:aws:iam::{account}:policy/wide")
        assert not may_with(deploy, action, foreign, iam__PermissionsBoundary=boundary)
    assert may_with(deploy, "iam:AttachRolePolicy", role, iam__PermissionsBoundary=boundary, iam__PolicyARN=managed)
    assert not may_with(deploy, "iam:AttachRolePolicy", role, iam__PolicyARN=managed)
    # Its own policy says so too: the boundary is the second lock, not the first.
    for action in ("iam:AttachRolePolicy", "iam:CreateRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePolicy"):
        assert may_with(replace(deploy, boundary=None), action, role, iam__PermissionsBoundary=boundary)
        assert not may_with(replace(deploy, boundary=None), action, role)
    assert may_with(deploy, "iam:PassRole", role, iam__PassedToService="lambda.amazonaws.com")
    assert not may_with(deploy, "iam:PassRole", role, iam__PassedToService="cloudformation.amazonaws.com")
    assert not may_with(deploy, "iam:PassRole", foreign, iam__PassedToService="lambda.amazonaws.com")


# What a role that may do everything must still not be able to do: action, resource, context. `{a}` is the account, `{s}` the
# stack; `ours` wears the boundary, `foreign` is another role of the account that may be stronger.
BOUNDARY = {"iam__PermissionsBoundary": "arn:aws:iam::{a}:policy/slipway-{s}-boundary"}
OURS, FOREIGN = "arn:aws:iam::{a}:role/slipway-develop-writer", "arn:aws:iam::{a}:role/platform-admin"
DEPLOY, PREVIEW = "arn:aws:iam::{a}:role/slipway-{s}-deploy", "arn:aws:iam::{a}:role/slipway-{s}-preview"
POLICY, PROVIDER = "arn:aws:iam::{a}:policy/slipway-{s}-boundary", f"arn:aws:iam::{{a}}:oidc-provider/{ISSUER}"
USER, GROUP = "arn:aws:iam::{a}:user/admin", "arn:aws:iam::{a}:group/admins"
ESCAPES: list[tuple[str, str, str, Mapping[str, str]]] = [
    ("take the boundary off a role of ours", "iam:DeleteRolePermissionsBoundary", OURS, BOUNDARY),
    ("take the boundary off itself", "iam:DeleteRolePermissionsBoundary", DEPLOY, BOUNDARY),
    (
        "give a role of ours another boundary",
        "iam:PutRolePermissionsBoundary",
        OURS,
        {"iam__PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    (
        "give itself another boundary",
        "iam:PutRolePermissionsBoundary",
        DEPLOY,
        {"iam__PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    ("write the boundary anew", "iam:CreatePolicyVersion", POLICY, {}),
    ("go back to an older boundary", "iam:SetDefaultPolicyVersion", POLICY, {}),
    ("delete the boundary", "iam:DeletePolicy", POLICY, {}),
    ("make a role without a boundary", "iam:CreateRole", OURS, {}),
    (
        "make a role with a wide boundary",
        "iam:CreateRole",
        OURS,
        {"iam__PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    ("add a policy to itself", "iam:PutRolePolicy", DEPLOY, BOUNDARY),
    ("attach a policy to itself", "iam:AttachRolePolicy", DEPLOY, BOUNDARY),
    ("let others in as itself", "iam:UpdateAssumeRolePolicy", DEPLOY, {}),
    ("let others in as the preview role", "iam:UpdateAssumeRolePolicy", PREVIEW, {}),
    (
        "make an administrator",
        "iam:AttachRolePolicy",
        OURS,
        {**BOUNDARY, "iam__PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    ("add a policy to a stronger role", "iam:PutRolePolicy", FOREIGN, {}),
    ("let itself in as a stronger role", "iam:UpdateAssumeRolePolicy", FOREIGN, {}),
    ("hand a stronger role to a function of its own", "iam:PassRole", FOREIGN, {"iam__PassedToService": "lambda.amazonaws.com"}),
    ("take on a stronger role", "sts:AssumeRole", FOREIGN, {}),
    ("make a person", "iam:CreateUser", USER, {}),
    ("make a key for a person", "iam:CreateAccessKey", USER, {}),
    ("make a password for a person", "iam:CreateLoginProfile", USER, {}),
    ("change a person's password", "iam:UpdateLoginProfile", USER, {}),
    ("make a person an administrator", "iam:AttachUserPolicy", USER, {}),
    ("put a person into a group", "iam:AddUserToGroup", GROUP, {}),
    ("make a group stronger", "iam:PutGroupPolicy", GROUP, {}),
    ("write a policy of others anew", "iam:CreatePolicyVersion", "arn:aws:iam::{a}:policy/platform-admin", {}),
    ("make a Git credential for a person", "iam:CreateServiceSpecificCredential", USER, {}),
    ("take a person's second factor away", "iam:DeactivateMFADevice", USER, {}),
    ("take the boundary off a person", "iam:DeleteUserPermissionsBoundary", USER, {}),
    ("trust another identity provider", "iam:CreateOpenIDConnectProvider", PROVIDER, {}),
    ("trust another SAML provider", "iam:CreateSAMLProvider", "arn:aws:iam::{a}:saml-provider/x", {}),
    ("take over a SAML provider", "iam:UpdateSAMLProvider", "arn:aws:iam::{a}:saml-provider/x", {}),
    ("trust GitHub for other audiences", "iam:AddClientIDToOpenIDConnectProvider", PROVIDER, {}),
    ("delete GitHub's provider", "iam:DeleteOpenIDConnectProvider", PROVIDER, {}),
    ("leave the organization and its rules", "organizations:LeaveOrganization", "*", {}),
    ("write another stack's boundary anew", "iam:CreatePolicyVersion", "arn:aws:iam::{a}:policy/slipway-other-boundary", {}),
    (
        "let itself in as another stack's deploy role",
        "iam:UpdateAssumeRolePolicy",
        "arn:aws:iam::{a}:role/slipway-other-deploy",
        {},
    ),
    (
        "let itself in as another stack's preview role",
        "iam:UpdateAssumeRolePolicy",
        "arn:aws:iam::{a}:role/slipway-other-preview",
        {},
    ),
    ("take a policy off itself", "iam:DetachRolePolicy", DEPLOY, {}),
    ("take its own policy away", "iam:DeleteRolePolicy", DEPLOY, {}),
    ("delete itself", "iam:DeleteRole", DEPLOY, {}),
    ("make its own sessions last longer", "iam:UpdateRole", DEPLOY, {}),
    ("delete an older boundary", "iam:DeletePolicyVersion", POLICY, {}),
    ("change what GitHub's provider is known by", "iam:UpdateOpenIDConnectProviderThumbprint", PROVIDER, {}),
    ("make a group an administrator's", "iam:AttachGroupPolicy", GROUP, {}),
    ("give a person another boundary", "iam:PutUserPermissionsBoundary", USER, {}),
    ("write a policy for a person", "iam:PutUserPolicy", USER, {}),
    ("reset a person's Git credential", "iam:ResetServiceSpecificCredential", USER, {}),
    ("upload a key for a person", "iam:UploadSSHPublicKey", USER, {}),
    ("upload a certificate for a person", "iam:UploadSigningCertificate", USER, {}),
    ("delete another team's role", "iam:DeleteRole", FOREIGN, {}),
    ("shorten another team's sessions", "iam:UpdateRole", FOREIGN, {}),
    ("take a policy off another team's role", "iam:DetachRolePolicy", FOREIGN, {}),
    ("delete a policy of another team's role", "iam:DeleteRolePolicy", FOREIGN, {}),
    ("attach a policy to another team's role within our boundary", "iam:AttachRolePolicy", FOREIGN, BOUNDARY),
    ("add a policy to another team's role within our boundary", "iam:PutRolePolicy", FOREIGN, BOUNDARY),
    ("delete another team's policy", "iam:DeletePolicy", "arn:aws:iam::{a}:policy/payments", {}),
    ("delete a version of another team's policy", "iam:DeletePolicyVersion", "arn:aws:iam::{a}:policy/payments", {}),
    (
        "go back to an older version of another team's policy",
        "iam:SetDefaultPolicyVersion",
        "arn:aws:iam::{a}:policy/payments",
        {},
    ),
    ("attach a policy to a role of ours that has lost its boundary", "iam:AttachRolePolicy", OURS, {}),
    ("add a policy to a role of ours that has lost its boundary", "iam:PutRolePolicy", OURS, {}),
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("action", "resource", "context"), [each[1:] for each in ESCAPES], ids=[each[0] for each in ESCAPES])
def test_the_boundary_holds_whoever_wears_it_even_with_every_right(
    action: str, resource: str, context: Mapping[str, str], stack: str, programs: Mapping[str, Program]
) -> None:
    account = ACCOUNTS[stack]
    boundary = programs[stack].one("iam/policy:Policy", "boundary").inputs["policy"]
    known = {key: value.format(a=account, s=stack) for key, value in context.items()}
    for worn in (boundary, None):
        caller = Identity(
            account=account, principal_arn=f"arn:aws:iam::{account}:role/slipway-x", policies=[EVERYTHING], boundary=worn
        )
        # Without the boundary it could: so it is the boundary that holds.
        assert may_with(caller, action, resource.format(a=account, s=stack), **known) is (worn is None)


def test_without_any_one_of_its_denials_the_boundary_lets_something_through(programs: Mapping[str, Program]) -> None:
    """Each action that it denies is one of the escapes above: none is there by habit."""
    account = ACCOUNTS["dev"]
    whole = json.loads(programs["dev"].one("iam/policy:Policy", "boundary").inputs["policy"])
    spare: list[str] = []
    for number, statement_ in enumerate(whole["Statement"]):
        for action in statement_["Action"] if statement_["Effect"] == "Deny" else ():
            left = [each for each in statement_["Action"] if each != action] or ["iam:GetRole"]
            less = [{**each, "Action": left} if place == number else each for place, each in enumerate(whole["Statement"])]
            caller = Identity(
                account=account,
                principal_arn=f"arn:aws:iam::{account}:role/slipway-x",
                policies=[EVERYTHING],
                boundary=json.dumps({**whole, "Statement": less}),
            )
            escaped = [
                what
                for what, tried, resource, context in ESCAPES
                if tried == action
                and may_with(
                    caller,
                    tried,
                    resource.format(a=account, s="dev"),
                    **{key: value.format(a=account, s="dev") for key, value in context.items()},
                )
            ]
            if not escaped:
                spare.append(f"{statement_['Sid']} {action}")
    assert spare == []


@pytest.mark.parametrize("stack", STACKS)
def test_the_boundary_leaves_what_the_platform_needs(stack: str, programs: Mapping[str, Program]) -> None:
    account = ACCOUNTS[stack]
    boundary = programs[stack].one("iam/policy:Policy", "boundary").inputs["policy"]
    caller = Identity(
        account=account, principal_arn=f"arn:aws:iam::{account}:role/slipway-x", policies=[EVERYTHING], boundary=boundary
    )
    worn = BOUNDARY["iam__PermissionsBoundary"].format(a=account, s=stack)
    role = OURS.format(a=account)
    for action in ("iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:DetachRolePolicy"):
        assert may_with(caller, action, role, iam__PermissionsBoundary=worn)
    managed = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodeMinimalPolicy"
    assert may_with(caller, "iam:AttachRolePolicy", role, iam__PermissionsBoundary=worn, iam__PolicyARN=managed)
    assert may_with(caller, "iam:PassRole", role, iam__PassedToService="eks.amazonaws.com")
    assert may_with(caller, "iam:UpdateAssumeRolePolicy", role)
    assert may_with(caller, "ecr:PutImage", f"arn:aws:ecr:eu-central-1:{account}:repository/develop/storefront")


@pytest.mark.parametrize("stack", STACKS)
def test_every_role_wears_the_stack_s_boundary(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    boundary = program.one("iam/policy:Policy")
    roles = program.of("iam/role:Role")
    assert roles
    for role in roles:
        assert role.inputs["permissionsBoundary"] == boundary.outputs["arn"], role.name
        # The deploy role may make roles of this name only.
        assert role.inputs["name"].startswith("slipway-"), role.name
