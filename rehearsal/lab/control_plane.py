"""One Kubernetes control plane: etcd, API server, controllers, scheduler, and KWOK, which plays every kubelet.

What a pod's image is, is looked at by nobody but KWOK: pods run at once, and one whose image has the tag `UNPULLABLE` stays
as a kubelet leaves it that cannot pull.
"""

import base64
import contextlib
import datetime as dt
import ipaddress
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from rehearsal.lab.kube import Kube, KubeError
from rehearsal.lab.processes import Process, free_port

if TYPE_CHECKING:
    from rehearsal.lab.build import Binaries

UNPULLABLE: Final = "20260101T000000Z-0000000000ff"
"""The tag that no registry has: pods with it wait in ImagePullBackOff."""

_SERVICES: Final = "10.96.0.0/16"
_FIRST_SERVICE: Final = "10.96.0.1"
_LOOPBACK: Final = "127.0.0.1"
_DAYS: Final = 2
_WITH_UNPULLABLE: Final = f'.spec.containers.[] | select( .image | test(":{UNPULLABLE}") ) | .name'
_PULL_FAILS: Final[Mapping[str, Any]] = {
    "apiVersion": "kwok.x-k8s.io/v1alpha1",
    "kind": "Stage",
    "metadata": {"name": "pod-image-pull-back-off"},
    "spec": {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": {
            "matchExpressions": [
                {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
                {"key": ".status.containerStatuses", "operator": "DoesNotExist"},
                {"key": _WITH_UNPULLABLE, "operator": "Exists"},
            ]
        },
        "next": {
            # As a kubelet writes it: https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff
            "statusTemplate": """
{{ $now := Now }}
phase: Pending
startTime: {{ $now | Quote }}
conditions:
- lastTransitionTime: {{ $now | Quote }}
  status: "True"
  type: Initialized
- lastTransitionTime: {{ $now | Quote }}
  status: "False"
  type: Ready
  reason: ContainersNotReady
- lastTransitionTime: {{ $now | Quote }}
  status: "False"
  type: ContainersReady
  reason: ContainersNotReady
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  imageID: ""
  name: {{ .name | Quote }}
  ready: false
  restartCount: 0
  state:
    waiting:
      reason: ImagePullBackOff
      message: 'Back-off pulling image "{{ .image }}": not found'
{{ end }}
"""
        },
    },
}


