"""components/cluster.py: only the named reach it, traffic protects it, and its pods get no more than they need."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import moto
import pulumi
import pytest

from components import naming
from components.cluster import PREVIEW_GROUP
from rehearsal.cloud.policy import may_assume
from rehearsal.program import Declared, Program, ProgramError, evaluate
from tests.components.kit import awaited, identity, may
from tests.components.test_settings import changed
from tests.conftest import STACKS

ACCOUNTS = {"dev": "111111111111", "stg": "222222222222", "prd": "333333333333"}
CLUSTER = "eks:index:Cluster"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
TWO_COLOURS = {
    "blue": {"version": "1.34", "weight": 100, "endpoint": {"private": True}, "nodes": {"instanceTypes": ["m7g.large"]}},
    "green": {"version": "1.35", "weight": 0, "endpoint": {"private": True}, "nodes": {"instanceTypes": ["m7g.large"]}},
}
WORKLOADS = {
    "load-balancer-controller": ("kube-system", "aws-load-balancer-controller"),
    "external-secrets": ("external-secrets", "external-secrets"),
    "cluster-autoscaler": ("kube-system", "cluster-autoscaler"),
}


def cluster_of(program: Program, colour: str = "blue") -> Declared:
    return next(each for each in program.of(CLUSTER) if each.name == colour)


@pytest.fixture(scope="module")
def coloured() -> Program:
    """The prd stack with a colour that takes all traffic and one that takes none, whose API is private."""
    return evaluate("prd", config={"slipway:clusters": TWO_COLOURS})


@pytest.mark.parametrize("stack", STACKS)
def test_only_the_named_reach_the_cluster_s_api(stack: str, programs: Mapping[str, Program]) -> None:
    account = ACCOUNTS[stack]
    inputs = cluster_of(programs[stack]).inputs
    administers = {"admin": {"policyArn": ADMIN, "accessScope": {"type": "cluster"}}}
    assert inputs["authenticationMode"] == "API"
    assert inputs["accessEntries"] == {
        "deploy": {"principalArn": f"arn:aws:iam::{account}:role/slipway-{stack}-deploy", "accessPolicies": administers},
        "admin-platform-admin": {"principalArn": f"arn:aws:iam::{account}:role/platform-admin", "accessPolicies": administers},
        "preview": {
            "principalArn": f"arn:aws:iam::{account}:role/slipway-{stack}-preview",
            "kubernetesGroups": ["slipway:preview"],
        },
    }


def transformed(cluster: Declared, type_: str, props: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the cluster's transforms make of a child, as pulumi_eks would register it."""
    args = pulumi.ResourceTransformArgs(
        custom=True, type_=type_, name=cluster.name, props=dict(props), opts=pulumi.ResourceOptions()
    )
    for transform in cluster.transforms:
        result = cast("pulumi.ResourceTransformResult | None", transform(args))
        if result is not None:
            args = pulumi.ResourceTransformArgs(
                custom=True, type_=type_, name=cluster.name, props=dict(result.props), opts=result.opts
            )
    return args.props


@pytest.mark.parametrize("stack", STACKS)
def test_whoever_creates_the_cluster_is_no_administrator_by_that(stack: str, programs: Mapping[str, Program]) -> None:
    cluster = cluster_of(programs[stack])
    # What pulumi_eks asks AWS for: https://github.com/pulumi/pulumi-eks/blob/master/nodejs/eks/cluster/cluster.ts
    asked = {"accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": True}, "version": "1.34"}
    got = transformed(cluster, "aws:eks/cluster:Cluster", asked)
    assert got == {
        "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
        "version": "1.34",
    }
    assert transformed(cluster, "aws:eks/cluster:Cluster", {})["accessConfig"] == {
        "bootstrapClusterCreatorAdminPermissions": False
    }
    # Nothing else is touched.
    assert transformed(cluster, "aws:eks/addon:Addon", asked) == asked


@pytest.mark.parametrize("stack", STACKS)
def test_network_policies_are_enforced_and_one_security_group_is_tagged(stack: str, programs: Mapping[str, Program]) -> None:
    inputs = cluster_of(programs[stack]).inputs
    assert inputs["vpcCniOptions"] == {"enableNetworkPolicy": True}
    assert inputs["skipDefaultSecurityGroups"] is True
    assert inputs["skipDefaultNodeGroup"] is True
    assert {"api", "audit", "authenticator"} == set(inputs["enabledClusterLogTypes"])


