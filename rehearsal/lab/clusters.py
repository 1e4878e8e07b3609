"""The control planes that stand in for EKS, by the name of their cluster, and what EKS knows of each beside.

moto keeps clusters and node groups as AWS's API shows them. What it does not keep is kept here: access entries, add-ons,
identities of pods, and the settings of a cluster that it drops.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

import yaml

from rehearsal.cloud.caller import Caller
from rehearsal.cloud.emulators import Emulators
from rehearsal.cloud.row import Place, RealiseError
from rehearsal.lab import metrics
from rehearsal.lab.argocd import ArgoCD
from rehearsal.lab.control_plane import ControlPlane

if TYPE_CHECKING:
    from rehearsal.lab.build import Binaries
    from rehearsal.lab.controller import Controller
    from rehearsal.lab.kube import Kube

POD_IDENTITY_AGENT: Final = "eks-pod-identity-agent"
# https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html
_ADMIN_POLICY: Final = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
_GROUP_LABEL: Final = "eks.amazonaws.com/nodegroup"
_READY_SECONDS: Final = 60
_DISK: Final[Mapping[str, str]] = {"ephemeral-storage": "40Gi"}
_LOOK_SECONDS: Final = 0.05


class ClusterError(RealiseError):
    """A cluster that is not there, or not as asked for."""


@dataclass(kw_only=True)
class Record:
    """What EKS knows of a cluster and moto does not keep. Properties are under Pulumi's names.

    Attributes:
        settings: Of the cluster itself.
        groups: What moto drops of node groups, by their names.
        addons: Add-ons by name.
        entries: Access entries by ARN of the principal.
        policies: Associations by ARNs of principal and policy.
        identities: Associations of pods with roles by their ids.
        lock: Held by who looks first and then writes.
    """

    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    groups: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    addons: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    entries: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    policies: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict[tuple[str, str], dict[str, Any]])
    identities: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    lock: threading.RLock = field(default_factory=threading.RLock)


@dataclass(kw_only=True)
class LabCluster:
    """One cluster.

    Attributes:
        name: Name of the EKS cluster.
        place: Its account and region.
        control_plane: Its API server and what belongs to it.
        emulators: The AWS that its controllers see.
        binaries: What its controllers' definitions come from.
        folder: Where its Argo CD may write.
        say: Tells how far something is.
        make_argocd: Makes an Argo CD for it.
        argocd: Its Argo CD, once a release has brought one.
        record: What EKS knows of it.
        controllers: What its releases run, by name.
        bindings: Fault of every TargetGroupBinding ("" when it is served), by namespace and name.
    """

    name: str
    place: Place
    control_plane: ControlPlane
    emulators: Emulators
    binaries: "Binaries"
    folder: Path
    say: Callable[[str], None]
    make_argocd: Callable[[ControlPlane, Path], ArgoCD]
    argocd: ArgoCD | None = None
    record: Record = field(default_factory=Record)
    controllers: "dict[str, Controller]" = field(default_factory=dict[str, "Controller"])
    bindings: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    _metrics: metrics.Metrics | None = None

    @property
    def kube(self) -> "Kube":
        """Client of its API server."""
        return self.control_plane.kube

    @property
    def server(self) -> str:
        """Address of its API server."""
        return _server(self.control_plane.kubeconfig)

    def kube_of(self, caller: Caller | None) -> "Kube":
        """Return a client with the rights that the cluster's access entries give to an AWS principal.

        EKS's own authorizer judges access policies; here the one for administrators is Kubernetes' own group of them.
        https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html

        Raises:
            ClusterError: no entry admits the principal, or its access policy has no counterpart here.
        """
        if caller is None:
            return self.kube
        principal = caller.identity.principal_arn
        entry = self.record.entries.get(principal)
        if entry is None:
            known = ", ".join(sorted(self.record.entries)) or "none"
            msg = (
                f"Unauthorized: the server has asked for the client to provide credentials: {principal} has no access entry in "
                f"{self.name}; there are {known}"
            )
            raise ClusterError(msg)
        groups = [str(each) for each in entry.get("kubernetesGroups") or ()]
        for whose, policy in self.record.policies:
            if whose == principal:
                if policy != _ADMIN_POLICY:
                    msg = f"{self.name}: the access policy {policy} of {principal} is not played: {_ADMIN_POLICY} alone is"
                    raise ClusterError(msg)
                groups.append("system:masters")
        return self.kube.acting_as(caller.arn, groups)

    def role_of(self, namespace: str, service_account: str) -> str:
        """ARN of the role that pods of a service account get, by Pod Identity.

        Raises:
            LookupError: they get none; the message says why.
        """
        if POD_IDENTITY_AGENT not in self.record.addons:
            msg = f"pods of {self.name} get no credentials: the add-on {POD_IDENTITY_AGENT} is not installed"
            raise LookupError(msg)
        for each in list(self.record.identities.values()):
            if (each["namespace"], each["serviceAccount"]) == (namespace, service_account):
                return str(each["roleArn"])
        msg = f"service account {namespace}/{service_account} of {self.name} has no pod identity association"
        raise LookupError(msg)

    def run(self, controller: "Controller") -> None:
        """Start a controller, in the place of one of the same name."""
        self.halt(controller.name)
        self.controllers[controller.name] = controller
        controller.start()

    def halt(self, name: str) -> None:
        """Stop a controller, if it runs."""
        running = self.controllers.pop(name, None)
        if running is not None:
            running.stop()

    def addon_came(self, name: str) -> None:
        """Start what an add-on runs, where the lab plays it."""
        if name == metrics.NAME and self._metrics is None:
            self._metrics = metrics.Metrics(self.control_plane)
            self._metrics.start()

    def addon_went(self, name: str) -> None:
        """Stop it."""
        if name == metrics.NAME and self._metrics is not None:
            self._metrics.stop()
            self._metrics = None

    def nodes(self, group: str) -> list[str]:
        """Names of a group's nodes."""
        return sorted(
            each["metadata"]["name"]
            for each in self.kube.list("v1", "Node")
            if each["metadata"].get("labels", {}).get(_GROUP_LABEL) == group
        )

    def scale(self, group: str, count: int, *, labels: Mapping[str, str]) -> None:
        """Give a group `count` nodes, and wait until they are ready; those too many are drained first.

        Raises:
            ClusterError: a node does not become ready.
        """
        there = self.nodes(group)
        names = [f"{group}-{number}" for number in range(count)]
        for name in sorted({*there} - {*names}):
            self._remove_node(name)
        for name in sorted({*names} - {*there}):
            own = {_GROUP_LABEL: group, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **labels}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": own}}
            self.kube.apply(node, manager="eks")
        deadline = time.monotonic() + _READY_SECONDS
        while waiting := [name for name in names if not self._is_ready(name)]:
            if time.monotonic() > deadline:
                msg = f"nodes {', '.join(waiting)} of {self.name} are not ready after {_READY_SECONDS} s: see kwok's log"
                raise ClusterError(msg)
            time.sleep(_LOOK_SECONDS)
        for name in sorted({*names} - {*there}):
            # KWOK gives a node no disk, and pods of a restricted namespace ask for some.
            self.kube.patch("v1", "Node", name, {"status": {"allocatable": _DISK, "capacity": _DISK}}, subresource="status")

    def _is_ready(self, name: str) -> bool:
        node = self.kube.get("v1", "Node", name) or {}
        conditions = node.get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _remove_node(self, name: str) -> None:
        self.kube.patch("v1", "Node", name, {"spec": {"unschedulable": True}})
        for pod in self.kube.list("v1", "Pod"):
            if pod["spec"].get("nodeName") == name:
                self.kube.delete("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["namespace"])
        self.kube.delete("v1", "Node", name)

    def stop(self) -> None:
        """Stop all that runs for it."""
        for name in list(self.controllers):
            self.halt(name)
        self.addon_went(metrics.NAME)
        if self.argocd is not None:
            self.argocd.stop()
            self.argocd = None
        self.control_plane.stop()


class Clusters:
    """All clusters of the lab. Rows ask from several threads at once."""

    def __init__(  # noqa: PLR0913 — the four that it needs, and how its parts are made
        self,
        binaries: "Binaries",
        folder: Path,
        emulators: Emulators,
        say: Callable[[str], None],
        *,
        make_plane: Callable[[str, Path], ControlPlane] | None = None,
        make_argocd: Callable[[ControlPlane, Path], ArgoCD] | None = None,
    ) -> None:
        """Prepare.

        Args:
            binaries: What is started.
            folder: Where every control plane gets a folder of its own.
            emulators: The AWS that the clusters' controllers see.
            say: Tells how far something is.
            make_plane: Makes a control plane by name and folder.
            make_argocd: Makes an Argo CD for a control plane.
        """
        self._binaries, self._folder, self._emulators, self._say = binaries, folder, emulators, say
        self._make_plane = make_plane or self._plane_of
        self._make_argocd = make_argocd or self._argocd_of
        self._planes: dict[str, Future[ControlPlane]] = {}
        self._clusters: dict[str, LabCluster] = {}
        self._made = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(thread_name_prefix="control-plane")

    def __enter__(self) -> Self:
        """Nothing runs until it is asked for."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop every cluster, and what was begun ahead of one."""
        with self._lock:
            running, begun = list(self._clusters.values()), list(self._planes.values())
            self._clusters.clear()
            self._planes.clear()
        stops = [self._pool.submit(each.stop) for each in running]
        for each in begun:
            # One that did not start has told so to who asked for it.
            with contextlib.suppress(Exception):
                each.result().stop()
        for each in stops:
            each.result()
        self._pool.shutdown()

    def prewarm(self, names: Iterable[str]) -> None:
        """Begin to start control planes that will be declared: `start` then only waits for them."""
        for name in names:
            self._plane(name)

    def start(self, name: str, place: Place, version: str) -> LabCluster:
        """Start the control plane of a cluster, and wait until it answers.

        Raises:
            ClusterError: a cluster of this name runs already, or it does not start.
        """
        with self._lock:
            if name in self._clusters:
                msg = f"a cluster {name} runs already, in account {self._clusters[name].place.account}: names must differ here"
                raise ClusterError(msg)
        began = time.perf_counter()
        future = self._plane(name)
        try:
            plane = future.result()
        except Exception as error:
            with self._lock:
                self._planes.pop(name, None)
            msg = f"the control plane of {name} did not start: {error}"
            raise ClusterError(msg) from error
        with self._lock:
            if self._planes.pop(name, None) is None:
                msg = f"a cluster {name} is being started twice: declare it once"
                raise ClusterError(msg)
            cluster = LabCluster(
                name=name,
                place=place,
                control_plane=plane,
                emulators=self._emulators,
                binaries=self._binaries,
                folder=self._folder / f"{name}-argocd-{self._made}",
                say=self._say,
                make_argocd=self._make_argocd,
            )
            cluster.record.settings["version"] = version
            self._clusters[name] = cluster
        self._say(f"{name}: control plane answers after {time.perf_counter() - began:.1f} s")
        return cluster

    def stop(self, name: str) -> None:
        """Stop a cluster; one that does not run is no error."""
        with self._lock:
            cluster = self._clusters.pop(name, None)
        if cluster is not None:
            cluster.stop()

    def find(self, name: str) -> LabCluster | None:
        """The cluster of this name, None if it does not run."""
        with self._lock:
            return self._clusters.get(name)

    def get(self, name: str) -> LabCluster:
        """The cluster of this name.

        Raises:
            ClusterError: it does not run.
        """
        found = self.find(name)
        if found is None:
            msg = f"no cluster {name} runs here: running are {self._running()}"
            raise ClusterError(msg)
        return found

    def at(self, place: Place) -> list[LabCluster]:
        """The clusters of an account and region."""
        with self._lock:
            return [each for each in self._clusters.values() if each.place == place]

    def by_server(self, url: str) -> LabCluster:
        """The cluster whose API server has this address.

        Raises:
            ClusterError: none has.
        """
        with self._lock:
            found = next((each for each in self._clusters.values() if each.server == url), None)
        if found is None:
            msg = f"the cluster at {url or '(no address)'} is unreachable: running are {self._running()}"
            raise ClusterError(msg)
        return found

    def by_kubeconfig(self, kubeconfig: str | Mapping[str, Any]) -> LabCluster:
        """The cluster that a kubeconfig leads to, given as text or read.

        Raises:
            ClusterError: it leads to none of these.
        """
        read: Any = kubeconfig if isinstance(kubeconfig, Mapping) else yaml.safe_load(kubeconfig or "")
        if not isinstance(read, Mapping):
            msg = "the provider has no kubeconfig: give it the cluster's, and resources that provider"
            raise ClusterError(msg)
        return self.by_server(_server(cast("Mapping[str, Any]", read)))

    def kubeconfig(self, name: str) -> str | None:
        """The kubeconfig of a cluster as JSON; None while it does not run."""
        found = self.find(name)
        return None if found is None else json.dumps(found.control_plane.kubeconfig)

    def _plane(self, name: str) -> "Future[ControlPlane]":
        with self._lock:
            if name not in self._planes and name not in self._clusters:
                # A folder of its own each time: what a deleted cluster of the same name held must not come back.
                self._made += 1
                self._planes[name] = self._pool.submit(self._started, name, self._folder / f"{name}-{self._made}")
            found = self._planes.get(name)
        if found is None:
            msg = f"a cluster {name} runs already: names must differ here"
            raise ClusterError(msg)
        return found

    def _plane_of(self, name: str, folder: Path) -> ControlPlane:
        return ControlPlane(name, folder, self._binaries, self._say)

    def _argocd_of(self, plane: ControlPlane, folder: Path) -> ArgoCD:
        return ArgoCD(plane, folder, self._binaries, self._say)

    def _started(self, name: str, folder: Path) -> ControlPlane:
        plane = self._make_plane(name, folder)
        plane.start()
        return plane

    def _running(self) -> str:
        with self._lock:
            return ", ".join(sorted(self._clusters)) or "none"


def _server(kubeconfig: Mapping[str, Any]) -> str:
    """Address of the current context's cluster."""
    contexts = {each["name"]: each["context"] for each in kubeconfig.get("contexts", [])}
    clusters = {each["name"]: each["cluster"] for each in kubeconfig.get("clusters", [])}
    context = contexts.get(kubeconfig.get("current-context", ""), {})
    return str(clusters.get(context.get("cluster", ""), {}).get("server", ""))


__all__ = ["POD_IDENTITY_AGENT", "ClusterError", "Clusters", "LabCluster", "Record"]
