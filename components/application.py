"""One service in one cluster: its namespace, its binding to the edge, and the Argo CD Application that deploys it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components import iam, naming
from components.argocd import ArgoCD, bind
from components.ci_access import boundary_arn
from components.edge import Route
from components.settings import Settings

# The scaffold's Service object offers this port, whatever the container listens on (scaffold/apps).
SERVICE_PORT: Final = 80


@dataclass(frozen=True, kw_only=True)
class ApplicationArgs:
    """Arguments of `Application`.

    Attributes:
        argocd: The Argo CD that deploys it, which also names the cluster.
        settings: The environment's settings.
        service: Name of the service, and of its namespace.
        route: Its part of the edge; None for a service without a host.
        permissions: What its pods may do in AWS; nothing unless given.
    """

    argocd: ArgoCD
    settings: Settings
    service: str
    route: Route | None = None
    permissions: Sequence[iam.Statement] = ()


class Application(pulumi.ComponentResource):
    """Namespace → TargetGroupBinding and identity → Application, in this order.

    Pods made before the binding have no readiness gate; those made before the identity have no AWS credentials.

    Attributes:
        namespace: Name of the service's namespace.
    """

    namespace: pulumi.Output[str]

    def __init__(self, name: str, args: ApplicationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the service in one cluster."""
        super().__init__("slipway:application:Application", name, None, opts)
        argocd, cluster = args.argocd, args.argocd.cluster
        namespace = kubernetes.core.v1.Namespace(
            name,
            metadata={"name": args.service, "labels": namespace_labels(gated=args.route is not None)},
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=cluster.ready),
        )
        before: list[pulumi.Resource] = [namespace, *argocd.ready]
        if args.route is not None:
            before.append(
                bind(
                    name,
                    self,
                    cluster,
                    args.route,
                    binding=args.service,
                    namespace=args.service,
                    service=args.service,
                    service_port=SERVICE_PORT,
                    after=[namespace],
                )
            )
        if args.permissions:
            before.append(self._identity(name, args, after=namespace))
        environment = args.settings.environment
        kubernetes.apiextensions.CustomResource(
            f"{name}-application",
            api_version="argoproj.io/v1alpha1",
            kind="Application",
            metadata={
                "name": args.service,
                "namespace": argocd.namespace,
                # With it, deleting the Application deletes what it deployed; it must go before its controller, which the
                # dependency on Argo CD sees to. https://argo-cd.readthedocs.io/en/stable/user-guide/app_deletion/
                "finalizers": ["resources-finalizer.argocd.argoproj.io"],
                # https://argo-cd.readthedocs.io/en/stable/operator-manual/high_availability/#manifest-paths-annotation
                "annotations": {"argocd.argoproj.io/manifest-generate-paths": ".;../../base"},
            },
            spec=application_spec(
                service=args.service,
                project=argocd.project,
                repository_url=args.settings.gitops_url,
                branch=environment.gitops_branch,
                overlay=args.settings.stack,
            ),
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=before),
        )
        self.namespace = namespace.metadata.name
        self.register_outputs({"namespace": self.namespace})

    def _identity(self, name: str, args: ApplicationArgs, *, after: pulumi.Resource) -> aws.eks.PodIdentityAssociation:
        """A role of the service's account in this one cluster, by Pod Identity: no annotation, so nothing in the manifests.

        https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html
        """
        cluster, environment, stack = args.argocd.cluster, args.settings.environment, args.settings.stack
        own = pulumi.ResourceOptions(parent=self, depends_on=[after])
        role = aws.iam.Role(
            name,
            name=naming.role(stack, cluster.colour, args.service, "pods"),
            description=f"Pods of {args.service} in {cluster.name}",
            permissions_boundary=boundary_arn(environment.account, stack),
            assume_role_policy=iam.document(
                iam.trust_pods(
                    environment.account,
                    cluster_arn=f"arn:aws:eks:{cluster.region}:{environment.account}:cluster/{cluster.name}",
                )
            ),
            opts=own,
        )
        policy = aws.iam.RolePolicy(name, role=role.id, policy=iam.document(*args.permissions), opts=own)
        return aws.eks.PodIdentityAssociation(
            name,
            cluster_name=cluster.name,
            namespace=args.service,
            # As the scaffold names it (scaffold/apps).
            service_account=args.service,
            role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[after, policy]),
        )


def namespace_labels(*, gated: bool) -> Mapping[str, str]:
    """Labels of a service's namespace: restricted Pod Security and, for services at the edge, readiness gates.

    Sources: https://kubernetes.io/docs/concepts/security/pod-security-admission/ and
    https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/pod_readiness_gate/
    """
    labels = {
        "app.kubernetes.io/managed-by": "slipway",
        **{f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
    }
    return {**labels, "elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"} if gated else labels


def application_spec(*, service: str, project: str, repository_url: str, branch: str, overlay: str) -> dict[str, Any]:
    """The Application's specification.

    Args:
        service: Name of the service and its namespace.
        project: Argo CD project, which allows this repository only.
        repository_url: The GitOps repository's address for Git.
        branch: Its branch; written as `refs/heads/…`, so that no tag of the same name is meant.
        overlay: Name of the overlay.
    """
    return {
        "project": project,
        "source": {
            "repoURL": repository_url,
            "targetRevision": f"refs/heads/{branch}",
            "path": f"apps/{service}/overlays/{overlay}",
        },
        "destination": {"server": "https://kubernetes.default.svc", "namespace": service},
        "syncPolicy": {
            # https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/
            "automated": {"prune": True, "selfHeal": True, "allowEmpty": False},
            "retry": {"limit": 5, "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"}},
        },
    }