def test_the_api_is_reached_from_the_vpc_and_from_outside_only_out_of_the_ranges_that_are_set(
    programs: Mapping[str, Program], coloured: Program
) -> None:
    named = cluster_of(programs["prd"]).inputs
    assert named["endpointPrivateAccess"] is True
    assert named["endpointPublicAccess"] is True
    assert named["publicAccessCidrs"] == ["203.0.113.0/24"]
    private = cluster_of(coloured).inputs
    assert private["endpointPrivateAccess"] is True
    assert private["endpointPublicAccess"] is False
    assert "publicAccessCidrs" not in private


def test_a_colour_that_takes_traffic_cannot_be_deleted_and_one_that_takes_none_can(coloured: Program) -> None:
    protected = {each.name: (each.protect, each.inputs["deletionProtection"]) for each in coloured.of(CLUSTER)}
    assert protected == {"blue": (True, True), "green": (False, False)}


def test_each_colour_has_its_own_version_and_name(coloured: Program) -> None:
    seen = {each.name: (each.inputs["name"], each.inputs["version"]) for each in coloured.of(CLUSTER)}
    assert seen == {"blue": ("slipway-prd-blue", "1.34"), "green": ("slipway-prd-green", "1.35")}


@pytest.mark.parametrize("stack", STACKS)
def test_nodes_are_private_and_pods_never_reach_their_role(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    nodes, template = program.one("eks/nodeGroup:NodeGroup"), program.one("ec2/launchTemplate:LaunchTemplate")
    private = sorted(each.id for each in program.of("ec2/subnet:Subnet") if "-private-" in each.name)
    assert sorted(nodes.inputs["subnetIds"]) == private == sorted(cluster_of(program).inputs["privateSubnetIds"])
    assert nodes.inputs["launchTemplate"]["id"] == template.id
    options = template.inputs["metadataOptions"]
    assert (options["httpTokens"], options["httpPutResponseHopLimit"], options["httpEndpoint"]) == ("required", 1, "enabled")
    (disk,) = template.inputs["blockDeviceMappings"]
    assert disk["ebs"]["encrypted"] == "true"
    assert disk["ebs"]["volumeSize"] == 50


def test_nodes_scale_within_the_bounds_that_are_set_and_the_autoscaler_s_choice_stays(programs: Mapping[str, Program]) -> None:
    for stack, bounds in (("dev", (2, 6)), ("stg", (3, 6)), ("prd", (3, 12))):
        nodes = programs[stack].one("eks/nodeGroup:NodeGroup")
        scaling = nodes.inputs["scalingConfig"]
        assert (scaling["minSize"], scaling["maxSize"]) == bounds
        assert nodes.ignore_changes == ("scalingConfig.desiredSize",)


@pytest.mark.parametrize("stack", STACKS)
def test_cluster_and_nodes_have_aws_s_own_policies_and_no_more(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    attached = {
        purpose: sorted(
            each.inputs["policyArn"].rsplit("/", 1)[-1]
            for each in program.of("iam/rolePolicyAttachment:RolePolicyAttachment")
            if each.inputs["role"] == f"slipway-{stack}-blue-{purpose}"
        )
        for purpose in ("control", "nodes")
    }
    assert attached == {
        "control": ["AmazonEKSClusterPolicy"],
        "nodes": ["AmazonEC2ContainerRegistryPullOnly", "AmazonEKSWorkerNodeMinimalPolicy", "AmazonEKS_CNI_Policy"],
    }
    # And the node group waits for them: nodes without them never join.
    waiting = awaited(program, program.one("eks/nodeGroup:NodeGroup"))
    for each in program.of("iam/rolePolicyAttachment:RolePolicyAttachment"):
        if "blue-nodes" in each.name:
            assert each.urn in waiting


@pytest.mark.parametrize("stack", STACKS)
def test_the_control_plane_s_role_serves_this_cluster_only(stack: str, programs: Mapping[str, Program]) -> None:
    role = programs[stack].one("iam/role:Role", "blue-control")
    trust, arn = role.inputs["assumeRolePolicy"], role.outputs["arn"]
    cluster = f"arn:aws:eks:eu-central-1:{ACCOUNTS[stack]}:cluster/slipway-{stack}-blue"
    assert may_assume(trust, arn, "eks.amazonaws.com", cluster)
    assert not may_assume(trust, arn, "eks.amazonaws.com", cluster.replace("blue", "green"))
    assert not may_assume(trust, arn, "eks.amazonaws.com", cluster.replace(ACCOUNTS[stack], "999999999999"))
    assert not may_assume(trust, arn, "ec2.amazonaws.com", cluster)


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("stack", STACKS)
def test_a_controller_s_role_is_one_service_account_s_of_this_cluster(
    stack: str, workload: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    namespace, account_name = WORKLOADS[workload]
    role = program.one("iam/role:Role", f"blue-{workload}")
    association = program.one("PodIdentityAssociation", f"blue-{workload}")
    assert association.inputs == {
        "clusterName": f"slipway-{stack}-blue",
        "namespace": namespace,
        "serviceAccount": account_name,
        "roleArn": role.outputs["arn"],
    }
    cluster = f"arn:aws:eks:eu-central-1:{ACCOUNTS[stack]}:cluster/slipway-{stack}-blue"
    trust, arn = role.inputs["assumeRolePolicy"], role.outputs["arn"]
    assert may_assume(trust, arn, "pods.eks.amazonaws.com", cluster)
    assert not may_assume(trust, arn, "pods.eks.amazonaws.com", cluster.replace("blue", "green"))
    assert not may_assume(trust, arn, "pods.eks.amazonaws.com", cluster.replace(ACCOUNTS[stack], "999999999999"))
    (statement,) = json.loads(trust)["Statement"]
    # https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html: both, or pods get nothing
    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    # The chart's pods start with their rights in place, under the service account that has them.
    (release,) = (each for each in program.of("Release") if each.name == f"blue-{workload}")
    assert association.urn in awaited(program, release)
    assert release.inputs["namespace"] == namespace
    values = release.inputs["values"]
    assert values.get("serviceAccount", values.get("rbac", {}).get("serviceAccount"))["name"] == account_name


def test_external_secrets_reads_argo_cd_s_secrets_and_no_writer_s_key(programs: Mapping[str, Program]) -> None:
    role = identity(programs["dev"], "blue-external-secrets", ACCOUNTS["dev"])
    secret = "arn:aws:secretsmanager:eu-central-1:111111111111:secret:slipway"
    assert may(role, "secretsmanager:GetSecretValue", f"{secret}/argocd/reader-AbC123")
    for other in (f"{secret}/github-app/develop-AbC123", f"{secret}/github-app/promoter-AbC123", f"{secret}-AbC123"):
        assert not may(role, "secretsmanager:GetSecretValue", other)
    for action in ("secretsmanager:PutSecretValue", "secretsmanager:DeleteSecret", "secretsmanager:ListSecrets"):
        assert not may(role, action, f"{secret}/argocd/reader-AbC123")


PREVIEW_RESOURCES: Final = {"namespaces", "applications", "appprojects", "targetgroupbindings", "externalsecrets", "secretstores"}


@pytest.mark.parametrize("stack", STACKS)
def test_a_preview_sees_no_secret_and_may_try_only_what_the_program_declares(stack: str, programs: Mapping[str, Program]) -> None:
    (role,) = programs[stack].of("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole")
    rules = role.inputs["rules"]
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert not resources & {"secrets", "*", "pods/exec", "pods/log", "serviceaccounts/token"}
    assert not any("*" in (*rule["verbs"], *rule["apiGroups"]) for rule in rules)
    tried = {resource for rule in rules for resource in rule["resources"] if not {"get", "list", "watch"} >= set(rule["verbs"])}
    assert tried == PREVIEW_RESOURCES
    verbs = {verb for rule in rules for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch", "create", "patch", "update"}
    kinds = {each.type.rsplit(":", 1)[-1].lower() + "s" for each in programs[stack].resources if each.provider}
    declared = kinds - {"releases", "clusterroles", "clusterrolebindings"}
    declared = {each.replace("policys", "policies") for each in declared}
    assert declared - {"validatingadmissionpolicies", "validatingadmissionpolicybindings"} <= tried


@pytest.mark.parametrize("stack", STACKS)
def test_that_a_preview_only_tries_is_enforced_before_it_has_any_right(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    policy = program.one("kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy")
    spec = policy.inputs["spec"]
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert spec["failurePolicy"] == "Fail"
    assert set(rule["operations"]) == {"CREATE", "UPDATE", "DELETE", "CONNECT"}
    assert (rule["apiGroups"], rule["apiVersions"], rule["resources"]) == (["*"], ["*"], ["*/*"])
    (condition,) = spec["matchConditions"]
    assert condition["expression"] == f"'{PREVIEW_GROUP}' in request.userInfo.groups"
    (validation,) = spec["validations"]
    assert validation["expression"] == "has(request.dryRun) && request.dryRun"
    (binding,) = program.of("kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding")
    assert binding.inputs["spec"] == {"policyName": policy.inputs["metadata"]["name"], "validationActions": ["Deny"]}
    (rights,) = program.of("kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding")
    (role,) = program.of("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole")
    assert {policy.urn, binding.urn, role.urn} <= awaited(program, rights)
    assert [each["name"] for each in rights.inputs["subjects"]] == [PREVIEW_GROUP] == ["slipway:preview"]
    assert rights.inputs["roleRef"]["name"] == role.inputs["metadata"]["name"]


@pytest.mark.parametrize("stack", STACKS)
def test_a_preview_reads_releases_without_a_right_on_any_secret(stack: str, programs: Mapping[str, Program]) -> None:
    provider = programs[stack].one("pulumi:providers:kubernetes")
    assert json.loads(provider.inputs["helmReleaseSettings"]) == {"driver": "configmap"}
    inside = [each for each in programs[stack].resources if each.type.startswith("kubernetes:")]
    assert inside
    assert {each.provider for each in inside} == {f"{provider.urn}::{provider.id}"}


@pytest.mark.parametrize("stack", STACKS)
def test_the_control_plane_s_log_has_an_end_because_it_stands_before_eks_makes_it(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    (group,) = (each for each in program.of("LogGroup") if each.inputs["name"] == f"/aws/eks/slipway-{stack}-blue/cluster")
    assert group.inputs["retentionInDays"] == 90
    assert group.urn in awaited(program, cluster_of(program))


def test_every_instance_type_that_aws_offers_is_told_its_architecture() -> None:
    # moto ships what EC2's DescribeInstanceTypes answered.
    path = Path(moto.__file__).parent / "ec2" / "resources" / "instance_types.json.gz"
    offered: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    wrong = {
        name: architectures
        for name, each in offered.items()
        for architectures in [each["ProcessorInfo"]["SupportedArchitectures"]]
        if (naming.architecture(name) == "arm64") != ("arm64" in architectures)
    }
    assert len(offered) > 1000
    assert wrong == {}


@pytest.mark.parametrize(
    ("instance_type", "architecture"),
    [
        ("a1.medium", "arm64"),
        ("c7gn.large", "arm64"),
        ("c8gb.large", "arm64"),
        ("g5g.xlarge", "arm64"),
        ("hpc7g.4xlarge", "arm64"),
        ("i8ge.large", "arm64"),
        ("im4gn.large", "arm64"),
        ("is4gen.large", "arm64"),
        ("m7g.large", "arm64"),
        ("r8gd.metal-24xl", "arm64"),
        ("t4g.small", "arm64"),
        ("x2gd.large", "arm64"),
        ("g4dn.xlarge", "amd64"),
        ("g6.xlarge", "amd64"),
        ("gr6.4xlarge", "amd64"),
        ("hpc7a.12xlarge", "amd64"),
        ("m7i.large", "amd64"),
        ("m7i-flex.large", "amd64"),
        ("p4d.24xlarge", "amd64"),
        ("trn1.2xlarge", "amd64"),
        ("u-6tb1.metal", "amd64"),
        ("u7i-12tb.224xlarge", "amd64"),
        ("x2iezn.2xlarge", "amd64"),
    ],
)
def test_an_instance_type_s_name_tells_its_architecture(instance_type: str, architecture: str) -> None:
    assert naming.architecture(instance_type) == architecture


@pytest.mark.parametrize(("node", "image"), [("m7g.large", "AL2023_ARM_64_STANDARD"), ("m7i.large", "AL2023_x86_64_STANDARD")])
def test_nodes_boot_an_image_of_their_architecture(node: str, image: str) -> None:
    config = {
        **changed("slipway:clusters", "blue.nodes.instanceTypes", [node], "prd"),
        **changed("slipway:tracks", "release.architecture", naming.architecture(node), "prd"),
    }
    program = evaluate("prd", config=config)
    assert program.one("eks/nodeGroup:NodeGroup").inputs["amiType"] == image


def test_nodes_that_cannot_run_what_is_built_here_stop_before_any_resource() -> None:
    with pytest.raises(ProgramError, match="the images of track develop are built for arm64") as caught:
        evaluate("dev", config=changed("slipway:clusters", "blue.nodes.instanceTypes", ["m7i.large"]))
    assert caught.value.registered == ()


def test_nodes_that_cannot_run_what_another_stack_builds_stop_before_any_resource() -> None:
    # prd builds nothing itself: what its images are is known from the track.
    with pytest.raises(ProgramError, match="the images of track release are built for arm64") as caught:
        evaluate("prd", config=changed("slipway:clusters", "blue.nodes.instanceTypes", ["m7i.large"], "prd"))
    assert caught.value.registered == ()
