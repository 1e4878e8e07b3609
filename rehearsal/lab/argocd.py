"""Argo CD of one cluster, its real components as processes: API server (webhook), repo server, application controller, redis.

And where it is asked for, the notifications controller.
"""

import base64
import contextlib
import http
import http.client
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from rehearsal.lab.control_plane import ControlPlane
from rehearsal.lab.kube import KubeError
from rehearsal.lab.processes import Process, ProcessError, free_port

if TYPE_CHECKING:
    from rehearsal.lab.build import Binaries

NAMESPACE: Final = "argocd"
API: Final = "argoproj.io/v1alpha1"
_LOOPBACK: Final = "127.0.0.1"
_PART: Final[Mapping[str, str]] = {"app.kubernetes.io/part-of": "argocd"}
_MANAGER: Final = "helm"
_KINDS: Final = ("Application", "ApplicationSet", "AppProject")
_KINDS_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05


class ArgoCD:
    """Argo CD in the namespace `argocd`, which is there already.

    Attributes:
        server_url: Where its API server listens: its webhook, and its API, which asks nobody who they are. Known once installed.
    """

    def __init__(self, control_plane: ControlPlane, folder: Path, binaries: "Binaries", say: Callable[[str], None]) -> None:
        """Prepare; `folder` is made."""
        self.server_url = ""
        self._plane, self._folder, self._binaries, self._say = control_plane, folder, binaries, say
        self._processes: list[Process] = []
        self._redis = self._repository = ""
        self._notifies = False

    def prepare(self) -> None:
        """Start what needs nothing of the cluster.

        Raises:
            ProcessError: it does not start.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if shutil.which("redis-server") is None:
            msg = "redis-server is missing: Argo CD caches in it. On Debian or Ubuntu: apt-get install redis-server"
            raise ProcessError(msg)
        port = free_port()
        self._redis = f"{_LOOPBACK}:{port}"
        redis = self._run(
            "redis",
            "redis-server",
            *("--bind", _LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(self._folder)),
        )
        redis.wait_for("it answered", lambda: _listens(port))

    def install(self, *, settings: Mapping[str, str], rbac: Mapping[str, str], secret: Mapping[str, str]) -> None:
        """Apply definitions and configuration; start the components, unless they run.

        Args:
            settings: Of `argocd-cm`.
            rbac: Of `argocd-rbac-cm`.
            secret: Of `argocd-secret`: values, or references `$secret:key` to another Secret.

        Raises:
            KubeError: an object is refused.
            ProcessError: a component does not start.
        """
        kube, assets = self._plane.kube, self._binaries.assets
        for file in assets.argocd_crds:
            for each in _documents(file):
                kube.apply(each, manager=_MANAGER)
        self._await_kinds()
        for file in assets.argocd_config:
            for each in _documents(file):
                name = each["metadata"]["name"]
                each["metadata"]["namespace"] = NAMESPACE
                each["metadata"]["labels"] = {**_PART, **each["metadata"].get("labels", {})}
                if name == "argocd-cm":
                    each["data"] = {**(each.get("data") or {}), **settings}
                elif name == "argocd-rbac-cm":
                    each["data"] = {**(each.get("data") or {}), **rbac}
                elif name == "argocd-secret":
                    each["data"] = {key: _encoded(value) for key, value in {**self._own_secret(), **secret}.items()}
                kube.apply(each, manager=_MANAGER)
        if self.server_url:
            return
        with ThreadPoolExecutor(3) as pool:
            repository = self._repository = self._start_repo_server()
            for each in [pool.submit(self._start_controller, repository), pool.submit(self._start_server, repository)]:
                each.result()
        self._say(f"{self._plane.name}: Argo CD answers at {self.server_url}")

    def notify(self, settings: Mapping[str, str]) -> None:
        """Apply the configuration of notifications, and start their controller unless it runs; Argo CD is installed.

        Its Secret is there already.

        Args:
            settings: Of `argocd-notifications-cm`.

        Raises:
            KubeError: it is refused.
            ProcessError: the controller does not start.
        """
        metadata = {"name": "argocd-notifications-cm", "namespace": NAMESPACE, "labels": dict(_PART)}
        self._plane.kube.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(settings)}, manager=_MANAGER
        )
        if self._notifies:
            return
        port = free_port()
        process = self._run(
            "argocd-notifications",
            str(self._binaries.argocd),
            *("--namespace", NAMESPACE, "--argocd-repo-server", self._repository, "--metrics-port", str(port)),
        )
        process.wait_for("it listened", lambda: _listens(port))
        self._notifies = True

    def _await_kinds(self) -> None:
        """Until every kind is served: a definition is, a moment after it was taken."""
        deadline = time.monotonic() + _KINDS_SECONDS
        missing = set(_KINDS)
        while missing:
            for kind in list(missing):
                with contextlib.suppress(KubeError):
                    self._plane.kube.list(API, kind)
                    missing.discard(kind)
            if missing and time.monotonic() > deadline:
                msg = (
                    f"{self._plane.name} does not serve {', '.join(sorted(missing))} {_KINDS_SECONDS:.0f} s after their "
                    "definitions were taken"
                )
                raise ProcessError(msg)
            if missing:
                time.sleep(_LOOK_SECONDS)

    def _own_secret(self) -> dict[str, str]:
        """What signs sessions: drawn once."""
        there = self._plane.kube.get("v1", "Secret", "argocd-secret", NAMESPACE) or {}
        kept = there.get("data", {}).get("server.secretkey")
        return {"server.secretkey": base64.b64decode(kept).decode() if kept else secrets.token_hex(32)}

    def stop(self) -> None:
        """Stop every component."""
        processes, self._processes = self._processes, []
        if processes:
            with ThreadPoolExecutor(len(processes)) as pool:
                for each in reversed(processes):
                    pool.submit(each.stop)
        self.server_url = ""
        self._notifies = False

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        return sum(each.memory() for each in self._processes)

    def application(self, name: str) -> dict[str, Any] | None:
        """An Application as it stands, None if there is none."""
        return self._plane.kube.get(API, "Application", name, NAMESPACE)

    def request(self, path: str) -> Any:  # noqa: ANN401 — JSON
        """Ask its API.

        Raises:
            ProcessError: it refuses.
        """
        import urllib3  # noqa: PLC0415 — heavy, and only this needs it here

        answer = urllib3.request("GET", f"{self.server_url}{path}", retries=False)
        if answer.status >= 400:  # noqa: PLR2004 — HTTP's errors
            msg = f"Argo CD of {self._plane.name} answers {path} with {answer.status}: {answer.data.decode(errors='replace')}"
            raise ProcessError(msg)
        return answer.json()

    # Components

    def _start_repo_server(self) -> str:
        port = free_port()
        process = self._run(
            "argocd-repo-server",
            str(self._binaries.argocd),
            *("--address", _LOOPBACK, "--port", str(port)),
            *("--metrics-address", _LOOPBACK, "--metrics-port", str(free_port())),
            *("--redis", self._redis),
        )
        process.wait_for("it listened", lambda: _listens(port))
        return f"{_LOOPBACK}:{port}"

    def _start_controller(self, repository: str) -> None:
        metrics = free_port()
        process = self._run(
            "argocd-application-controller",
            str(self._binaries.argocd),
            *("--namespace", NAMESPACE, "--repo-server", repository, "--redis", self._redis),
            *("--metrics-port", str(metrics), "--status-processors", "4", "--operation-processors", "4"),
        )
        process.wait_for("it was healthy", lambda: _healthy(metrics, "/healthz"))

    def _start_server(self, repository: str) -> None:
        port = free_port()
        process = self._run(
            "argocd-server",
            str(self._binaries.argocd),
            *("--namespace", NAMESPACE, "--repo-server", repository, "--redis", self._redis),
            *("--address", _LOOPBACK, "--port", str(port)),
            *("--metrics-address", _LOOPBACK, "--metrics-port", str(free_port())),
            *("--insecure", "--disable-auth", "--staticassets", ""),
        )
        process.wait_for("it was healthy", lambda: _healthy(port, "/healthz"))
        self.server_url = f"http://{_LOOPBACK}:{port}"

    def _run(self, name: str, program: str, *flags: str) -> Process:
        scratch = self._folder / "tmp"
        for each in ("tmp", "tls", "ssh", "home"):
            (self._folder / each).mkdir(exist_ok=True)
        process = Process(
            name=f"{name} of {self._plane.name}",
            arguments=[program, *flags],
            log=self._folder / "logs" / f"{name}.log",
            environment={
                "PATH": os.pathsep.join(
                    [str(self._binaries.folder), str(self._binaries.assets.argocd_wrappers), os.environ.get("PATH", os.defpath)]
                ),
                "HOME": str(self._folder / "home"),
                "TMPDIR": str(scratch),
                "KUBECONFIG": str(self._plane.folder / "kubeconfig"),
                "ARGOCD_BINARY_NAME": name,
                # The cluster that it runs in is the kubeconfig's.
                "ARGOCD_FAKE_IN_CLUSTER": "true",
                "ARGOCD_GPG_ENABLED": "false",
                "ARGOCD_TLS_DATA_PATH": str(self._folder / "tls"),
                "ARGOCD_SSH_DATA_PATH": str(self._folder / "ssh"),
                "ARGOCD_ASK_PASS_SOCK": str(self._folder / "askpass.sock"),
                "ARGOCD_LOG_FORMAT": "text",
            },
            folder=self._folder,
        )
        self._processes.append(process)
        process.start()
        return process


def _documents(file: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.load_all(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader) if each]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, port), timeout=1):
        return True
    return False


def _healthy(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


__all__ = ["API", "NAMESPACE", "ArgoCD"]
