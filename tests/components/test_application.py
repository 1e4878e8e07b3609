"""components/application.py: what a reader of the cluster sees."""

from collections.abc import Mapping

import pytest

from rehearsal.program import Declared, Program
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
