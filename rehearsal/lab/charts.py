"""What a Helm release does in the lab. Charts cannot be had here: each is known by its name and at its pinned version.

A chart's controllers run as threads of this process, or as real processes where the flow depends on them (Argo CD). What a
chart would do beside that is listed in `NOT_PLAYED`.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml

from components import charts
from rehearsal.cloud.row import RealiseError
from rehearsal.lab import bindings, secrets
from rehearsal.lab.clusters import LabCluster

# For the report: by type, chart or add-on, what the lab leaves out.
NOT_PLAYED: Final[Mapping[str, str]] = {
    "aws:eks/addon:Addon": "recorded and required, not run: no kubelet runs pods, so nothing needs a network or names",
    "aws:eks/cluster:Cluster": "its version is recorded: every control plane is of the one version that the lab builds; its "
    "endpoint's ranges let nobody in or out, and the creator is administrator whatever is declared",
    "aws:eks/accessEntry:AccessEntry": "recorded and checked: callers of the API server come with a certificate, not as roles",
    "aws:eks/nodeGroup:NodeGroup": "nodes are KWOK's: pods on them are said to run, and no image is pulled",
    "argo-cd": "its pods, Services and network policies: the very programs run as processes beside the cluster; without Dex, "
    "nobody signs in, without its notifications controller nobody is told of health, and an ApplicationSet takes any field",
    "aws-load-balancer-controller": "pods are registered in no target group, and no readiness gate is put into them",
    "cluster-autoscaler": "recorded only: no pod is ever without a node",
    "external-secrets": "its pods: a thread does its work; of templates only `{{ .name }}`, of stores only Secrets Manager by "
    "Pod Identity",
}

_FREE: Final[Mapping[str, frozenset[str]]] = {
    # Maps whose keys are of what the chart installs: whoever reads them judges them.
    "argo-cd": frozenset(
        {"configs/cm", "configs/params", "configs/rbac"}
        | {f"notifications/{key}" for key in ("notifiers", "templates", "triggers")}
    ),
    "aws-load-balancer-controller": frozenset({"controllerConfig/featureGates"}),
    "cluster-autoscaler": frozenset({"extraArgs"}),
}
# The lists of what each chart's own values.yaml has, beside the test that holds components/charts.py to them.
_KEYS: Final = Path(__file__).resolve().parents[2] / "tests" / "components" / "chart_keys"
_LEVELS: Final = 3
_PINNED: Final[Mapping[str, charts.Chart]] = {
    each.name: each
    for each in (charts.ARGO_CD, charts.CLUSTER_AUTOSCALER, charts.EXTERNAL_SECRETS, charts.LOAD_BALANCER_CONTROLLER)
}
# `$<secret>:<key>`: https://argo-cd.readthedocs.io/en/stable/operator-manual/user-management/#sensitive-data-and-sso-client-secrets
_REFERENCE: Final = re.compile(r"\$([a-z0-9.-]+):([\w.-]+)")
_REPOSITORY: Final = ("argocd.argoproj.io/secret-type", "repository")
# Pods would wait longer; what is not there by now has no way to come.
SECRETS_SECONDS: Final = 30
_LOOK_SECONDS: Final = 0.1
# https://helm.sh/docs/topics/advanced/#configmap-storage-backend
_RECORD: Final = "sh.helm.release.v1.{name}.v{revision}"
_MANAGER: Final = "helm"


class ReleaseError(RealiseError):
    """A release that cannot be made, or not as asked for."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release as it is asked for.

    Attributes:
        name: Its name.
        namespace: Where it is installed.
        chart: Name of the chart.
        version: Version of the chart.
        repository: Address of the chart's repository.
        values: Its values.
        create_namespace: Whether the namespace is made where it is missing.
    """

    name: str
    namespace: str
    chart: str
    version: str
    repository: str
    values: Mapping[str, Any]
    create_namespace: bool = False


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A release as the cluster has it recorded.

    Attributes:
        release: What was asked for.
        revision: How often it was changed, from 1.
    """

    release: Release
    revision: int


@dataclass(frozen=True, kw_only=True)
class _Play:
    """What a chart does: `install` also brings an installed one up to date."""

    install: Callable[[LabCluster, Release], None]
    remove: Callable[[LabCluster, Release], None]


