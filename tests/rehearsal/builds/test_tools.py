"""How missing tools are brought, and the shim that stands for docker."""

import subprocess
from pathlib import Path

import pytest

from rehearsal.builds import Images, ToolError, ensure_tools, make_base_image

APT: str = """#!/bin/sh
echo "apt-get $*"
[ "$3" = install ] || exit {update}
for tool in buildah skopeo busybox; do /bin/cp /bin/sh "{folder}/$tool"; done
"""


def a_path(folder: Path, *tools: str, apt: str = "") -> str:
    """A PATH with these tools alone."""
    for name in (*tools, *(["apt-get"] if apt else [])):
        (folder / name).write_text(apt if name == "apt-get" else "#!/bin/sh\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return str(folder)


def test_nothing_is_said_or_done_when_all_tools_are_there(tmp_path: Path) -> None:
    said: list[str] = []
    ensure_tools(said.append, path=a_path(tmp_path, "buildah", "skopeo", "busybox"), as_root=False)
    assert said == []


def test_root_on_debian_gets_what_is_missing(tmp_path: Path) -> None:
    said: list[str] = []
    path = a_path(tmp_path, "skopeo", apt=APT.format(folder=tmp_path, update=0))
    ensure_tools(said.append, path=path, as_root=True)
    assert said == [
        "missing: buildah, busybox-static; installing them",
        "apt-get -o DPkg::Lock::Timeout=120 update",
        "apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends buildah busybox-static",
    ]


@pytest.mark.parametrize("as_root", [True, False])
def test_who_cannot_install_is_told_what_to_install(tmp_path: Path, as_root: bool) -> None:
    # Without root there is no use in apt, without apt none in root.
    path = a_path(tmp_path, "buildah", apt="" if as_root else APT)
    with pytest.raises(
        ToolError,
        match=r"missing: busybox-static, skopeo\..*as root: apt-get install --no-install-recommends busybox-static skopeo$",
    ):
        ensure_tools(print, path=path, as_root=as_root)


def test_an_installation_that_fails_or_brings_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="apt-get update ended with 100"):
        ensure_tools(lambda _: None, path=a_path(tmp_path, apt=APT.format(folder=tmp_path, update=100)), as_root=True)
    with pytest.raises(ToolError, match="still buildah, busybox, skopeo is not on"):
        ensure_tools(lambda _: None, path=a_path(tmp_path, apt="#!/bin/sh\n"), as_root=True)


def test_a_platform_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="linux/arm64 are known"):
        make_base_image(Images(tmp_path), "windows/amd64")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run image", "invalid choice: 'run'"),
        ("build --platform linux/arm64 --file F --tag t --no-cache .", "--no-cache"),
        ("build --platform linux/arm64 --file F --tag t", "context"),
        ("build --file F --tag t .", "--platform"),
        ("login --username AWS host", "--password-stdin"),
        ("login --user AWS --password-stdin host", "--username"),
        ("push --all-tags image", "--all-tags"),
        ("inspect --format {{.Id}} image", "invalid choice: '{{.Id}}'"),
        ("inspect --format={{index-.RepoDigests-0}} image:1", "has no RepoDigests"),
        ("", "arguments are required: login|build|push|inspect"),
    ],
)
def test_the_shim_refuses_what_it_does_not_know(tmp_path: Path, arguments: str, said: str) -> None:
    # Blanks within an argument are written as hyphens.
    given = [each.replace("{{index-.RepoDigests-0}}", "{{index .RepoDigests 0}}") for each in arguments.split()]
    docker = Path(Images(tmp_path).environment()["PATH"].split(":")[0]) / "docker"
    done = subprocess.run([docker, *given], env=Images(tmp_path).environment(), capture_output=True, text=True, check=False)  # noqa: S603 — the shim
    assert done.returncode == 1
    assert "docker (the rehearsal's, over buildah): " in done.stderr
    assert said in done.stderr


def test_the_shim_needs_to_be_told_its_folder(tmp_path: Path) -> None:
    environment = {name: value for name, value in Images(tmp_path).environment().items() if name != "SLIPWAY_IMAGES"}
    docker = Path(environment["PATH"].split(":")[0]) / "docker"
    done = subprocess.run([docker, "push", "a"], env=environment, capture_output=True, text=True, check=False)  # noqa: S603 — the shim
    assert done.returncode == 1
    assert "SLIPWAY_IMAGES is not set" in done.stderr