class ControlPlane:
    """A control plane on loopback, from `start` to `stop`.

    Attributes:
        name: Of the cluster.
        folder: Keys, store and logs.
        kubeconfig: How an administrator reaches it. Known once it is started.
        kube: A client of its API server. Likewise.
    """

    kubeconfig: dict[str, Any]
    kube: Kube

    def __init__(self, name: str, folder: Path, binaries: "Binaries", say: Callable[[str], None]) -> None:
        """Prepare; `folder` is made."""
        self.name, self.folder = name, folder
        self._binaries, self._say = binaries, say
        self._processes: list[Process] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start every part, and wait until the API server is ready.

        Raises:
            ProcessError: a part did not start.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        store = self._start_etcd()
        keys = Keys(self.folder / "keys")
        port = free_port()
        self.kubeconfig = keys.kubeconfig(self.name, f"https://{_LOOPBACK}:{port}")
        config = self.folder / "kubeconfig"
        config.touch(mode=0o600)
        config.write_text(json.dumps(self.kubeconfig), encoding="utf-8")
        server = self._start_api_server(keys, port, store)
        self.kube = Kube(self.kubeconfig)
        server.wait_for("it was ready", self._is_ready)
        self._start_controllers(keys, config)

    def _is_ready(self) -> bool:
        try:
            return self.kube.request("GET", "/readyz") == "ok"
        except KubeError:
            return False

    def _run(self, name: str, program: Path, *flags: str, **environment: str) -> Process:
        process = Process(
            name=f"{name} of {self.name}",
            arguments=[str(program), *flags],
            log=self.folder / "logs" / f"{name}.log",
            environment={"HOME": str(self.folder), **environment},
            folder=self.folder,
        )
        with self._lock:
            self._processes.append(process)
        process.start()
        return process

    def _start_etcd(self) -> str:
        client, peer = (f"http://{_LOOPBACK}:{free_port()}" for _ in range(2))
        self._run(
            "etcd",
            self._binaries.etcd,
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # What it holds need not outlive the machine.
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        return client

    def _start_api_server(self, keys: "Keys", port: int, store: str) -> Process:
        return self._run(
            "kube-apiserver",
            self._binaries.kube_apiserver,
            f"--etcd-servers={store}",
            f"--secure-port={port}",
            f"--bind-address={_LOOPBACK}",
            f"--advertise-address={_LOOPBACK}",
            # It takes no loopback address for the service `kubernetes`.
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={_SERVICES}",
            "--authorization-mode=RBAC",
            "--anonymous-auth=false",
            # As EKS has it: what may be privileged is for a namespace's Pod Security to say.
            "--allow-privileged=true",
            f"--client-ca-file={keys.file('authority.crt')}",
            f"--tls-cert-file={keys.file('server.crt')}",
            f"--tls-private-key-file={keys.file('server.key')}",
            f"--service-account-key-file={keys.file('accounts.key')}",
            f"--service-account-signing-key-file={keys.file('accounts.key')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            # What it needs to ask the servers of other API groups, such as metrics.
            f"--requestheader-client-ca-file={keys.file('authority.crt')}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={keys.file('front-proxy.crt')}",
            f"--proxy-client-key-file={keys.file('front-proxy.key')}",
            "--enable-aggregator-routing=true",
            "--profiling=false",
        )

    def _start_controllers(self, keys: "Keys", config: Path) -> None:
        common = (f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0")
        self._run(
            "kube-controller-manager",
            self._binaries.kube_controller_manager,
            *common,
            f"--root-ca-file={keys.file('authority.crt')}",
            f"--service-account-private-key-file={keys.file('accounts.key')}",
            # The autoscaler looks often, and believes a pod's first measurements: nothing here takes time to warm up.
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=1s",
        )
        self._run("kube-scheduler", self._binaries.kube_scheduler, *common)
        self._run(
            "kwok",
            self._binaries.kwok,
            f"--kubeconfig={config}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=40",
            f"--server-address={_LOOPBACK}:{free_port()}",
            f"--node-ip={_LOOPBACK}",
            *(f"--config={each}" for each in self._stages()),
        )

    def _stages(self) -> list[Path]:
        """KWOK's own stages, with pods that cannot be pulled kept out of the one that makes them run."""
        folder = self.folder / "stages"
        folder.mkdir()
        for source in self._binaries.assets.kwok_stages:
            stages = [each for each in yaml.safe_load_all(source.read_text(encoding="utf-8")) if each]
            for each in stages:
                if each["metadata"]["name"] == "pod-ready":
                    each["spec"]["selector"]["matchExpressions"].append({"key": _WITH_UNPULLABLE, "operator": "DoesNotExist"})
            (folder / source.name).write_text(yaml.safe_dump_all(stages), encoding="utf-8")
        (folder / "pod-image-pull-back-off.yaml").write_text(yaml.safe_dump(dict(_PULL_FAILS)), encoding="utf-8")
        return sorted(folder.iterdir())

    @property
    def folder_of_keys(self) -> Path:
        """Where keys and certificates lie."""
        return self.folder / "keys"

    def stop(self) -> None:
        """Stop every part: those that ask before those that are asked."""
        with self._lock:
            processes, self._processes = self._processes, []
        # Started in the order store, server, all others.
        first, others = processes[:2], processes[2:]
        if others:
            with ThreadPoolExecutor(len(others)) as pool:
                for each in others:
                    pool.submit(each.stop)
        for each in reversed(first):
            each.stop()
        with contextlib.suppress(AttributeError):
            self.kube.close()

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        with self._lock:
            return sum(each.memory() for each in self._processes)


class Keys:
    """An authority of the cluster's own, and what it certifies."""

    def __init__(self, folder: Path) -> None:
        """Make all of them, in `folder`."""
        self._folder = folder
        folder.mkdir(mode=0o700)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "slipway-lab")])
        self._authority = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._write("authority.crt", self._authority.public_bytes(serialization.Encoding.PEM))
        self._certify(
            "server", "kube-apiserver", names=["localhost", "kubernetes.default.svc"], addresses=[_LOOPBACK, _FIRST_SERVICE]
        )
        self._certify("admin", "slipway-lab", organization="system:masters")
        self._certify("front-proxy", "front-proxy")
        self._certify("metrics", "metrics-server.kube-system.svc", names=["metrics-server.kube-system.svc"])
        accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._write("accounts.key", _private(accounts))

    def file(self, name: str) -> Path:
        """Where a key or certificate lies."""
        return self._folder / name

    def kubeconfig(self, name: str, server: str) -> dict[str, Any]:
        """How an administrator reaches `server`."""

        def encoded(file: str) -> str:
            return base64.b64encode(self.file(file).read_bytes()).decode()

        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encoded("authority.crt")}}],
            "users": [
                {
                    "name": name,
                    "user": {"client-certificate-data": encoded("admin.crt"), "client-key-data": encoded("admin.key")},
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }

    def _certify(
        self,
        file: str,
        common: str,
        *,
        organization: str = "",
        names: list[str] | None = None,
        addresses: list[str] | None = None,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
        if organization:
            parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        builder = self._builder(x509.Name(parts), key.public_key())
        known: list[x509.GeneralName] = [x509.DNSName(each) for each in names or ()]
        known += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses or ()]
        if known:
            builder = builder.add_extension(x509.SubjectAlternativeName(known), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        self._write(f"{file}.crt", made.public_bytes(serialization.Encoding.PEM))
        self._write(f"{file}.key", _private(key))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=_DAYS))
        )

    def _write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


__all__ = ["UNPULLABLE", "ControlPlane", "Keys"]