def faults(release: Release) -> Sequence[str]:
    """Why a release would be refused, whatever the cluster."""
    pinned = _PINNED.get(release.chart)
    if pinned is None:
        known = ", ".join(sorted(_PLAYS))
        return [f"chart is {release.chart!r}: the lab knows what these do: {known}; add it to rehearsal/lab/charts.py"]
    found = [
        f"{key} is {got!r}: components/charts.py pins {wanted!r}"
        for key, got, wanted in (
            ("version", release.version, pinned.version),
            ("repositoryOpts.repo", release.repository, pinned.repository),
        )
        if got != wanted
    ]
    strange = list(_strange(release))
    if strange:
        found.append(f"values: {', '.join(strange)} of {release.chart} {pinned.version} would mean nothing: {pinned.source}")
    return found


def install(cluster: LabCluster, release: Release) -> Installed:
    """Install a release; what was begun is taken back when it fails, as `atomic` wants.

    Raises:
        ReleaseError: it cannot be installed.
    """
    _refuse(release)
    kube = cluster.kube
    if find(cluster, release.namespace, release.name) is not None:
        msg = f"cannot re-use a name that is still in use: release {release.namespace}/{release.name} of {cluster.name}"
        raise ReleaseError(msg)
    if kube.get("v1", "Namespace", release.namespace) is None:
        if not release.create_namespace:
            msg = f'namespaces "{release.namespace}" not found in {cluster.name}: make it first, or set createNamespace'
            raise ReleaseError(msg)
        made = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": release.namespace, "labels": {"name": release.namespace}},
        }
        kube.apply(made, manager=_MANAGER)
    play = _PLAYS[release.chart]
    try:
        play.install(cluster, release)
    except BaseException:
        play.remove(cluster, release)
        raise
    return _record(cluster, release, 1)


def upgrade(cluster: LabCluster, release: Release) -> Installed:
    """Bring an installed release to other values or another version.

    Raises:
        ReleaseError: it cannot be brought there, or is not installed.
    """
    _refuse(release)
    before = find(cluster, release.namespace, release.name)
    if before is None:
        msg = f"release {release.namespace}/{release.name} is not installed in {cluster.name}"
        raise ReleaseError(msg)
    _PLAYS[release.chart].install(cluster, release)
    installed = _record(cluster, release, before.revision + 1)
    cluster.kube.delete("v1", "ConfigMap", _RECORD.format(name=release.name, revision=before.revision), release.namespace)
    return installed


def remove(cluster: LabCluster, namespace: str, name: str) -> None:
    """Uninstall a release; one that is not there is no error. Its namespace stays, as with Helm."""
    before = find(cluster, namespace, name)
    if before is not None:
        _PLAYS[before.release.chart].remove(cluster, before.release)
        cluster.kube.delete("v1", "ConfigMap", _RECORD.format(name=name, revision=before.revision), namespace)


def find(cluster: LabCluster, namespace: str, name: str) -> Installed | None:
    """The installed release of this name, None if there is none."""
    for each in cluster.kube.list("v1", "ConfigMap", namespace):
        labels = each["metadata"].get("labels", {})
        if (labels.get("owner"), labels.get("name"), labels.get("status")) == (_MANAGER, name, "deployed"):
            return Installed(release=Release(**json.loads(each["data"]["release"])), revision=int(labels["version"]))
    return None


def _record(cluster: LabCluster, release: Release, revision: int) -> Installed:
    labels = {"owner": _MANAGER, "name": release.name, "status": "deployed", "version": str(revision)}
    name = _RECORD.format(name=release.name, revision=revision)
    record = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": release.namespace, "labels": labels},
        # Helm packs it; here people and tests look at it.
        "data": {"release": json.dumps(asdict(release), sort_keys=True)},
    }
    cluster.kube.apply(record, manager=_MANAGER)
    return Installed(release=release, revision=revision)


def _refuse(release: Release) -> None:
    found = faults(release)
    if found:
        raise ReleaseError("; ".join(found))


def _strange(release: Release) -> Iterator[str]:
    """Keys of a release's values that its chart does not have."""
    lines = (_KEYS / f"{release.chart}.txt").read_text(encoding="utf-8").splitlines()
    known, free = {line for line in lines if line and not line.startswith("#")}, _FREE.get(release.chart, frozenset())
    for path in _paths(release.values, ()):
        places = ["/".join(path[:depth]) for depth in range(1, len(path))]
        if "/".join(path[:_LEVELS]) not in known and not any(place in free for place in places):
            yield "/".join(path)


