"""components/application.py: what a reader of the cluster sees."""

from collections.abc import Mapping

import pytest

from components import iam
from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.cloud.policy import may_assume
from rehearsal.program import Declared, Program, evaluate
from tests.components.kit import awaited, identity, may
from tests.conftest import STACKS

APPLICATION = "kubernetes:argoproj.io/v1alpha1:Application"
BINDING = "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding"
NAMESPACE = "kubernetes:core/v1:Namespace"


def of_service(program: Program, type_: str, service: str = "storefront") -> Declared:
    (found,) = (each for each in program.of(type_) if each.inputs["metadata"]["name"] == service)
    return found


@pytest.mark.parametrize(("stack", "branch"), [("dev", "dev"), ("stg", "stg"), ("prd", "master")])
def test_argo_cd_reads_the_environment_s_branch_and_overlay(programs: Mapping[str, Program], stack: str, branch: str) -> None:
    source = of_service(programs[stack], APPLICATION).inputs["spec"]["source"]
    assert source == {
        "repoURL": "https://github.com/example-org/gitops.git",
        "targetRevision": f"refs/heads/{branch}",
        "path": f"apps/storefront/overlays/{stack}",
    }


def test_an_application_heals_prunes_and_retries_but_never_empties(programs: Mapping[str, Program]) -> None:
    spec = of_service(programs["prd"], APPLICATION).inputs["spec"]
    assert spec["syncPolicy"] == {
        "automated": {"prune": True, "selfHeal": True, "allowEmpty": False},
        "retry": {"limit": 5, "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"}},
    }
    assert spec["project"] == "prd"
    assert spec["destination"] == {"server": "https://kubernetes.default.svc", "namespace": "storefront"}
    assert "ignoreDifferences" not in spec


def test_an_application_s_manifests_are_made_anew_only_when_its_files_change(programs: Mapping[str, Program]) -> None:
    metadata = of_service(programs["dev"], APPLICATION).inputs["metadata"]
    assert metadata["annotations"] == {"argocd.argoproj.io/manifest-generate-paths": ".;../../base"}
    assert metadata["namespace"] == "argocd"


def test_namespace_then_binding_then_application(programs: Mapping[str, Program]) -> None:
    for stack in STACKS:
        program = programs[stack]
        application = of_service(program, APPLICATION)
        binding = of_service(program, BINDING)
        namespace = of_service(program, NAMESPACE)
        assert {binding.urn, namespace.urn} <= set(application.dependencies)
        assert namespace.urn in binding.dependencies


