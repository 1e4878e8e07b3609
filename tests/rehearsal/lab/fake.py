"""An API server in memory: as much of one as rows and controllers ask for."""

import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import yaml

from rehearsal.cloud import Emulators
from rehearsal.lab.clusters import Clusters
from rehearsal.lab.controller import Controller
from rehearsal.lab.kube import KubeError, NoKindError

Object = dict[str, Any]
_CLUSTER_WIDE: Final = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Namespace",
        "Node",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)
_BUILT_IN: Final = frozenset(
    {"v1", "apps/v1", "rbac.authorization.k8s.io/v1", "apiextensions.k8s.io/v1", "admissionregistration.k8s.io/v1"}
)


class FakeKube:
    """Keeps objects; definitions make kinds, namespaces must be there, finalizers hold, and owners take what they own along.

    Attributes:
        immutable: Fields of `spec` that no update may change, by kind.
        applied: Every object that was applied for good, by kind and name, in order.
    """

    def __init__(self) -> None:
        """Begin with the namespaces that every cluster has."""
        self.immutable: dict[str, tuple[str, ...]] = {}
        self.applied: list[tuple[str, str]] = []
        self._objects: dict[tuple[str, str, str, str], Object] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        for name in ("default", "kube-system"):
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def apply(self, obj: Mapping[str, Any], *, manager: str = "pulumi", dry_run: bool = False, force: bool = True) -> Object:
        """As the real one."""
        del manager, force
        with self._lock:
            key = self._key(obj["apiVersion"], obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace"))
            if key[2] and ("v1", "Namespace", "", key[2]) not in self._objects:
                raise KubeError(404, "NotFound", f'namespaces "{key[2]}" not found')
            before = self._objects.get(key)
            for field in self.immutable.get(obj["kind"], ()) if before else ():
                if before and obj["spec"].get(field) != before["spec"].get(field):
                    raise KubeError(422, "Invalid", f"{obj['kind']} is invalid: spec.{field}: field is immutable")
            made = _merged(before or {"metadata": {"uid": str(next(self._numbers)), "generation": 0}}, obj)
            if key[2]:
                made["metadata"]["namespace"] = key[2]
            if dry_run:
                return made
            if before is None or made.get("spec") != before.get("spec"):
                made["metadata"]["generation"] += 1
            self.applied.append((obj["kind"], obj["metadata"]["name"]))
            return self._keep(key, self._settled(made))

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """As the real one."""
        with self._lock:
            try:
                return copy.deepcopy(self._objects.get(self._key(api_version, kind, name, namespace)))
            except NoKindError:
                return None

    def list(self, api_version: str, kind: str, namespace: str | None = None, *, labels: str = "") -> list[Object]:
        """As the real one."""
        del labels
        with self._lock:
            self._key(api_version, kind, "", None)
            return [
                copy.deepcopy(each)
                for key, each in self._objects.items()
                if key[:2] == (api_version, kind) and (not namespace or key[2] == namespace)
            ]

    def patch(  # noqa: PLR0913 — as Kube's
        self,
        api_version: str,
        kind: str,
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        subresource: str = "",
    ) -> Object:
        """As the real one."""
        del subresource
        with self._lock:
            key = self._key(api_version, kind, name, namespace)
            if key not in self._objects:
                raise KubeError(404, "NotFound", f"{kind} {name} not found")
            wanted = patch.get("metadata", {}).get("resourceVersion")
            if wanted not in {None, self._objects[key]["metadata"]["resourceVersion"]}:
                raise KubeError(409, "Conflict", "the object has been modified")
            self._keep(key, _merged(self._objects[key], patch))
            now = self._objects[key]
            if now["metadata"].get("deletionTimestamp") and not now["metadata"].get("finalizers"):
                self._gone(key)
            return copy.deepcopy(now)

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None, *, wait_seconds: float = 0) -> bool:
        """As the real one."""
        del wait_seconds
        with self._lock:
            try:
                key = self._key(api_version, kind, name, namespace)
            except NoKindError:
                return True
            found = self._objects.get(key)
            if found is None:
                return True
            if found["metadata"].get("finalizers"):
                found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
                return False
            self._gone(key)
            return True

    def forget(self, api_version: str) -> None:
        """As the real one."""
        del api_version

    def _gone(self, key: tuple[str, str, str, str]) -> None:
        uid = self._objects.pop(key)["metadata"]["uid"]
        for other, each in list(self._objects.items()):
            owners = each["metadata"].get("ownerReferences", [])
            if any(owner["uid"] == uid for owner in owners):
                self._gone(other)

    def _keep(self, key: tuple[str, str, str, str], made: Object) -> Object:
        made["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._objects[key] = made
        return copy.deepcopy(made)

    def _key(self, api_version: str, kind: str, name: str, namespace: str | None) -> tuple[str, str, str, str]:
        definition = next(
            (
                each["spec"]
                for (_, sort, _, _), each in getattr(self, "_objects", {}).items()
                if sort == "CustomResourceDefinition"
                and each["spec"]["names"]["kind"] == kind
                and f"{each['spec']['group']}/{each['spec']['versions'][0]['name']}" == api_version
            ),
            None,
        )
        if api_version not in _BUILT_IN and definition is None:
            raise NoKindError(404, "NoKind", f"no kind {kind} in version {api_version} is served")
        return api_version, kind, "" if kind in _CLUSTER_WIDE else (namespace or "default"), name

    @staticmethod
    def _settled(made: Object) -> Object:
        """What controllers of the API server and KWOK would say of it."""
        ready = {"CustomResourceDefinition": "Established", "Node": "Ready"}.get(made["kind"])
        return {**made, "status": {"conditions": [{"type": ready, "status": "True"}]}} if ready else made


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    made = copy.deepcopy(dict(before))
    for key, value in after.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), dict)
        made[key] = _merged(made[key], cast("Mapping[str, Any]", value)) if both else copy.deepcopy(cast("Any", value))
    return made