def _paths(values: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from _paths(cast("Mapping[str, Any]", value), (*above, key))


def _text(values: Mapping[str, Any], *path: str) -> str:
    """A value of a release that its play needs."""
    value: Any = values
    for key in path:
        value = value.get(key, {})
    if not isinstance(value, str) or not value:
        msg = f"values.{'.'.join(path)} is not given: the chart would make a name up"
        raise ReleaseError(msg)
    return value


# Definitions of kinds


def _define(cluster: LabCluster, files: Sequence[Path]) -> None:
    """Apply definitions of kinds, and wait until they are served."""
    names: list[str] = []
    for definition in _definitions(files):
        cluster.kube.apply(definition, manager=_MANAGER)
        names.append(definition["metadata"]["name"])
    deadline = time.monotonic() + SECRETS_SECONDS
    while waiting := [name for name in names if not _established(cluster, name)]:
        if time.monotonic() > deadline:
            msg = f"{', '.join(waiting)} of {cluster.name} are not established after {SECRETS_SECONDS} s"
            raise ReleaseError(msg)
        time.sleep(_LOOK_SECONDS)


def _established(cluster: LabCluster, name: str) -> bool:
    found = cluster.kube.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    # A definition that is brand-new has `null` there.
    conditions: list[dict[str, str]] = (found.get("status", {}).get("conditions") or []) if found else []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _definitions(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        for each in yaml.load_all(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader):
            if each:
                yield each


# External Secrets


def _install_external_secrets(cluster: LabCluster, release: Release) -> None:
    account = _text(release.values, "serviceAccount", "name")
    _define(cluster, cluster.binaries.assets.external_secrets_crds)
    played = secrets.ExternalSecrets(cluster, namespace=release.namespace, service_account=account)
    cluster.run(played.controller())


def _remove_external_secrets(cluster: LabCluster, release: Release) -> None:
    del release
    cluster.halt(secrets.NAME)
    # They are among the chart's templates: https://external-secrets.io/latest/introduction/getting-started/#uninstalling
    for each in _definitions(cluster.binaries.assets.external_secrets_crds):
        cluster.kube.delete(each["apiVersion"], each["kind"], each["metadata"]["name"])
    cluster.kube.forget(secrets.API)


# AWS Load Balancer Controller


def _install_load_balancer_controller(cluster: LabCluster, release: Release) -> None:
    account = _text(release.values, "serviceAccount", "name")
    for key, wanted in (("clusterName", cluster.name), ("region", cluster.place.region)):
        if _text(release.values, key) != wanted:
            msg = f"values.{key} is {release.values[key]!r}, and the controller would run in {wanted!r}"
            raise ReleaseError(msg)
    _define(cluster, cluster.binaries.assets.load_balancer_controller_crds)
    for each in bindings.admission():
        cluster.kube.apply(each, manager=_MANAGER)
    played = bindings.Bindings(cluster, namespace=release.namespace, service_account=account)
    cluster.run(played.controller())


def _remove_load_balancer_controller(cluster: LabCluster, release: Release) -> None:
    del release
    cluster.halt(bindings.NAME)
    # Its definitions lie in the chart's folder `crds`, which Helm never takes away; its webhooks go.
    for each in reversed(bindings.admission()):
        cluster.kube.delete(each["apiVersion"], each["kind"], each["metadata"]["name"])


# Argo CD


def _install_argo_cd(cluster: LabCluster, release: Release) -> None:
    configs = release.values.get("configs", {})
    needed = _references(configs.get("secret", {}))
    if notifications(release.values):
        needed.append((charts.NOTIFICATIONS_SECRET, charts.SECRET_KEY))
    # A webhook whose secret cannot be looked up is open to everybody or to nobody.
    if cluster.argocd is None:
        cluster.argocd = cluster.make_argocd(cluster.control_plane, cluster.folder)
        # First what takes its time: until it is done no kind of Argo CD is served, and what does not wait for it fails.
        cluster.argocd.prepare()
        _wait_for_secrets(cluster, release.namespace, needed)
    github = str(configs.get("secret", {}).get("githubSecret", ""))
    cluster.argocd.install(
        settings=_strings(configs.get("cm", {})),
        rbac=_strings(configs.get("rbac", {})),
        secret={"webhook.github.secret": github} if github else {},
    )


def _remove_argo_cd(cluster: LabCluster, release: Release) -> None:
    """Its definitions stay (crds.keep), and with them what nobody removes any more."""
    del release
    if cluster.argocd is not None:
        cluster.argocd.stop()
        cluster.argocd = None


def notifications(values: Mapping[str, Any]) -> dict[str, str]:
    """The data of `argocd-notifications-cm` that the chart makes of its values; none where they are off.

    https://github.com/argoproj/argo-helm/blob/argo-cd-10.1.1/charts/argo-cd/templates/argocd-configs/argocd-notifications-cm.yaml
    """
    given = values.get("notifications", {})
    if not given.get("enabled"):
        return {}
    maps = (given.get(each, {}) for each in ("notifiers", "templates", "triggers"))
    # JSON is YAML.
    return {
        "subscriptions": json.dumps(given.get("subscriptions", [])),
        **{key: text for each in maps for key, text in each.items()},
    }


def _strings(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as a ConfigMap has them."""
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()}


def _references(values: Any) -> list[tuple[str, str]]:  # noqa: ANN401 — values are JSON
    return [(match[1], match[2]) for match in _REFERENCE.finditer(json.dumps(values))]


def _wait_for_secrets(cluster: LabCluster, namespace: str, references: Sequence[tuple[str, str]]) -> None:
    """Wait for what Argo CD reads at its start: the Secrets that its settings name, and one with a repository's credentials."""
    deadline = time.monotonic() + SECRETS_SECONDS
    while missing := _missing(cluster, namespace, references):
        if time.monotonic() > deadline:
            msg = (
                f"release timed out waiting for {', '.join(missing)} in namespace {namespace} of {cluster.name}. "
                f"{_why(cluster, namespace)}"
            )
            raise ReleaseError(msg)
        time.sleep(_LOOK_SECONDS)


def _missing(cluster: LabCluster, namespace: str, references: Sequence[tuple[str, str]]) -> list[str]:
    there = {each["metadata"]["name"]: each for each in cluster.kube.list("v1", "Secret", namespace)}
    missing = [f"Secret {name} with key {key}" for name, key in references if key not in there.get(name, {}).get("data", {})]
    label, value = _REPOSITORY
    if not any(each["metadata"].get("labels", {}).get(label) == value for each in there.values()):
        missing.append(f"a Secret labelled {label}={value}")
    return missing


def _why(cluster: LabCluster, namespace: str) -> str:
    """What the ExternalSecrets of a namespace complain of."""
    running = cluster.controllers.get(secrets.NAME)
    if running is None:
        return f"{secrets.NAME} is not installed: what makes Secrets must come first (depends_on)"
    told = [
        f"{each['metadata']['name']}: {condition['message']}"
        for each in cluster.kube.list(secrets.API, "ExternalSecret", namespace)
        for condition in each.get("status", {}).get("conditions", [])
        if condition["status"] != "True"
    ]
    return "; ".join([*told, *([running.fault] if running.fault else [])]) or "No ExternalSecret there makes it"


# Cluster Autoscaler


def _install_autoscaler(cluster: LabCluster, release: Release) -> None:
    for path, wanted in ((("autoDiscovery", "clusterName"), cluster.name), (("awsRegion",), cluster.place.region)):
        if _text(release.values, *path) != wanted:
            msg = f"values.{'.'.join(path)} is {_text(release.values, *path)!r}, and it would run in {wanted!r}"
            raise ReleaseError(msg)
    try:
        cluster.role_of(release.namespace, _text(release.values, "rbac", "serviceAccount", "name"))
    except LookupError as error:
        msg = f"release timed out waiting for its pods: {error}"
        raise ReleaseError(msg) from error


def _remove_nothing(cluster: LabCluster, release: Release) -> None:
    del cluster, release


_PLAYS: Final[Mapping[str, _Play]] = {
    charts.ARGO_CD.name: _Play(install=_install_argo_cd, remove=_remove_argo_cd),
    charts.CLUSTER_AUTOSCALER.name: _Play(install=_install_autoscaler, remove=_remove_nothing),
    charts.EXTERNAL_SECRETS.name: _Play(install=_install_external_secrets, remove=_remove_external_secrets),
    charts.LOAD_BALANCER_CONTROLLER.name: _Play(
        install=_install_load_balancer_controller, remove=_remove_load_balancer_controller
    ),
}

__all__ = ["NOT_PLAYED", "Installed", "Release", "ReleaseError", "faults", "find", "install", "remove", "upgrade"]
