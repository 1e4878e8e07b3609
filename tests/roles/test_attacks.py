"""What a hostile pull request, a hostile deployment and an account's administrator reach, and what they do not.

Each row of the table in docs/security.md about these three names a test of this file.
"""

from collections.abc import Mapping
from typing import Final

import pytest

from rehearsal.program import Program
from rehearsal.registry.policy import Identity, Request, judge
from tests.conftest import STACKS
from tests.roles.asks import holder, verdict
from tests.roles.needs import Place

REGION: Final = "eu-central-1"
ACCOUNTS: Final = {"dev": "111111111111", "stg": "222222222222", "prd": "333333333333"}
EVERYTHING: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def caller(programs: Mapping[str, Program], stack: str, purpose: str) -> Identity:
    return holder(programs[stack], purpose, Place(account=ACCOUNTS[stack], region=REGION))


def at(resource: str, stack: str) -> str:
    """Fill in region `{r}`, account `{a}` and stack `{s}`."""
    return resource.format(r=REGION, a=ACCOUNTS[stack], s=stack)


# What another team of the account has, or ours that a preview has no business with: action, resource, and the counterpart that
# the preview role may read, so that the refusal is not one of everything.
READS: Final[list[tuple[str, str, str, str, str]]] = [
    (
        "another team's function, its code and environment",
        "lambda:GetFunction",
        "arn:aws:lambda:{r}:{a}:function:payments",
        "lambda:GetFunction",
        "arn:aws:lambda:{r}:{a}:function:slipway-develop-gitops-writer",
    ),
    (
        "a name that ends like ours",
        "lambda:GetFunction",
        "arn:aws:lambda:{r}:{a}:function:not-slipway-writer",
        "lambda:GetFunction",
        "arn:aws:lambda:{r}:{a}:function:slipway-develop-gitops-writer",
    ),
    (
        "another team's build project and its environment",
        "codebuild:BatchGetProjects",
        "arn:aws:codebuild:{r}:{a}:project/payments",
        "codebuild:BatchGetProjects",
        "arn:aws:codebuild:{r}:{a}:project/slipway-develop-storefront",
    ),
    (
        "another team's pipeline",
        "codepipeline:GetPipeline",
        "arn:aws:codepipeline:{r}:{a}:payments",
        "codepipeline:GetPipeline",
        "arn:aws:codepipeline:{r}:{a}:slipway-develop-storefront",
    ),
    (
        "that another team has a secret",
        "secretsmanager:DescribeSecret",
        "arn:aws:secretsmanager:{r}:{a}:secret:payments-a1B2c3",
        "secretsmanager:DescribeSecret",
        "arn:aws:secretsmanager:{r}:{a}:secret:slipway/argocd/webhook-blue-a1B2c3",
    ),
    (
        "another team's parameter",
        "ssm:GetParameter",
        "arn:aws:ssm:{r}:{a}:parameter/payments/key",
        "ssm:DescribeParameters",
        "*",
    ),
    (
        "another team's bucket",
        "s3:ListBucket",
        "arn:aws:s3:::payments",
        "s3:ListBucket",
        "arn:aws:s3:::slipway-state-{a}-{r}",
    ),
    (
        "another team's object",
        "s3:GetObject",
        "arn:aws:s3:::payments/ledger.csv",
        "s3:GetObject",
        "arn:aws:s3:::slipway-state-{a}-{r}/.pulumi/stacks/slipway/{s}.json",
    ),
    (
        "sources in our artifact bucket",
        "s3:GetObject",
        "arn:aws:s3:::slipway-artifacts-{a}-{r}/slipway-develop-stor/source/x",
        "s3:GetBucketPolicy",
        "arn:aws:s3:::slipway-artifacts-{a}-{r}",
    ),
    (
        "visitors in the load balancer's log",
        "s3:GetObject",
        "arn:aws:s3:::slipway-{s}-edge-logs-{a}-{r}/AWSLogs/x",
        "s3:GetBucketPolicy",
        "arn:aws:s3:::slipway-{s}-edge-logs-{a}-{r}",
    ),
    (
        "another team's cluster",
        "eks:DescribeCluster",
        "arn:aws:eks:{r}:{a}:cluster/payments",
        "eks:DescribeCluster",
        "arn:aws:eks:{r}:{a}:cluster/slipway-{s}-blue",
    ),
    (
        "another team's queue",
        "sqs:GetQueueAttributes",
        "arn:aws:sqs:{r}:{a}:payments",
        "sqs:GetQueueAttributes",
        "arn:aws:sqs:{r}:{a}:slipway-develop-images",
    ),
    (
        "what another team's role may do",
        "iam:GetRolePolicy",
        "arn:aws:iam::{a}:role/payments",
        "iam:GetRolePolicy",
        "arn:aws:iam::{a}:role/slipway-{s}-flow",
    ),
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("theirs", "ours"), [(each[1:3], each[3:]) for each in READS], ids=[each[0] for each in READS])
def test_a_hostile_pull_request_does_not_read(
    theirs: tuple[str, str], ours: tuple[str, str], stack: str, programs: Mapping[str, Program]
) -> None:
    preview = caller(programs, stack, "preview")
    assert not verdict(preview, theirs[0], at(theirs[1], stack))
    assert verdict(preview, ours[0], at(ours[1], stack))