class FakePlane:
    """A control plane that is there at once.

    Attributes:
        running: Whether it was started and not stopped.
    """

    numbers: Iterator[int] = itertools.count(1)

    def __init__(self, name: str, folder: Path) -> None:
        """As the real one."""
        self.name, self.folder, self.running, self.kube = name, folder, False, FakeKube()
        server = f"https://127.0.0.1:{next(self.numbers)}"
        self.kubeconfig: Object = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": "Y2E="}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "users": [{"name": name, "user": {"client-certificate-data": "Yw=="}}],
            "current-context": name,
        }

    def start(self) -> None:
        """As the real one."""
        self.running = True

    def stop(self) -> None:
        """As the real one."""
        self.running = False


class FakeArgoCD:
    """An Argo CD that defines its kinds, lets go of Applications that are deleted while it runs, and notes what it is told.

    Attributes:
        done: What was asked of it, in order.
        given: What it was installed with.
    """

    def __init__(self, plane: FakePlane) -> None:
        """As the real one."""
        self.done: list[str] = []
        self.given: Object = {}
        self._plane = plane
        self._controller = Controller("argocd", self._look)

    def prepare(self) -> None:
        """As the real one."""
        self.done.append("prepare")

    def install(self, **given: Any) -> None:  # noqa: ANN401 — noted
        """As the real one."""
        self.done.append("install")
        self.given = given
        for kind in ("Application", "AppProject"):
            self._plane.kube.apply(definition("argoproj.io", "v1alpha1", kind))
        self._controller.start()

    def stop(self) -> None:
        """As the real one."""
        self.done.append("stop")
        self._controller.stop()

    def _look(self) -> None:
        kube, api, kind = self._plane.kube, "argoproj.io/v1alpha1", "Application"
        for each in kube.list(api, kind):
            metadata = each["metadata"]
            if "deletionTimestamp" in metadata:
                kube.patch(api, kind, metadata["name"], {"metadata": {"finalizers": []}}, metadata["namespace"])


def definition(group: str, version: str, kind: str) -> Object:
    """A definition of a kind, as far as the fake looks."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.lower()}s.{group}"},
        "spec": {"group": group, "names": {"kind": kind}, "versions": [{"name": version}]},
    }


def clusters(folder: Path, emulators: Emulators | None = None, make_plane: Callable[[str, Path], Any] = FakePlane) -> Clusters:
    """A lab of fakes; `folder` is where their definitions are written."""
    files = {
        "external_secrets_crds": [definition("external-secrets.io", "v1", each) for each in ("ExternalSecret", "SecretStore")],
        "load_balancer_controller_crds": [definition("elbv2.k8s.aws", "v1beta1", "TargetGroupBinding")],
    }
    for name, definitions in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(definitions), encoding="utf-8")
    assets = SimpleNamespace(**{name: [folder / f"{name}.yaml"] for name in files})
    return Clusters(
        cast("Any", SimpleNamespace(assets=assets)),
        folder,
        cast("Emulators", emulators),
        lambda _: None,
        make_plane=make_plane,
        make_argocd=lambda plane, _: cast("Any", FakeArgoCD(cast("Any", plane))),
    )
