"""What each identity of AWS reaches in all three accounts: exactly this, and no more.

tests/roles/test_attacks.py attacks with the roles of GitHub Actions and with what bootstrap gives administrators.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

import pytest

from components import iam
from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.program import Program, evaluate
from rehearsal.registry.policy import Identity
from tests.components.test_settings import changed
from tests.security.reach import ACTIONS, REGION, World, world_of

ACCOUNTS: Final = {"dev": "111111111111", "stg": "222222222222", "prd": "333333333333"}
HOSTS: Final = {"dev": ("develop", "develop"), "stg": ("release", "master")}
"""Track and application branch by the stack that hosts it."""
SERVICES: Final = ("shop", "shop-admin", "storefront")
SECRETS: Final[Mapping[str, Sequence[str]]] = {
    "dev": [
        "slipway/argocd/reader",
        "slipway/argocd/ui",
        "slipway/github-app/builds/reporter",
        "slipway/github-app/develop",
    ],
    "stg": [
        "slipway/argocd/reader",
        "slipway/argocd/ui",
        "slipway/github-app/builds/reporter",
        "slipway/github-app/release",
    ],
    "prd": ["slipway/argocd/reader", "slipway/argocd/ui"],
}
# Roles that are judged elsewhere, or that nothing of ours runs with.
ELSEWHERE: Final = {
    "preview": "tests/roles/test_attacks.py",
    "deploy": "tests/roles/test_attacks.py",
    "blue-control": "EKS alone takes it on: tests/components/test_cluster.py",
}


def services(platform: Platform) -> None:
    """Declare three services: two whose names begin alike, of which one has permissions, and one without any."""
    for name in SERVICES:
        may: list[iam.Statement] = []
        if name == "shop-admin":
            own = f"arn:aws:secretsmanager:{REGION}:{platform.settings.environment.account}:secret:payroll-??????"
            may = [iam.allow("ReadOne", actions=["secretsmanager:GetSecretValue"], resources=[own])]
        Service(name, ServiceArgs(platform=platform, repository=name, port=8080, permissions=may))


@cache
def evaluated() -> Mapping[str, Program]:
    """Return the example's programs with those services, Apps that report builds, and a Slack channel."""
    slack = {"workspaceId": "T07EA123LEP", "channelId": "C07EZ1ABC23"}
    found: dict[str, Program] = {}
    for stack in ACCOUNTS:
        config: dict[str, object] = {"slipway:alarms": {"slack": slack}} if stack in HOSTS else {}
        if stack in HOSTS:
            config |= changed("slipway:builds", "reporter", {"appId": 7, "installationId": 70}, stack)
        found[stack] = evaluate(stack, config=config, catalogue=services)
    return found


@pytest.fixture(scope="module")
def world() -> World:
    """Return the three accounts."""
    return world_of(evaluated(), ACCOUNTS, SECRETS)