# Never, whosever it is: contents, secrets, and lists that would show every team's environment variables.
NEVER: Final[list[tuple[str, str]]] = [
    ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:{r}:{a}:secret:payments-a1B2c3"),
    ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:{r}:{a}:secret:slipway/github-app/develop-a1B2c3"),
    ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:{r}:{a}:secret:slipway/argocd/reader-a1B2c3"),
    ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:{r}:{a}:secret:slipway/argocd/webhook-blue-a1B2c3"),
    ("secretsmanager:BatchGetSecretValue", "*"),
    ("ssm:GetParametersByPath", "arn:aws:ssm:{r}:{a}:parameter/"),
    ("lambda:ListFunctions", "*"),
    ("lambda:GetFunctionConfiguration", "arn:aws:lambda:{r}:{a}:function:payments"),
    ("lambda:ListVersionsByFunction", "arn:aws:lambda:{r}:{a}:function:payments"),
    ("lambda:ListEventSourceMappings", "*"),
    ("codebuild:BatchGetBuilds", "arn:aws:codebuild:{r}:{a}:project/payments"),
    ("codebuild:ListProjects", "*"),
    ("ecs:DescribeTaskDefinition", "*"),
    ("ec2:DescribeInstanceAttribute", "arn:aws:ec2:{r}:{a}:instance/i-0123456789abcdef0"),
    ("ec2:DescribeLaunchTemplateVersions", "*"),
    ("cloudformation:GetTemplate", "arn:aws:cloudformation:{r}:{a}:stack/payments/x"),
    ("logs:GetLogEvents", "arn:aws:logs:{r}:{a}:log-group:/slipway/develop/builds/storefront:log-stream:x"),
    ("logs:FilterLogEvents", "arn:aws:logs:{r}:{a}:log-group:/aws/lambda/payments"),
    ("sqs:ReceiveMessage", "arn:aws:sqs:{r}:{a}:slipway-develop-images"),
    ("ecr:BatchGetImage", "arn:aws:ecr:{r}:{a}:repository/develop/storefront"),
    ("dynamodb:GetItem", "arn:aws:dynamodb:{r}:{a}:table/payments"),
    ("kms:Decrypt", "arn:aws:kms:{r}:{a}:key/0a1b2c3d-0000-4000-8000-000000000000"),
    ("s3:PutObject", "arn:aws:s3:::slipway-state-{a}-{r}/.pulumi/stacks/slipway/{s}.json"),
    ("s3:DeleteObject", "arn:aws:s3:::slipway-state-{a}-{r}/.pulumi/stacks/slipway/{s}.json"),
    ("lambda:InvokeFunction", "arn:aws:lambda:{r}:{a}:function:slipway-develop-gitops-writer"),
    ("codebuild:StartBuild", "arn:aws:codebuild:{r}:{a}:project/slipway-develop-storefront"),
    ("iam:PassRole", "arn:aws:iam::{a}:role/slipway-{s}-deploy"),
    ("sts:AssumeRole", "arn:aws:iam::{a}:role/slipway-{s}-deploy"),
    ("eks:CreateAccessEntry", "arn:aws:eks:{r}:{a}:cluster/slipway-{s}-blue"),
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("action", "resource"), NEVER, ids=[f"{action} {resource}" for action, resource in NEVER])
def test_a_hostile_pull_request_never_may(action: str, resource: str, stack: str, programs: Mapping[str, Program]) -> None:
    preview = caller(programs, stack, "preview")
    assert not verdict(preview, action, at(resource, stack))
    # The preview's own policies refuse it: an administrator within no boundary could.
    admin = Identity(account=preview.account, principal_arn=f"arn:aws:iam::{preview.account}:role/admin", policies=[EVERYTHING])
    assert verdict(admin, action, at(resource, stack))