def test_an_application_goes_before_the_argo_cd_that_removes_what_it_deployed(programs: Mapping[str, Program]) -> None:
    program = programs["dev"]
    application = of_service(program, APPLICATION)
    assert application.inputs["metadata"]["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]
    awaited = [program.urns()[urn] for urn in application.dependencies if urn in program.urns()]
    assert any(each.type == "kubernetes:helm.sh/v3:Release" and "argo" in each.name for each in awaited)


def test_the_binding_joins_service_and_target_group_and_is_deleted_before_it_is_replaced(
    programs: Mapping[str, Program],
) -> None:
    program = programs["dev"]
    binding = of_service(program, BINDING)
    group = program.one("lb/targetGroup:TargetGroup", "storefront")
    spec = binding.inputs["spec"]
    assert spec["serviceRef"] == {"name": "storefront", "port": 80}
    assert spec["targetGroupARN"] == group.outputs["arn"]
    assert spec["targetType"] == "ip"
    assert spec["networking"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert binding.delete_before_replace


def test_a_service_s_namespace_is_restricted_and_gates_readiness_where_the_edge_waits_for_it(
    programs: Mapping[str, Program],
) -> None:
    web = of_service(programs["dev"], NAMESPACE).inputs["metadata"]["labels"]
    worker = of_service(programs["dev"], NAMESPACE, "invoices").inputs["metadata"]["labels"]
    assert web["pod-security.kubernetes.io/enforce"] == "restricted"
    assert worker["pod-security.kubernetes.io/enforce"] == "restricted"
    assert web["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"
    assert "elbv2.k8s.aws/pod-readiness-gate-inject" not in worker


def with_permissions(platform: Platform) -> None:
    """A service that reads one table of its environment's account, and one that needs nothing."""
    account = platform.settings.environment.account
    carts = iam.allow(
        "ReadCarts", actions=["dynamodb:GetItem"], resources=[f"arn:aws:dynamodb:eu-central-1:{account}:table/carts"]
    )
    Service("basket", ServiceArgs(platform=platform, repository="basket", port=8080, permissions=[carts]))
    Service("plain", ServiceArgs(platform=platform, repository="plain", port=8080))


@pytest.fixture(scope="module")
def permitted() -> Program:
    """Both in two colours of prd."""
    clusters = {
        "blue": {"version": "1.34", "weight": 90, "endpoint": {"private": True}},
        "green": {"version": "1.35", "weight": 10, "endpoint": {"private": True}},
    }
    return evaluate("prd", catalogue=with_permissions, config={"slipway:clusters": clusters})


@pytest.mark.parametrize("colour", ["blue", "green"])
def test_a_service_s_pods_may_what_its_call_says_within_the_boundary_and_nothing_else(permitted: Program, colour: str) -> None:
    role = identity(permitted, f"basket-{colour}", "333333333333")
    assert may(role, "dynamodb:GetItem", "arn:aws:dynamodb:eu-central-1:333333333333:table/carts")
    assert not may(role, "dynamodb:PutItem", "arn:aws:dynamodb:eu-central-1:333333333333:table/carts")
    assert not may(role, "dynamodb:GetItem", "arn:aws:dynamodb:eu-central-1:333333333333:table/orders")


@pytest.mark.parametrize(("colour", "other"), [("blue", "green"), ("green", "blue")])
def test_a_service_s_role_is_its_service_account_s_of_one_cluster_and_is_there_before_its_pods(
    permitted: Program, colour: str, other: str
) -> None:
    role = permitted.one("iam/role:Role", f"basket-{colour}")
    association = permitted.one("PodIdentityAssociation", f"basket-{colour}")
    # The names that the scaffold gives namespace and account (tests/scaffold_apps).
    assert association.inputs == {
        "clusterName": f"slipway-prd-{colour}",
        "namespace": "basket",
        "serviceAccount": "basket",
        "roleArn": role.outputs["arn"],
    }
    cluster = f"arn:aws:eks:eu-central-1:333333333333:cluster/slipway-prd-{colour}"
    trust, arn = role.inputs["assumeRolePolicy"], role.outputs["arn"]
    assert may_assume(trust, arn, "pods.eks.amazonaws.com", cluster)
    assert not may_assume(trust, arn, "pods.eks.amazonaws.com", cluster.replace(colour, other))
    assert not may_assume(trust, arn, "pods.eks.amazonaws.com", cluster.replace("333333333333", "999999999999"))
    # https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html: both, or pods get nothing
    assert '["sts:AssumeRole", "sts:TagSession"]' in trust
    application = permitted.one(APPLICATION, f"basket-{colour}")
    rights = permitted.one("iam/rolePolicy:RolePolicy", f"basket-{colour}")
    assert {association.urn, rights.urn} <= awaited(permitted, application)
    # The role wears the boundary by its name: it must be there, as for the cluster's own roles.
    assert permitted.one("iam/policy:Policy", "boundary").urn in awaited(permitted, role)


def test_a_service_without_permissions_has_no_identity(permitted: Program, programs: Mapping[str, Program]) -> None:
    for program in (permitted, *programs.values()):
        services = {each.inputs["serviceAccount"] for each in program.of("PodIdentityAssociation")}
        assert not services & {"plain", "storefront", "invoices"}