# The rows: what a role of the kind reaches. `{s}` is the stack, `{t}` its track, `{b}` the track's application branch, `{n}` the
# service, `{p}` the service's pipeline. A line with `{each}` stands for every service.
OF_A_SERVICE: Final[Mapping[str, Sequence[str]]] = {
    "{t}-{n}-build": (
        "ecr:BatchGetImage {t}/{n}",
        "ecr:GetAuthorizationToken account",
        "ecr:PutImage {t}/{n}",
        "logs:PutLogEvents /slipway/{t}/builds/{n}",
        "s3:GetObject builds of {n}",
    ),
    "{t}-{n}-pipeline": (
        "codebuild:StartBuild slipway-{t}-{n}",
        "codeconnections:UseConnection to read example-org/{n} {b}",
        "s3:GetObject builds of {n}",
        "s3:PutObject builds of {n}",
    ),
}
OF_A_TRACK: Final[Mapping[str, Sequence[str]]] = {
    "{t}-image-reader": ("ecr:DescribeImages {t}/{each}",),
    "{t}-reporter": (
        "codepipeline:GetPipelineExecution {pipeline}",
        "logs:PutLogEvents /aws/lambda/slipway-{t}-build-reporter",
        "secretsmanager:GetSecretValue slipway/github-app/builds/reporter",
        "sns:Publish slipway-{t}-alarms",
        "sqs:DeleteMessage slipway-{t}-builds",
        "sqs:ReceiveMessage slipway-{t}-builds",
        "sqs:SendMessage slipway-{t}-failures",
    ),
    "{t}-sweep": ("lambda:InvokeFunction slipway-{t}-gitops-writer", "sqs:SendMessage slipway-{t}-undelivered"),
    "{t}-writer": (
        "ecr:BatchGetImage {t}/{each}",
        "ecr:DescribeImages {t}/{each}",
        "ecr:PutImage {t}/{each}",
        "logs:PutLogEvents /aws/lambda/slipway-{t}-gitops-writer",
        "secretsmanager:GetSecretValue slipway/github-app/{t}",
        "sqs:DeleteMessage slipway-{t}-images",
        "sqs:ReceiveMessage slipway-{t}-images",
        "sqs:SendMessage slipway-{t}-failures",
        "ssm:GetParametersByPath /slipway/{t}/services",
    ),
    "{s}-chat": ("cloudwatch:DescribeAlarms {alarm}", "cloudwatch:GetMetricData account"),
}
OF_AN_ENVIRONMENT: Final[Mapping[str, Sequence[str]]] = {
    "{s}-blue-aws-load-balancer-controller": (
        "ec2:AuthorizeSecurityGroupIngress slipway-{s}-blue's security group",
        "ec2:DescribeInstances account",
        "elasticloadbalancing:DescribeTargetGroups account",
        # Bindings name target groups by ARN, and their names say nothing of the cluster. The page admits it.
        "elasticloadbalancing:RegisterTargets payroll's target group",
        "elasticloadbalancing:RegisterTargets slipway-{s}-blue's target group",
    ),
    "{s}-blue-cluster-autoscaler": (
        "autoscaling:DescribeAutoScalingGroups account",
        "autoscaling:SetDesiredCapacity slipway-{s}-blue's scaling group",
        "ec2:DescribeLaunchTemplateVersions account",
        "eks:DescribeNodegroup slipway-{s}-blue's node group",
    ),
    "{s}-blue-external-secrets": (
        "secretsmanager:GetSecretValue slipway/argocd/reader",
        "secretsmanager:GetSecretValue slipway/argocd/ui",
        "secretsmanager:GetSecretValue slipway/argocd/webhook-blue",
    ),
    "{s}-blue-nodes": (
        "ec2:CreateNetworkInterface account",
        "ec2:DescribeInstances account",
        "ec2:ModifyNetworkInterfaceAttribute account",
        "ecr:BatchGetImage payroll's repository",
        "ecr:GetAuthorizationToken account",
        # It takes a pod's own token, which a node has for the pods that run on it.
        "eks-auth:AssumeRoleForPodIdentity account",
    ),
    "{s}-blue-shop-admin-pods": ("secretsmanager:GetSecretValue payroll's secret",),
    "{s}-flow": ("logs:PutLogEvents /slipway/{s}/flow",),
}


