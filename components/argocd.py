"""Argo CD in one cluster: its project, its read access to the GitOps repository, its webhook; and the UI, where wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws
import pulumi_github as github
import pulumi_kubernetes as kubernetes

from components import charts, naming
from components.catalogue import FORBIDDEN_KINDS
from components.cluster import Cluster
from components.edge import Edge, Route, RouteArgs
from components.settings import Settings

NAMESPACE: Final = "argocd"
_SERVER: Final = "argocd-server"
# Service and container port of argocd-server without TLS of its own.
# https://github.com/argoproj/argo-helm/blob/argo-cd-10.1.1/charts/argo-cd/values.yaml: server.service, server.containerPorts
_SERVICE_PORT: Final = 80
_SERVER_PORT: Final = 8080
_HEALTH_PATH: Final = "/healthz"
_WEBHOOK_PATH: Final = "/api/webhook"
# Below the services' priorities (catalogue.LOWEST_SERVICE_PRIORITY). A colour keeps its own number whatever others come.
_UI_PRIORITY: Final = 1
_FIRST_WEBHOOK_PRIORITY: Final = 2
_LAST_WEBHOOK_PRIORITY: Final = 999
_PUBLIC_API: Final = "https://api.github.com"
_SECRET_LENGTH: Final = 40
_REPLICAS: Final = 2
_STORE: Final = "slipway"
_REPOSITORY_SECRET: Final = "slipway-gitops-repository"  # noqa: S105 — the Secret object's name


@dataclass(frozen=True, kw_only=True)
class ArgoCDArgs:
    """Arguments of `ArgoCD`.

    Attributes:
        cluster: Where it runs.
        edge: Where its webhook is reached.
        settings: The environment's settings.
    """

    cluster: Cluster
    edge: Edge
    settings: Settings


class ArgoCD(pulumi.ComponentResource):
    """Argo CD with one project, which may read one repository.

    Attributes:
        cluster: Where it runs.
        namespace: Its namespace.
        project: Name of the project of every Application.
        ready: What an Application must wait for; it is deleted after the Applications, which it has to remove.
    """

    cluster: Cluster
    namespace: str
    project: str
    ready: Sequence[pulumi.Resource]

    def __init__(self, name: str, args: ArgoCDArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare Argo CD."""
        super().__init__("slipway:argocd:ArgoCD", name, None, opts)
        settings, cluster = args.settings, args.cluster
        self.cluster, self.namespace, self.project = cluster, NAMESPACE, settings.stack
        namespace = kubernetes.core.v1.Namespace(
            f"{name}-argocd",
            metadata={
                "name": NAMESPACE,
                "labels": {
                    "app.kubernetes.io/managed-by": "slipway",
                    "pod-security.kubernetes.io/enforce": "restricted",
                    "elbv2.k8s.aws/pod-readiness-gate-inject": "enabled",
                },
            },
            opts=self._inside(cluster.ready),
        )
        store = kubernetes.apiextensions.CustomResource(
            f"{name}-secret-store",
            api_version="external-secrets.io/v1",
            kind="SecretStore",
            metadata={"name": _STORE, "namespace": NAMESPACE},
            # No `auth`: the controller's own Pod Identity. A store of this namespace alone: no other can read by it.
            spec={"provider": {"aws": {"service": "SecretsManager", "region": cluster.region}}},
            opts=self._inside([namespace]),
        )
        secret, webhook_secret = self._webhook_secret(name, args)
        repository = self._repository(name, args, store)
        secrets: list[pulumi.Resource] = [
            repository,
            self._external_secret(
                f"{name}-webhook", charts.WEBHOOK_SECRET, naming.argocd_secret(f"webhook-{cluster.colour}"), [store, secret]
            ),
        ]
        if settings.argocd.ui:
            secrets.append(self._external_secret(f"{name}-ui", charts.UI_SECRET, naming.argocd_secret("ui"), [store]))
        if settings.gitops.report_health:
            # The reader's key once more: what it may beside reading, GitHub holds it to.
            secrets.append(
                self._external_secret(
                    f"{name}-notifications", charts.NOTIFICATIONS_SECRET, naming.argocd_secret("reader"), [store]
                )
            )
        hook = Route(
            f"argocd-{name}",
            RouteArgs(
                edge=args.edge,
                service="argocd",
                host=f"argocd-{cluster.colour}.{args.edge.zone}",
                priority=webhook_priority(cluster.colour, settings.clusters),
                target_port=_SERVER_PORT,
                health_path=_HEALTH_PATH,
                # A host per colour, outside the weights: every cluster must hear of every commit.
                weights={cluster.colour: 100},
                path=_WEBHOOK_PATH,
                method="POST",
            ),
            pulumi.ResourceOptions(parent=self),
        )
        binding = bind(
            f"{name}-webhook",
            self,
            cluster,
            hook,
            binding=_SERVER,
            namespace=NAMESPACE,
            service=_SERVER,
            service_port=_SERVICE_PORT,
            after=[namespace],
        )
        release = cluster.release(
            f"{name}-argocd",
            charts.ARGO_CD,
            namespace=NAMESPACE,
            values=charts.argo_cd_values(replicas=_REPLICAS, ui=ui(settings), health=health_reports(settings, cluster.colour)),
            # Pods that start before the binding have no readiness gate.
            after=[*cluster.ready, namespace, binding, *secrets],
            parent=self,
        )
        project = kubernetes.apiextensions.CustomResource(
            f"{name}-project",
            api_version="argoproj.io/v1alpha1",
            kind="AppProject",
            metadata={"name": self.project, "namespace": NAMESPACE},
            spec=project_spec(settings),
            opts=self._inside([release]),
        )
        github.RepositoryWebhook(
            name,
            repository=settings.gitops.repository,
            events=["push"],
            configuration={
                "url": f"https://{hook.host}{_WEBHOOK_PATH}",
                # The other content type is answered with an error: https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/
                "content_type": "json",
                "secret": webhook_secret,
                "insecure_ssl": False,
            },
            # Last: GitHub pings it at once.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[release, hook]),
        )
        self.ready = [release, project]
        self.register_outputs({"project": self.project})

    def _inside(self, after: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, provider=self.cluster.provider, depends_on=after)

    def _webhook_secret(self, name: str, args: ArgoCDArgs) -> tuple[pulumi.Resource, pulumi.Output[str]]:
        """A secret that GitHub signs with and Argo CD checks with: made once, kept in Secrets Manager.

        It is the one secret that Pulumi's state holds too (as a secret): GitHub's API wants it said. It lets its holder
        ask Argo CD to look at Git, and nothing else (docs/decisions/0004).
        """
        own = pulumi.ResourceOptions(parent=self)
        secret = aws.secretsmanager.Secret(
            f"{name}-webhook",
            name=naming.argocd_secret(f"webhook-{args.cluster.colour}"),
            description=f"Signs GitHub's webhook to Argo CD of {args.cluster.name}",
            # It can be made again, and a colour that comes back must find its name free.
            recovery_window_in_days=0,
            opts=own,
        )
        drawn = aws.secretsmanager.get_random_password_output(
            password_length=_SECRET_LENGTH, exclude_punctuation=True, opts=pulumi.InvokeOutputOptions(parent=self)
        )
        version = aws.secretsmanager.SecretVersion(
            f"{name}-webhook",
            secret_id=secret.id,
            secret_string=pulumi.Output.secret(drawn.random_password),
            # Drawn anew by every run; the first draw stays. To rotate it, replace this resource.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["secretString"], additional_secret_outputs=["secretString"]),
        )
        return version, version.secret_string.apply(_known)

    def _repository(self, name: str, args: ArgoCDArgs, store: pulumi.Resource) -> pulumi.Resource:
        """Read-only access to the GitOps repository, as a GitHub App of Argo CD's own.

        https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/#repositories
        """
        settings = args.settings
        reader = settings.gitops.reader
        template: dict[str, Any] = {
            "metadata": {"labels": {"argocd.argoproj.io/secret-type": "repository"}},
            "data": {
                "type": "git",
                "url": settings.gitops_url,
                "project": settings.stack,
                "githubAppID": str(reader.app_id),
                "githubAppInstallationID": str(reader.installation_id),
                "githubAppPrivateKey": "{{ .value }}",
                # Only GitHub Enterprise Server has an API of its own to be told of.
                **({} if settings.gitops.api_url == _PUBLIC_API else {"githubAppEnterpriseBaseUrl": settings.gitops.api_url}),
            },
        }
        return self._external_secret(
            f"{name}-repository", _REPOSITORY_SECRET, naming.argocd_secret("reader"), [store], template=template
        )

    def _external_secret(
        self,
        name: str,
        target: str,
        remote: str,
        after: Sequence[pulumi.Resource],
        template: Mapping[str, Any] | None = None,
    ) -> pulumi.Resource:
        """A Secret in Argo CD's namespace that follows one of Secrets Manager.

        https://external-secrets.io/latest/api/externalsecret/
        """
        # Argo CD reads only Secrets that say they are part of it.
        labels = {"app.kubernetes.io/part-of": "argocd"}
        given = template or {}
        metadata = given.get("metadata", {})
        return kubernetes.apiextensions.CustomResource(
            f"{name}-secret",
            api_version="external-secrets.io/v1",
            kind="ExternalSecret",
            metadata={"name": target, "namespace": NAMESPACE},
            spec={
                "refreshInterval": "5m",
                "secretStoreRef": {"kind": "SecretStore", "name": _STORE},
                "target": {
                    "name": target,
                    "template": {
                        "engineVersion": "v2",
                        **given,
                        "metadata": {**metadata, "labels": {**labels, **metadata.get("labels", {})}},
                    },
                },
                "data": [{"secretKey": charts.SECRET_KEY, "remoteRef": {"key": remote}}],
            },
            opts=self._inside(after),
        )