# Another team's role and policy, for the deploy role itself and for a role that it makes with every right that it can give.
OTHERS: Final[list[tuple[str, str]]] = [
    ("iam:AttachRolePolicy", "arn:aws:iam::{a}:role/payments"),
    ("iam:CreatePolicyVersion", "arn:aws:iam::{a}:policy/payments"),
    ("iam:DeletePolicy", "arn:aws:iam::{a}:policy/payments"),
    ("iam:DeleteRole", "arn:aws:iam::{a}:role/payments"),
    ("iam:DeleteRolePolicy", "arn:aws:iam::{a}:role/payments"),
    ("iam:DetachRolePolicy", "arn:aws:iam::{a}:role/payments"),
    ("iam:PassRole", "arn:aws:iam::{a}:role/payments"),
    ("iam:PutRolePolicy", "arn:aws:iam::{a}:role/payments"),
    ("iam:SetDefaultPolicyVersion", "arn:aws:iam::{a}:policy/payments"),
    ("iam:UpdateAssumeRolePolicy", "arn:aws:iam::{a}:role/payments"),
    ("iam:UpdateRole", "arn:aws:iam::{a}:role/payments"),
    ("sts:AssumeRole", "arn:aws:iam::{a}:role/payments"),
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("action", "resource"), OTHERS, ids=[action for action, _ in OTHERS])
def test_a_hostile_deployment_does_not_touch_another_team_s_roles(
    action: str, resource: str, stack: str, programs: Mapping[str, Program]
) -> None:
    deploy = caller(programs, stack, "deploy")
    made = Identity(
        account=deploy.account,
        principal_arn=f"arn:aws:iam::{deploy.account}:role/slipway-made-by-it",
        policies=[EVERYTHING],
        boundary=deploy.boundary,
    )
    context = (
        ("iam:PassedToService", "lambda.amazonaws.com"),
        ("iam:PermissionsBoundary", f"arn:aws:iam::{deploy.account}:policy/slipway-{stack}-boundary"),
    )
    for each in (deploy, made):
        assert not verdict(each, action, at(resource, stack), context)


# Within its account the deploy role has PowerUserAccess: the page says so, and that such an account is the platform's alone.
ADMITTED: Final[list[tuple[str, str]]] = [
    ("eks:CreateAccessEntry", "arn:aws:eks:{r}:{a}:cluster/payments"),
    ("lambda:UpdateFunctionCode", "arn:aws:lambda:{r}:{a}:function:payments"),
    ("s3:GetObject", "arn:aws:s3:::payments/ledger.csv"),
    ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:{r}:{a}:secret:payments-a1B2c3"),
    ("ssm:SendCommand", "arn:aws:ec2:{r}:{a}:instance/i-0123456789abcdef0"),
]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("action", "resource"), ADMITTED, ids=[action for action, _ in ADMITTED])
def test_a_deployment_reaches_every_function_and_secret_of_its_account_as_the_page_admits(
    action: str, resource: str, stack: str, programs: Mapping[str, Program]
) -> None:
    """Whoever makes this red has narrowed the role: take the admission out of docs/security.md with it."""
    assert verdict(caller(programs, stack, "deploy"), action, at(resource, stack))


