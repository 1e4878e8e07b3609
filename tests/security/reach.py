"""What each identity of the three accounts reaches in all of them, by the declared documents and IAM's rules.

`reached` asks the evaluator for every pair of a sensitive action and a resource that stands in one of the accounts: those of
the platform, and in each account some of another team's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from components import naming
from rehearsal.program import Declared, Program
from rehearsal.registry.policy import Identity, Request, judge
from tests.components.kit import documents
from tests.roles.asks import managed

STATE_KEY: Final = "key/11111111-2222-3333-4444-555555555555"
REGION: Final = "eu-central-1"
CONTROL_PLANE: Final = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
"""AWS's own for the control plane. EKS alone takes that role on; nothing of ours runs with it."""

# What an attacker would try, by kind of resource: read content, change it, become somebody else, or see what there is.
ACTIONS: Final[Mapping[str, Sequence[str]]] = {
    "account": (
        "autoscaling:DescribeAutoScalingGroups",
        "cloudwatch:GetMetricData",
        "cloudwatch:PutMetricAlarm",
        "ec2:CreateNetworkInterface",
        "ec2:DescribeInstances",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:ModifyNetworkInterfaceAttribute",
        "ec2:RunInstances",
        "ecr:GetAuthorizationToken",
        "eks-auth:AssumeRoleForPodIdentity",
        "elasticloadbalancing:DescribeTargetGroups",
        "iam:CreateRole",
        "iam:CreateUser",
        "lambda:CreateFunction",
        "lambda:ListFunctions",
        "secretsmanager:BatchGetSecretValue",
        "ssm:SendCommand",
    ),
    "alarm": ("cloudwatch:DescribeAlarms", "cloudwatch:SetAlarmState"),
    "catalogue": ("ssm:GetParametersByPath",),
    "cluster": ("eks:AccessKubernetesApi", "eks:CreateAccessEntry", "eks:DeleteCluster", "eks:UpdateClusterConfig"),
    "connection": ("codeconnections:UseConnection",),
    "function": (
        "lambda:DeleteFunction",
        "lambda:GetFunction",
        "lambda:InvokeFunction",
        "lambda:UpdateFunctionCode",
        "lambda:UpdateFunctionConfiguration",
    ),
    "key": ("kms:Decrypt", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"),
    "log group": ("logs:DeleteLogGroup", "logs:FilterLogEvents"),
    "log stream": ("logs:GetLogEvents", "logs:PutLogEvents"),
    "node group": ("eks:DeleteNodegroup", "eks:DescribeNodegroup"),
    "object": ("s3:DeleteObject", "s3:GetObject", "s3:PutObject"),
    "parameter": ("ssm:GetParameter", "ssm:PutParameter"),
    "pipeline": (
        "codepipeline:GetPipelineExecution",
        "codepipeline:StartPipelineExecution",
        "codepipeline:UpdatePipeline",
    ),
    "project": ("codebuild:BatchGetProjects", "codebuild:StartBuild", "codebuild:UpdateProject"),
    "queue": ("sqs:DeleteMessage", "sqs:ReceiveMessage", "sqs:SendMessage", "sqs:SetQueueAttributes"),
    "repository": (
        "ecr:BatchDeleteImage",
        "ecr:BatchGetImage",
        "ecr:DescribeImages",
        "ecr:PutImage",
        "ecr:SetRepositoryPolicy",
    ),
    "role": ("iam:AttachRolePolicy", "iam:PassRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy"),
    "scaling group": ("autoscaling:SetDesiredCapacity",),
    "secret": ("secretsmanager:DeleteSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"),
    "security group": ("ec2:AuthorizeSecurityGroupIngress",),
    "target group": ("elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:RegisterTargets"),
    "topic": ("sns:Publish", "sns:SetTopicAttributes"),
    "trust": ("sts:AssumeRole",),
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A resource that somebody might want to reach.

    Attributes:
        kind: Key of `ACTIONS`.
        name: As the tables of the tests name it: stack, then the resource's own name.
        arn: Its ARN.
        account: Its account.
        policy: Its resource policy, None without one.
        context: Condition keys that a call carries because of the resource: its tags, or what is asked of a connection.
    """

    kind: str
    name: str
    arn: str
    account: str
    policy: str | None = None
    context: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class World:
    """Identities and targets of three accounts."""

    accounts: Mapping[str, str]
    targets: Sequence[Target]
    roles: Mapping[str, Identity] = field(default_factory=dict[str, Identity])
    keys: Sequence[str] = ()

    def reached(self, caller: Identity) -> list[str]:
        """`action name` of all that the caller may do to the targets, sorted."""
        return sorted(
            f"{action} {target.name}"
            for target in self.targets
            for action in ACTIONS[target.kind]
            if self._may(caller, action, target)
        )

    def administrator(self, stack: str) -> Identity:
        """A person with every right in a stack's account."""
        account = self.accounts[stack]
        return Identity(
            account=account,
            principal_arn=f"arn:aws:iam::{account}:role/admin",
            policies=[{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}],
        )

    def _may(self, caller: Identity, action: str, target: Target) -> bool:
        context: dict[str, Any] = {
            **dict.fromkeys(self.keys),
            "aws:SecureTransport": "true",
            # The most that a caller could ask for, where a policy allows by it.
            "iam:PassedToService": "lambda.amazonaws.com",
            **target.context,
        }
        request = Request(caller=caller, action=action, resource=target.arn, resource_account=target.account, context=context)
        return bool(judge(request, resource_policy=target.policy))


def world_of(programs: Mapping[str, Program], accounts: Mapping[str, str], secrets: Mapping[str, Sequence[str]]) -> World:
    """Gather what three programs declare, what bootstrap made, and what other teams of the accounts have.

    Args:
        programs: By stack.
        accounts: Account by stack.
        secrets: Names of the secrets that bootstrap made, by stack.
    """
    targets = [
        *(target for stack, program in programs.items() for target in _declared(stack, accounts[stack], program)),
        *(target for stack in programs for target in _of_bootstrap(stack, accounts[stack], secrets[stack])),
        *(target for stack in programs for target in _of_others(stack, accounts[stack])),
    ]
    keys = {
        key
        for program in programs.values()
        for document in documents(program)
        for statement in document.statements
        for conditions in statement.get("Condition", {}).values()
        for key in conditions
    }
    roles = {
        f"{stack} {each.inputs['name'].removeprefix('slipway-')}": _identity(program, each, accounts[stack])
        for stack, program in programs.items()
        for each in program.of("aws:iam/role:Role")
    }
    return World(
        accounts=accounts, targets=targets, roles=roles, keys=sorted(keys - {"aws:PrincipalArn", "aws:PrincipalAccount"})
    )


def _identity(program: Program, role: Declared, account: str) -> Identity:
    inline = [each.inputs["policy"] for each in program.of("aws:iam/rolePolicy:RolePolicy") if each.inputs["role"] == role.id]
    ours = {str(each.outputs["arn"]): str(each.inputs["policy"]) for each in program.of("aws:iam/policy:Policy")}
    attached = [
        str(each.inputs["policyArn"])
        for each in program.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
        if each.inputs["role"] == role.id and each.inputs["policyArn"] != CONTROL_PLANE
    ]
    return Identity(
        account=account,
        principal_arn=str(role.outputs["arn"]),
        policies=[*inline, *(ours.get(arn) or managed(arn) for arn in attached)],
        boundary=ours[str(role.inputs["permissionsBoundary"])],
        session="attacker",
    )


_KINDS: Final = {
    "aws:cloudwatch/metricAlarm:MetricAlarm": "alarm",
    "aws:codebuild/project:Project": "project",
    "aws:codepipeline/pipeline:Pipeline": "pipeline",
    "aws:ecr/repository:Repository": "repository",
    "aws:iam/role:Role": "role",
    "aws:lambda/function:Function": "function",
    "aws:secretsmanager/secret:Secret": "secret",
    "aws:sns/topic:Topic": "topic",
    "aws:sqs/queue:Queue": "queue",
    "aws:ssm/parameter:Parameter": "parameter",
}
_POLICIES: Final = {
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "repository",
    "aws:sns/topicPolicy:TopicPolicy": "arn",
    "aws:sqs/queuePolicy:QueuePolicy": "queueUrl",
}


def _declared(stack: str, account: str, program: Program) -> Iterable[Target]:
    policies = {
        str(each.inputs[key]): str(each.inputs["policy"]) for type_, key in _POLICIES.items() for each in program.of(type_)
    }
    for each in program.resources:
        if (kind := _KINDS.get(each.type)) is None:
            continue
        arn, name = str(each.outputs["arn"]), str(each.inputs["name"])
        policy = policies.get(arn) or policies.get(name) or policies.get(each.id)
        yield Target(kind=kind, name=f"{stack} {name}", arn=arn, account=account, policy=policy)
    for each in program.of("aws:iam/role:Role"):
        # The evaluator knows no federated principals; tests/components/test_ci_access.py attacks those.
        if '"Federated"' not in (trust := str(each.inputs["assumeRolePolicy"])):
            name = f"{stack} {each.inputs['name']}"
            yield Target(kind="trust", name=name, arn=str(each.outputs["arn"]), account=account, policy=trust)
    for each in program.of("aws:cloudwatch/logGroup:LogGroup"):
        name = f"{stack} {each.inputs['name']}"
        yield Target(kind="log group", name=name, arn=f"{each.outputs['arn']}:*", account=account)
        yield Target(kind="log stream", name=name, arn=f"{each.outputs['arn']}:log-stream:one", account=account)
    yield Target(kind="account", name=f"{stack} account", arn="*", account=account)
    for path in {str(each.inputs["name"]).rpartition("/")[0] for each in program.of("aws:ssm/parameter:Parameter")}:
        arn = f"arn:aws:ssm:{REGION}:{account}:parameter{path}"
        yield Target(kind="catalogue", name=f"{stack} {path}", arn=arn, account=account)
    for each in program.of("eks:index:Cluster"):
        yield from _of_cluster(stack, account, str(each.inputs["name"]))
    yield from _artifacts(stack, account, program)
    yield from _connections(stack, account, program)


def _of_cluster(stack: str, account: str, cluster: str) -> Iterable[Target]:
    """A cluster, and by tags what is its own and what belongs to another one of the account."""
    here = f"{REGION}:{account}"
    group = f"arn:aws:autoscaling:{here}:autoScalingGroup:11111111-2222-3333-4444-555555555555:autoScalingGroupName"
    yield Target(kind="cluster", name=f"{stack} {cluster}", arn=f"arn:aws:eks:{here}:cluster/{cluster}", account=account)
    for owner, ours in ((cluster, True), ("payroll", False)):
        for kind, arn, tag in (
            ("node group", f"arn:aws:eks:{here}:nodegroup/{owner}/nodes/11111111", ""),
            ("scaling group", f"{group}/{owner}", f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster}"),
            (
                "security group",
                f"arn:aws:ec2:{here}:security-group/sg-{owner}",
                f"aws:ResourceTag/kubernetes.io/cluster/{cluster}",
            ),
            ("target group", f"arn:aws:elasticloadbalancing:{here}:targetgroup/{owner}/0123456789abcdef", ""),
        ):
            context = {tag: "owned"} if tag and ours else {}
            yield Target(kind=kind, name=f"{stack} {owner}'s {kind}", arn=arn, account=account, context=context)


def _artifacts(stack: str, account: str, program: Program) -> Iterable[Target]:
    """Objects of our buckets: each pipeline's artifacts by service, and the load balancer's log."""
    for each in program.of("aws:s3/bucketPolicy:BucketPolicy"):
        bucket = next(one for one in program.of("aws:s3/bucket:Bucket") if one.id == each.inputs["bucket"])
        folders = {
            str(one.inputs["name"]).rpartition(".")[2]: str(one.inputs["name"])[: naming.ARTIFACT_FOLDER_LENGTH]
            for one in program.of("aws:codepipeline/pipeline:Pipeline")
        }
        for service, folder in (folders if each.name == "builds" else {"log": "AWSLogs"}).items():
            yield Target(
                kind="object",
                name=f"{stack} {each.name} of {service}",
                arn=f"{bucket.outputs['arn']}/{folder}/source/x",
                account=account,
                policy=str(each.inputs["policy"]),
            )


def _connections(stack: str, account: str, program: Program) -> Iterable[Target]:
    """What a connection can do to each application's repository: read the built branch or another one, and write."""
    for each in program.of("aws:codepipeline/pipeline:Pipeline"):
        (source,) = (
            action["configuration"]
            for step in each.inputs["stages"]
            for action in step["actions"]
            if "ConnectionArn" in action.get("configuration", {})
        )
        repository, branch = str(source["FullRepositoryId"]), str(source["BranchName"])
        for what, on, permission in (
            ("read", branch, "read_only"),
            ("read", "another-branch", "read_only"),
            ("push", branch, "read_write"),
        ):
            values = {"BranchName": on, "FullRepositoryId": repository, "ProviderPermissionsRequired": permission}
            services = ("codeconnections", "codestar-connections")
            yield Target(
                kind="connection",
                name=f"{stack} to {what} {repository} {on}",
                arn=str(source["ConnectionArn"]),
                account=account,
                context={f"{service}:{key}": value for service in services for key, value in values.items()},
            )


def _of_bootstrap(stack: str, account: str, secrets: Sequence[str]) -> Iterable[Target]:
    for name in secrets:
        arn = f"arn:aws:secretsmanager:{REGION}:{account}:secret:{name}-a1B2c3"
        yield Target(kind="secret", name=f"{stack} {name}", arn=arn, account=account)
    state = naming.bucket("state", account, REGION)
    yield Target(
        kind="object", name=f"{stack} state", arn=f"arn:aws:s3:::{state}/.pulumi/stacks/slipway/{stack}.json", account=account
    )
    yield Target(kind="key", name=f"{stack} state key", arn=f"arn:aws:kms:{REGION}:{account}:{STATE_KEY}", account=account)


def _of_others(stack: str, account: str) -> Iterable[Target]:
    """Things of another team in the same account, whose names begin otherwise."""
    here = f"{REGION}:{account}"
    for kind, arn in {
        "function": f"arn:aws:lambda:{here}:function:payroll",
        "log group": f"arn:aws:logs:{here}:log-group:/payroll:*",
        "object": "arn:aws:s3:::payroll/salaries.csv",
        "parameter": f"arn:aws:ssm:{here}:parameter/payroll/key",
        "pipeline": f"arn:aws:codepipeline:{here}:payroll",
        "project": f"arn:aws:codebuild:{here}:project/payroll",
        "queue": f"arn:aws:sqs:{here}:payroll",
        "repository": f"arn:aws:ecr:{here}:repository/payroll",
        "role": f"arn:aws:iam::{account}:role/payroll",
        "alarm": f"arn:aws:cloudwatch:{here}:alarm:payroll",
        "catalogue": f"arn:aws:ssm:{here}:parameter/payroll",
        "log stream": f"arn:aws:logs:{here}:log-group:/payroll:log-stream:one",
        "secret": f"arn:aws:secretsmanager:{here}:secret:payroll-a1B2c3",
        "topic": f"arn:aws:sns:{here}:payroll",
    }.items():
        yield Target(kind=kind, name=f"{stack} payroll's {kind}", arn=arn, account=account)