def _known(value: str | None) -> str:
    """The version was made with a string: the SDK's type allows binary ones too."""
    if value is None:
        msg = "the webhook's secret has no string: it was overwritten with binary data. Delete the version and run again"
        raise ValueError(msg)
    return value


@dataclass(frozen=True, kw_only=True)
class ArgoCDUiArgs:
    """Arguments of `ArgoCDUi`.

    Attributes:
        edge: The environment's edge.
        settings: The environment's settings, with `argocd.ui`.
        argocds: Argo CD by colour.
    """

    edge: Edge
    settings: Settings
    argocds: Mapping[str, ArgoCD]


class ArgoCDUi(pulumi.ComponentResource):
    """One host for Argo CD's UI: that of the active colour, for sessions do not move between two."""

    def __init__(self, name: str, args: ArgoCDUiArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the UI's route."""
        super().__init__("slipway:argocd:ArgoCDUi", name, None, opts)
        settings = args.settings
        wanted = settings.argocd.ui
        if wanted is None:
            msg = "slipway:argocd.ui is missing: ArgoCDUi needs it. Set it, or leave the component out."
            raise ValueError(msg)
        route = Route(
            name,
            RouteArgs(
                edge=args.edge,
                service="argocd-ui",
                host=f"{wanted.label}.{args.edge.zone}",
                priority=_UI_PRIORITY,
                target_port=_SERVER_PORT,
                health_path=_HEALTH_PATH,
                weights={colour: 100 if colour == settings.active_colour else 0 for colour in args.argocds},
            ),
            pulumi.ResourceOptions(parent=self),
        )
        for colour, argocd in args.argocds.items():
            bind(
                f"{name}-{colour}",
                self,
                argocd.cluster,
                route,
                binding=f"{_SERVER}-ui",
                namespace=NAMESPACE,
                service=_SERVER,
                service_port=_SERVICE_PORT,
                after=argocd.ready,
            )
        self.register_outputs({"url": f"https://{route.host}"})


def bind(  # noqa: PLR0913 — the parts of a TargetGroupBinding
    name: str,
    parent: pulumi.Resource,
    cluster: Cluster,
    route: Route,
    *,
    binding: str,
    namespace: str,
    service: str,
    service_port: int,
    after: Sequence[pulumi.Resource],
) -> pulumi.Resource:
    """Join a Service of one cluster to its target group: the controller keeps the pods registered, and lets the edge in.

    https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/targetgroupbinding/targetgroupbinding/

    Args:
        name: Logical name.
        parent: Component that it belongs to.
        cluster: The cluster, whose colour names the target group.
        route: The route with a target group for that colour.
        binding: Name of the object.
        namespace: Its namespace.
        service: Name of the Service there.
        service_port: Port of the Service.
        after: What it must wait for, beside the cluster's controllers.
    """
    return kubernetes.apiextensions.CustomResource(
        name,
        api_version="elbv2.k8s.aws/v1beta1",
        kind="TargetGroupBinding",
        metadata={"name": binding, "namespace": namespace},
        spec={
            "serviceRef": {"name": service, "port": service_port},
            "targetGroupARN": route.target_groups[cluster.colour].arn,
            "targetType": "ip",
            "vpcID": route.edge.vpc_id,
            "networking": {
                "ingress": [
                    {
                        "from": [{"securityGroup": {"groupID": route.edge.security_group_id}}],
                        "ports": [{"protocol": "TCP", "port": route.target_port}],
                    }
                ]
            },
        },
        opts=pulumi.ResourceOptions(
            parent=parent,
            provider=cluster.provider,
            depends_on=[*cluster.ready, *after],
            # ARN, type and VPC are immutable, and a second binding of one target group is refused.
            delete_before_replace=True,
        ),
    )


def ui(settings: Settings) -> charts.Ui | None:
    """The UI's values, None where it is off."""
    wanted = settings.argocd.ui
    if wanted is None:
        return None
    return charts.Ui(
        url=f"https://{wanted.label}.{settings.environment.zone}",
        client_id=wanted.client_id,
        organization=settings.organization.name,
        roles=wanted.teams,
        project=settings.stack,
    )


def health_reports(settings: Settings, colour: str) -> charts.HealthReports | None:
    """How a cluster tells of its Applications' health, None where it does not."""
    gitops = settings.gitops
    if not gitops.report_health:
        return None
    shown = ui(settings)
    return charts.HealthReports(
        # scaffold/repository/.github/slipway/health.py reads it.
        prefix=f"health {settings.stack}/{colour}/",
        project=settings.stack,
        repository_url=settings.gitops_url,
        app_id=gitops.reader.app_id,
        installation_id=gitops.reader.installation_id,
        api_url="" if gitops.api_url == _PUBLIC_API else gitops.api_url,
        page=f"{shown.url}/applications/{NAMESPACE}/{{{{.app.metadata.name}}}}"
        if shown
        else f"{gitops.git_url}/{settings.gitops_repository}/tree/{charts.SYNCED}/{{{{.app.spec.source.path}}}}",
    )


def webhook_priority(colour: str, colours: Mapping[str, object]) -> int:
    """The listener priority of a colour's webhook: from its name alone, moved on only where two names fall together."""
    span = _LAST_WEBHOOK_PRIORITY - _FIRST_WEBHOOK_PRIORITY + 1
    taken: set[int] = set()
    for each in sorted(colours):
        number = naming.number(each, span)
        while number in taken:
            number = (number + 1) % span
        if each == colour:
            return _FIRST_WEBHOOK_PRIORITY + number
        taken.add(number)
    msg = f"{colour!r} is no colour of this environment: {sorted(colours)} are. Ask for one of them"
    raise KeyError(msg)


def project_spec(settings: Settings) -> dict[str, Any]:
    """The AppProject: one repository, every namespace but the platform's own, nothing cluster-wide.

    https://argo-cd.readthedocs.io/en/stable/user-guide/projects/
    """
    server = "https://kubernetes.default.svc"
    refused = [*sorted(naming.RESERVED_NAMESPACES), "kube-*"]
    return {
        "description": f"The applications of {settings.stack}",
        "sourceRepos": [settings.gitops_url],
        "destinations": [
            {"server": server, "namespace": "*"},
            *({"server": server, "namespace": f"!{namespace}"} for namespace in refused),
        ],
        "clusterResourceWhitelist": [],
        "namespaceResourceBlacklist": [{"group": group, "kind": kind} for group, kind in FORBIDDEN_KINDS],
    }
