"""Building the lab's programs: what is asked for, kept, built anew, and left behind by a failure. Go itself is played."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from rehearsal.lab import build
from rehearsal.lab.build import Binaries, BuildError

# What `go` is asked here: its version, to build a module's tools, where a module is.
GO: Final = """#!/bin/sh
module=$(basename "$PWD")
echo "$module $1" >> '{folder}/asked'
case $1 in
env) cat '{folder}/version' ;;
mod)
    # mod download -json PATH: the second part of the path is name enough.
    name=${{4#*/}}
    echo "{{\\"Dir\\": \\"{folder}/modules/${{name%%/*}}\\"}}"
    ;;
build)
    while [ "$1" != -o ]; do shift; done
    case $module in
    engine) touch "$2/pulumi" ;;
    cluster) touch "$2/cmd" "$2/server" "$2/kube-apiserver" ;;
    esac
    if [ -e '{folder}/broken' ]; then
        echo 'etcd.go:1: undefined: raft' >&2
        exit 1
    fi
    ;;
esac
"""
MODULES: Final = {
    "argoproj": (
        *(f"manifests/crds/{kind}-crd.yaml" for kind in ("application", "applicationset", "appproject")),
        "manifests/base/config/argocd-cm.yaml",
        "hack/git-verify-wrapper.sh",
    ),
    "kwok": (
        "kustomize/stage/pod/fast/pod-ready.yaml",
        "kustomize/stage/pod/fast/kustomization.yaml",
        "kustomize/stage/node/fast/node-initialize.yaml",
        "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    ),
    "external-secrets": tuple(
        f"config/crds/bases/external-secrets.io_{kind}.yaml" for kind in ("externalsecrets", "secretstores")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Played:
    """Our modules, and a `go` that does as it is told."""

    go: Path
    ours: Path
    root: Path

    def asked(self, verb: str) -> list[str]:
        """Modules in which `go` was asked for something."""
        log = self.go / "asked"
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        return [module for module, said in map(str.split, lines) if said == verb]

    def build(self) -> Binaries:
        """Build all."""
        return build.build(lambda line: None, root=self.root)  # noqa: ARG005 — nobody listens

    def kept(self) -> set[str]:
        """Folders of built modules, by name and key; whatever else is left too."""
        return {each.name for each in self.root.iterdir() if each.suffix != ".lock"} if self.root.is_dir() else set()


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """Put them up, in front of PATH."""
    go, ours = tmp_path / "go", tmp_path / "ours"
    go.mkdir()
    script = go / "go"
    script.write_text(GO.format(folder=go), encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (go / "version").write_text("go1.26.1", encoding="utf-8")
    for module, files in MODULES.items():
        for each in files:
            path = go / "modules" / module / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(each, encoding="utf-8")
    for name in ("engine", "cluster", "definitions"):
        (ours / name).mkdir(parents=True)
        for part in ("go.mod", "go.sum"):
            (ours / name / part).write_text(f"{part} of {name}", encoding="utf-8")
    (ours / "crds").mkdir()
    (ours / "crds" / "targetgroupbindings.yaml").write_text("a definition", encoding="utf-8")
    monkeypatch.setattr(build, "_HERE", ours)
    monkeypatch.setenv("PATH", f"{go}{os.pathsep}{os.defpath}")
    return Played(go=go, ours=ours, root=tmp_path / "root")


def test_programs_and_what_is_read_beside_them_are_kept_under_their_names(played: Played) -> None:
    made = played.build()
    assert all(each.is_file() for each in (made.pulumi, made.argocd, made.etcd, made.kube_apiserver))
    assert [each.name for each in made.assets.kwok_stages] == [
        "node-heartbeat-with-lease.yaml",
        "node-initialize.yaml",
        "pod-ready.yaml",
    ]
    assert [each.name for each in made.assets.argocd_config] == ["argocd-cm.yaml"]
    assert [each.name for each in made.assets.load_balancer_controller_crds] == ["targetgroupbindings.yaml"]
    assert len(made.assets.argocd_crds) == 3
    assert len(made.assets.external_secrets_crds) == 2
    assert os.access(made.assets.argocd_wrappers / "git-verify-wrapper.sh", os.X_OK)


def test_a_machine_without_go_is_told_what_is_needed_and_where_to_get_it(
    played: Played, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"go is missing: .* Go 1\.26 or newer\. Install it \(https://go\.dev/doc/install\)"):
        played.build()
    assert played.kept() == set()


@pytest.mark.parametrize("version", ["go1.25.9", "devel"])
def test_a_go_that_is_too_old_or_names_no_version_is_refused_by_what_it_says(played: Played, version: str) -> None:
    (played.go / "version").write_text(version, encoding="utf-8")
    with pytest.raises(BuildError, match=rf"go is {version}: Go 1\.26 or newer is needed"):
        played.build()
    assert played.asked("build") == []


def test_what_is_complete_is_not_built_again(played: Played) -> None:
    first = played.build()
    assert played.build() == first
    assert played.asked("build") == ["engine", "cluster"]


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ("engine/go.sum", {"engine"}),
        ("engine/go.mod", {"engine"}),
        ("cluster/go.sum", {"cluster", "assets"}),
        ("definitions/go.sum", {"assets"}),
    ],
)
def test_what_a_module_pins_decides_what_is_made_anew_beside_what_was_there(played: Played, changed: str, made: set[str]) -> None:
    played.build()
    before = played.kept()
    (played.ours / changed).write_text("another", encoding="utf-8")
    played.build()
    assert before < played.kept()
    assert {each.split("-")[0] for each in played.kept() - before} == made


def test_another_go_builds_everything_anew(played: Played) -> None:
    played.build()
    (played.go / "version").write_text("go1.27.0", encoding="utf-8")
    played.build()
    assert played.asked("build") == ["engine", "cluster"] * 2


def test_a_build_that_fails_says_gos_last_words_leaves_nothing_and_can_be_tried_again(played: Played) -> None:
    (played.go / "broken").touch()
    with pytest.raises(BuildError, match=r"building engine failed; go's last words:\n(.*\n)*etcd\.go:1: undefined: raft"):
        played.build()
    assert played.kept() == set()
    (played.go / "broken").unlink()
    assert played.build().pulumi.is_file()


def test_a_file_that_a_module_has_no_more_is_named_and_nothing_is_left_of_the_others(played: Played) -> None:
    (played.go / "modules" / "kwok" / MODULES["kwok"][2]).unlink()
    with pytest.raises(BuildError, match=r"sigs\.k8s\.io/kwok has no kustomize/stage/node/fast/node-\*\.yaml any more"):
        played.build()
    assert {each.split("-")[0] for each in played.kept()} == {"engine", "cluster"}


def test_definitions_are_kept_without_what_nothing_here_declares() -> None:
    providers = {"aws": {"type": "object"}, "vault": {"type": "object"}}
    spec = {"properties": {"provider": {"properties": providers}}}
    made = build.lighter(
        {
            "kind": "CustomResourceDefinition",
            "spec": {
                "names": {"kind": "SecretStore"},
                "versions": [
                    {"name": name, "schema": {"openAPIV3Schema": {"properties": {"spec": spec}}}} for name in ("v1", "v1beta1")
                ],
            },
        }
    )
    (version,) = made["spec"]["versions"]
    assert version["name"] == "v1"
    assert spec["properties"]["provider"]["properties"] == {"aws": {"type": "object"}}


def test_the_cache_is_where_the_variable_says_or_else_the_users(
    played: Played, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(build.CACHE_VARIABLE, raising=False)
    assert build.build(lambda line: None).folder.parent == tmp_path / "cache" / "slipway-lab"  # noqa: ARG005 — as above
    monkeypatch.setenv(build.CACHE_VARIABLE, str(played.root))
    assert build.build(lambda line: None).folder.parent == played.root  # noqa: ARG005 — as above