def rows() -> Mapping[str, set[str]]:
    """Return what each role must reach, by `stack role`."""
    found: dict[str, set[str]] = {}
    for stack, program in evaluated().items():
        track, branch = HOSTS.get(stack, ("", ""))
        pipelines = [str(each.inputs["name"]) for each in program.of("aws:codepipeline/pipeline:Pipeline")]
        alarms = [str(each.inputs["name"]) for each in program.of("aws:cloudwatch/metricAlarm:MetricAlarm")]
        lists = {"each": SERVICES, "pipeline": pipelines, "alarm": alarms}

        def filled(
            lines: Sequence[str], names: Mapping[str, str], stack: str = stack, lists: Mapping[str, Sequence[str]] = lists
        ) -> set[str]:
            result: set[str] = set()
            for line in lines:
                key = next((key for key in lists if f"{{{key}}}" in line), "")
                for value in lists.get(key, [""]):
                    action, _, name = line.format(**names, **{key or "each": value}).partition(" ")
                    result.add(f"{action} {stack} {name}")
            return result

        names = {"s": stack, "t": track, "b": branch}
        kinds = {**OF_AN_ENVIRONMENT, **(OF_A_TRACK if track else {})}
        found |= {f"{stack} {role.format(**names)}": filled(lines, names) for role, lines in kinds.items()}
        for service in SERVICES if track else ():
            own = {**names, "n": service}
            found |= {f"{stack} {role.format(**own)}": filled(lines, own) for role, lines in OF_A_SERVICE.items()}
        # A node pulls what its account holds.
        found[f"{stack} {stack}-blue-nodes"] |= {f"ecr:BatchGetImage {stack} {track}/{each}" for each in SERVICES if track}
    # prd's nodes pull the images of stg's registry, which names prd's account.
    found["prd prd-blue-nodes"] |= {f"ecr:BatchGetImage stg release/{each}" for each in SERVICES}
    return found


def stack_and_kind(role: str) -> tuple[str, str]:
    stack, _, name = role.partition(" ")
    return stack, name.removeprefix(f"{stack}-")


ROLES: Final = [
    *(f"{s} {role.format(s=s)}" for s in ACCOUNTS for role in OF_AN_ENVIRONMENT),
    *(f"{s} {role.format(s=s, t=t)}" for s, (t, _) in HOSTS.items() for role in OF_A_TRACK),
    *(f"{s} {role.format(t=t, n=n)}" for s, (t, _) in HOSTS.items() for role in OF_A_SERVICE for n in SERVICES),
]


def of(*kinds: str) -> list[str]:
    """Return the roles whose names end like this."""
    return [role for role in ROLES if role.endswith(kinds)]


def test_every_declared_role_is_judged(world: World) -> None:
    assert rows().keys() == set(ROLES)
    assert {role for role in world.roles if stack_and_kind(role)[1] not in ELSEWHERE} == set(ROLES)


