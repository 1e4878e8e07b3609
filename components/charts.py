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
# The notifications controller reads one Secret, which has this name unless it is told of another, and names it by `$<key>`.
NOTIFICATIONS_SECRET: Final = "argocd-notifications-secret"  # noqa: S105 — the Secret object's name
# In a template over an Application: the commit that it has synced last, or that it is syncing.
SYNCED: Final = (
    "{{$synced := ``}}{{range .app.status.history}}{{$synced = .revision}}{{end}}"
    "{{with .app.status.operationState}}{{with .syncResult}}{{with .revision}}{{$synced = .}}{{end}}{{end}}{{end}}{{$synced}}"
)
# Every health that Argo CD has a word for, and the commit status that it is told by.
# https://argo-cd.readthedocs.io/en/stable/operator-manual/health/
_HEALTH: Final[Mapping[str, str]] = {
    "Healthy": "success",
    "Progressing": "pending",
    "Suspended": "pending",
    "Degraded": "failure",
    "Missing": "failure",
    "Unknown": "failure",
}


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


@dataclass(frozen=True, kw_only=True)
class HealthReports:
    """How the health of Applications is told to GitHub.

    Attributes:
        prefix: Begins the context of every status; the Application's name ends it.
        project: The project whose Applications are told of.
        repository_url: The GitOps repository's address for Git.
        app_id: GitHub App that may set statuses there; its key is in the Secret `NOTIFICATIONS_SECRET`.
        installation_id: Its installation.
        api_url: Where the API is served; "" for github.com.
        page: Where a status leads, a template over the Application.
    """

    prefix: str
    project: str
    repository_url: str
    app_id: int
    installation_id: int
    api_url: str
    page: str


def argo_cd_values(*, replicas: int, ui: Ui | None, health: HealthReports | None = None) -> dict[str, Any]:
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
        "notifications": notifications_values(health) if health else {"enabled": False},
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


def notifications_values(health: HealthReports) -> dict[str, Any]:
    """Every Application's health as a commit status on what it has synced: on each change of it, and on each new revision.

    The controller keeps what it has sent by condition. Without `oncePer` it forgets that once the condition no longer holds, so
    a health that comes back is told again; with it, it never does, and a second Healthy of one revision would stay untold. So
    there is a condition for each health, and one `oncePer` revision for a sync that changes no health. (A time of the last
    transition in `oncePer` would not do: it has whole seconds, and health can come and go within one.)
    https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/triggers/

    A status that GitHub refuses with 422 is not tried again, so nothing is told before there is a revision.
    """
    revision = "app.status?.operationState?.syncResult?.revision"
    # A sync that has just begun has none yet; what was deployed before it still has.
    known = f"({revision} not in [nil, ''] or len(app.status?.history ?? []) > 0)"
    told = f"app.spec.project == {json.dumps(health.project)} and {known}"
    there = f"{told} and app.metadata.deletionTimestamp == nil"
    since = "app.status.health.lastTransitionTime"
    unchanged = (
        f"{there} and app.status?.operationState?.phase == 'Succeeded' and {since} != nil and "
        f"not time.Parse({since}).After(time.Parse(app.status.operationState.startedAt))"
    )
    conditions: list[dict[str, Any]] = [
        *({"when": f"{there} and app.status?.health?.status == '{word}'", "send": ["health"]} for word in _HEALTH),
        {"when": unchanged, "oncePer": revision, "send": ["health"]},
        # Nobody would tell of it any more, and what was told last would stand: that of a colour that is taken away, too.
        {"when": f"{told} and app.metadata.deletionTimestamp != nil", "send": ["gone"]},
    ]
    app = {
        "appID": health.app_id,
        "installationID": health.installation_id,
        "privateKey": f"${SECRET_KEY}",
        **({"enterpriseBaseURL": health.api_url} if health.api_url else {}),
    }
    state = "".join('{{if eq .app.status.health.status "' + word + '"}}' + state + "{{end}}" for word, state in _HEALTH.items())
    since_when = "{{with .app.status.health.lastTransitionTime}} since {{.}}{{end}}"
    # JSON is YAML. The names are those of argocd-notifications-cm:
    # https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/services/github/
    return {
        "enabled": True,
        "secret": {"create": False, "name": NOTIFICATIONS_SECRET},
        "notifiers": {"service.github": json.dumps(app)},
        "subscriptions": [{"recipients": ["github"], "triggers": ["on-health"]}],
        "templates": {
            "template.health": _status(health, "{{.app.status.health.status}}" + since_when, state),
            "template.gone": _status(health, "Deleted", "success"),
        },
        "triggers": {"trigger.on-health": json.dumps(conditions)},
    }


def _status(health: HealthReports, message: str, state: str) -> str:
    """A template that sets a commit status."""
    status = {
        "state": state,
        "label": health.prefix + "{{.app.metadata.name}}",
        # GitHub refuses what is no address.
        "targetURL": health.page,
    }
    github = {"repoURLPath": health.repository_url, "revisionPath": SYNCED, "status": status}
    return json.dumps({"message": message, "github": github})


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
