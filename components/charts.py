"""The Helm charts that a cluster gets: each one's version, source and values, in one place. Pure.

A misspelt value is silently nothing to Helm. The keys used here are therefore held against lists of the keys that each
chart's own values.yaml has at the pinned version (tests/components/chart_keys).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart at one version.

    Attributes:
        name: Name in its repository.
        release: Name that it is installed under; what it makes is named after that.
        version: Version of the chart.
        repository: Address of the Helm repository.
        source: Where its values.yaml was read.
    """

    name: str
    release: str
    version: str
    repository: str
    source: str


ARGO_CD: Final = Chart(
    name="argo-cd",
    release="argocd",
    version="10.1.1",  # Argo CD 3.4.4
    repository="https://argoproj.github.io/argo-helm",
    source="https://github.com/argoproj/argo-helm/blob/argo-cd-10.1.1/charts/argo-cd/values.yaml",
)
LOAD_BALANCER_CONTROLLER: Final = Chart(
    name="aws-load-balancer-controller",
    release="aws-load-balancer-controller",
    version="3.5.0",
    repository="https://aws.github.io/eks-charts",
    source="https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/helm/aws-load-balancer-controller/values.yaml",
)
EXTERNAL_SECRETS: Final = Chart(
    name="external-secrets",
    release="external-secrets",
    version="2.9.0",
    repository="https://charts.external-secrets.io",
    source="https://github.com/external-secrets/external-secrets/blob/v2.9.0/deploy/charts/external-secrets/values.yaml",
)
CLUSTER_AUTOSCALER: Final = Chart(
    name="cluster-autoscaler",
    release="cluster-autoscaler",
    version="9.59.0",  # cluster-autoscaler 1.35
    repository="https://kubernetes.github.io/autoscaler",
    source="https://github.com/kubernetes/autoscaler/blob/cluster-autoscaler-chart-9.59.0/cluster-autoscaler/charts/cluster-autoscaler/values.yaml",
)

# GitHub sends up to 25 MB; what Argo CD needs of a push is some kilobytes. Its own default is 50 MB, read by anybody's POST.
# https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/
_WEBHOOK_MEGABYTES: Final = 5
# Argo CD's name for a key of another Secret of its namespace: `$<secret>:<key>`.
WEBHOOK_SECRET: Final = "slipway-webhook"  # noqa: S105 — the Secret object's name
UI_SECRET: Final = "slipway-ui"  # noqa: S105 — same
SECRET_KEY: Final = "value"  # noqa: S105 — the key within it


@dataclass(frozen=True, kw_only=True)
class Ui:
    """Argo CD's UI as its values need it.

    Attributes:
        url: Its address, `https://…`, which GitHub sends people back to.
        client_id: Client id of the GitHub OAuth App.
        organization: Whose members may sign in.
        roles: Argo CD role by team of the organization.
        project: The project that the role `deployer` may sync.
    """

    url: str
    client_id: str
    organization: str
    roles: Mapping[str, str]
    project: str


def argo_cd_values(*, replicas: int, ui: Ui | None) -> dict[str, Any]:
    """Argo CD behind a load balancer that ends TLS, without the parts that the flow has no use for.

    Nobody signs in as `admin`: people come through the UI's Dex or not at all.
    """
    settings: dict[str, Any] = {
        "admin.enabled": False,
        "webhook.maxPayloadSizeMB": str(_WEBHOOK_MEGABYTES),
    }
    values: dict[str, Any] = {
        "configs": {
            "cm": settings,
            "params": {"server.insecure": True},
            # A reference, so that the secret itself is neither in the release nor in its history.
            "secret": {"githubSecret": f"${WEBHOOK_SECRET}:{SECRET_KEY}"},
        },
        "global": {"networkPolicy": {"create": True}},
        "server": {"replicas": replicas, "pdb": {"enabled": True, "maxUnavailable": 1}},
        "repoServer": {"replicas": replicas, "pdb": {"enabled": True, "maxUnavailable": 1}},
        "dex": {"enabled": ui is not None},
        "applicationSet": {"replicas": 0},
        "notifications": {"enabled": False},
    }
    if ui is not None:
        settings["url"] = ui.url
        settings["dex.config"] = json.dumps(  # JSON is YAML
            {
                "connectors": [
                    {
                        "type": "github",
                        "id": "github",
                        "name": "GitHub",
                        "config": {
                            "clientID": ui.client_id,
                            "clientSecret": f"${UI_SECRET}:{SECRET_KEY}",
                            "orgs": [{"name": ui.organization}],
                        },
                    }
                ]
            }
        )
        values["configs"]["rbac"] = {"policy.default": "", "policy.csv": rbac_policy(ui)}
    return values


def rbac_policy(ui: Ui) -> str:
    """Teams to roles; `deployer` may look at and sync what is in the project, the others are Argo CD's own.

    https://argo-cd.readthedocs.io/en/stable/operator-manual/rbac/
    """
    lines = [
        *(f"p, role:deployer, applications, {action}, {ui.project}/*, allow" for action in ("get", "sync")),
        f"p, role:deployer, logs, get, {ui.project}/*, allow",
        *(f"g, {ui.organization}:{team}, role:{role}" for team, role in sorted(ui.roles.items())),
    ]
    return "\n".join(lines)


def load_balancer_controller_values(
    *, cluster: str, region: str, vpc_id: pulumi.Input[str], service_account: str, replicas: int
) -> dict[str, Any]:
    """The controller for TargetGroupBindings alone: the load balancers are declared outside the cluster."""
    return {
        "clusterName": cluster,
        "region": region,
        "vpcId": vpc_id,
        "replicaCount": replicas,
        "serviceAccount": {"name": service_account},
        "defaultTargetType": "ip",
        "createIngressClassResource": False,
        "ingressClassParams": {"create": False},
        "enableShield": False,
        "enableWaf": False,
        "enableWafv2": False,
        "enableBackendSecurityGroup": False,
        # It would hold up every Service of every chart until the controller runs (its issue 4140).
        "enableServiceMutatorWebhook": False,
        "webhookConfig": {"disableIngressValidation": True},
        "controllerConfig": {
            "featureGates": {"EnableServiceController": False, "NLBGatewayAPI": False, "ALBGatewayAPI": False},
        },
    }


def external_secrets_values(*, service_account: str, replicas: int) -> dict[str, Any]:
    """Reads secrets for namespaced stores; nothing cluster-wide, nothing pushed back."""
    return {
        "replicaCount": replicas,
        "leaderElect": True,
        "serviceAccount": {"name": service_account},
        "processClusterExternalSecret": False,
        "processClusterPushSecret": False,
        "processClusterStore": False,
        "processClusterGenerator": False,
        "processPushSecret": False,
    }


def cluster_autoscaler_values(*, cluster: str, region: str, service_account: str) -> dict[str, Any]:
    """Scales the managed node groups of this cluster, which EKS has tagged for it."""
    return {
        "autoDiscovery": {"clusterName": cluster},
        "awsRegion": region,
        "rbac": {"serviceAccount": {"name": service_account}},
        "extraArgs": {"balance-similar-node-groups": True, "skip-nodes-with-system-pods": False},
    }