@pytest.mark.parametrize("role", of("-build"))
def test_a_compromised_build_reaches_its_own_repository_source_and_log_and_no_more(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


@pytest.mark.parametrize("role", of("-pipeline"))
def test_a_pipeline_s_role_reads_one_branch_and_starts_one_build_and_no_more(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


@pytest.mark.parametrize("role", of("-pods"))
def test_a_compromised_pod_reaches_what_its_service_s_permissions_say_and_no_more(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


@pytest.mark.parametrize("stack", ACCOUNTS)
def test_a_compromised_pod_of_a_service_without_permissions_reaches_nothing(stack: str, world: World) -> None:
    program = evaluated()[stack]
    bound = {
        (str(each.inputs["namespace"]), str(each.inputs["serviceAccount"]))
        for each in program.of("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    }
    assert {namespace for namespace, _ in bound} == {"kube-system", "external-secrets", "shop-admin"}
    # Whoever is somebody in the account without any policy: no resource's own policy lets the whole account in.
    account = ACCOUNTS[stack]
    assert world.reached(Identity(account=account, principal_arn=f"arn:aws:iam::{account}:role/x", policies=[])) == []


@pytest.mark.parametrize("role", of("-load-balancer-controller", "-external-secrets", "-cluster-autoscaler"))
def test_a_compromised_controller_reaches_what_it_is_for_and_no_more(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


@pytest.mark.parametrize("role", of("-nodes"))
def test_a_compromised_node_pulls_images_and_reads_no_secret_and_no_state(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


@pytest.mark.parametrize("role", of("-writer", "-sweep"))
def test_a_compromised_writer_reaches_its_track_and_no_more(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


@pytest.mark.parametrize("role", of("-reporter"))
def test_a_compromised_build_reporter_reads_its_track_s_runs_and_one_key_and_no_more(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


@pytest.mark.parametrize("role", of("-image-reader"))
def test_a_gitops_workflow_sees_which_images_there_are_and_no_more(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


@pytest.mark.parametrize("role", of("-chat", "-flow"))
def test_the_chat_reads_alarms_and_the_flow_log_is_written_and_no_more(role: str, world: World) -> None:
    assert set(world.reached(world.roles[role])) == rows()[role]


def abroad(world: World, stack: str) -> set[str]:
    """Return what an account's administrator reaches in the other accounts."""
    return {each for each in world.reached(world.administrator(stack)) if each.split(" ")[1] != stack}


@pytest.mark.parametrize("stack", ACCOUNTS)
def test_an_administrator_reaches_other_accounts_only_to_pull_release_images_to_prd(stack: str, world: World) -> None:
    pulled = {f"ecr:BatchGetImage stg release/{each}" for each in SERVICES}
    assert abroad(world, stack) == (pulled if stack == "prd" else set())


# The tests above see a widening, wherever it is.


def widened(caller: Identity) -> list[tuple[str, Identity]]:
    """Return the role with each of its statements in turn for every resource and without conditions."""
    found: list[tuple[str, Identity]] = []
    for number, policy in enumerate(caller.policies):
        document: dict[str, Any] = json.loads(policy) if isinstance(policy, str) else dict(policy)
        for place, statement in enumerate(document["Statement"]):
            if statement["Resource"] in ("*", ["*"]):
                continue
            wide = {key: value for key, value in statement.items() if key != "Condition"} | {"Resource": "*"}
            statements = [*document["Statement"][:place], wide, *document["Statement"][place + 1 :]]
            policies = [*caller.policies[:number], {**document, "Statement": statements}, *caller.policies[number + 1 :]]
            found.append((str(statement.get("Sid")), replace(caller, policies=policies)))
    return found


# Statements that nothing can widen.
HARMLESS: Final = {
    "AmazonEKSCNIPolicyENITag": "tags of network interfaces are of no use to an attacker",
    "RegisterPods": "every target group of the account already, as the page admits",
}


@pytest.mark.parametrize("role", [role for role in ROLES if role.startswith("dev ")])
def test_a_widened_statement_of_a_role_is_seen(role: str, world: World) -> None:
    caller = world.roles[role]
    for sid, wide in widened(caller):
        assert (set(world.reached(wide)) != rows()[role]) is (sid not in HARMLESS), sid


# The boundary keeps every role from taking on another one.
@pytest.mark.parametrize("kind", [kind for kind in ACTIONS if kind != "trust"])
def test_a_planted_statement_about_any_kind_of_resource_is_seen(kind: str, world: World) -> None:
    role = "dev develop-shop-build"
    caller = world.roles[role]
    planted = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(ACTIONS[kind]), "Resource": "*"}]}
    assert set(world.reached(replace(caller, policies=[*caller.policies, planted]))) > rows()[role]


@pytest.mark.parametrize("kind", ["object", "queue", "repository", "topic", "trust"])
def test_a_resource_s_policy_that_lets_another_account_in_is_seen(kind: str, world: World) -> None:
    index, target = next(
        (index, each)
        for index, each in enumerate(world.targets)
        if each.kind == kind and each.policy and each.account == ACCOUNTS["stg"]
    )
    document: dict[str, Any] = json.loads(target.policy or "")
    planted = {"Effect": "Allow", "Principal": {"AWS": ACCOUNTS["dev"]}, "Action": ACTIONS[kind][0]}
    if kind not in {"repository", "trust"}:
        planted["Resource"] = target.arn
    open_ = replace(target, policy=json.dumps({**document, "Statement": [*document["Statement"], planted]}))
    wide = replace(world, targets=[*world.targets[:index], open_, *world.targets[index + 1 :]])
    assert abroad(wide, "dev") == {f"{ACTIONS[kind][0]} {target.name}"}