# Other accounts' resources. Where one is declared with a policy, that policy is weighed too.
ABROAD: Final[list[tuple[str, str]]] = [
    ("ecr:PutImage", "arn:aws:ecr:{r}:{a}:repository/release/storefront"),
    ("iam:GetRole", "arn:aws:iam::{a}:role/slipway-{s}-deploy"),
    ("kms:Decrypt", "arn:aws:kms:{r}:{a}:key/0a1b2c3d-0000-4000-8000-000000000000"),
    ("lambda:InvokeFunction", "arn:aws:lambda:{r}:{a}:function:slipway-release-gitops-writer"),
    ("s3:GetObject", "arn:aws:s3:::slipway-state-{a}-{r}/.pulumi/stacks/slipway/{s}.json"),
    ("s3:PutObject", "arn:aws:s3:::slipway-state-{a}-{r}/.pulumi/stacks/slipway/{s}.json"),
    ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:{r}:{a}:secret:slipway/github-app/release-a1B2c3"),
    ("sqs:SendMessage", "arn:aws:sqs:{r}:{a}:slipway-release-images"),
]


def administrator(stack: str) -> Identity:
    account = ACCOUNTS[stack]
    return Identity(account=account, principal_arn=f"arn:aws:iam::{account}:role/platform-admin", policies=[EVERYTHING])


def policy_on(program: Program, resource: str) -> str | None:
    """The declared policy of a queue or repository, by its ARN; None where it has none."""
    found = {
        **{f"repository/{each.inputs['repository']}": each for each in program.of("ecr/repositoryPolicy:RepositoryPolicy")},
        **{str(each.inputs["queueUrl"]).rpartition("/")[2]: each for each in program.of("sqs/queuePolicy:QueuePolicy")},
    }
    each = found.get(resource.rpartition(":")[2])
    return None if each is None else each.inputs["policy"]


@pytest.mark.parametrize(("action", "resource"), ABROAD, ids=[f"{action} {resource}" for action, resource in ABROAD])
@pytest.mark.parametrize(("stack", "other"), [(one, two) for one in STACKS for two in STACKS if one != two])
def test_an_account_s_administrator_does_not_reach_into_another_account(
    action: str, resource: str, stack: str, other: str, programs: Mapping[str, Program]
) -> None:
    target = at(resource, other)
    context = {"aws:SecureTransport": "true", "aws:SourceAccount": None, "aws:SourceArn": None}
    request = Request(
        caller=administrator(stack), action=action, resource=target, context=context, resource_account=ACCOUNTS[other]
    )
    assert not judge(request, resource_policy=policy_on(programs[other], target))
    assert judge(
        Request(caller=administrator(other), action=action, resource=target, context=context, resource_account=ACCOUNTS[other]),
        resource_policy=policy_on(programs[other], target),
    )


@pytest.mark.parametrize(("stack", "pulls"), [("dev", False), ("prd", True)])
def test_release_images_are_pulled_by_the_environments_that_run_them_and_pushed_by_none(
    stack: str, programs: Mapping[str, Program], *, pulls: bool
) -> None:
    repository = at("arn:aws:ecr:{r}:{a}:repository/release/storefront", "stg")
    policy = policy_on(programs["stg"], repository)
    assert policy is not None
    for action, allowed in (("ecr:BatchGetImage", pulls), ("ecr:PutImage", False), ("ecr:BatchDeleteImage", False)):
        request = Request(caller=administrator(stack), action=action, resource=repository)
        assert bool(judge(request, resource_policy=policy)) is allowed
