"""The archive: the same input gives the same bytes, and it runs with nothing beside it but what Lambda brings."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from functions import package

ARCHITECTURE = "x86_64"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive made from nothing."""
    made, _ = package.build(ARCHITECTURE, tmp_path_factory.mktemp("first"))
    return made


def test_entries_are_sorted_and_have_one_time_and_one_mode(archive: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        entries = content.infolist()
    names = [entry.filename for entry in entries]
    assert names == sorted(names)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {oct(entry.external_attr >> 16) for entry in entries} == {"0o100644"}
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("bin/") or "/RECORD" in name]
    assert not [name for name in names if name.startswith(("boto3", "botocore", "cryptography", "cffi"))]


@pytest.mark.parametrize("architecture", sorted(package.PLATFORMS))
def test_every_extension_module_is_of_the_stable_abi_and_of_its_architecture(
    architecture: str, tmp_path: Path, archive: Path
) -> None:
    made = archive if architecture == ARCHITECTURE else package.build(architecture, tmp_path)[0]
    # https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html, e_machine
    machine = {"x86_64": 62, "arm64": 183}[architecture]
    with zipfile.ZipFile(made) as content:
        modules = [name for name in content.namelist() if re.search(r"\.so(\.|$)", name)]
        assert modules
        for name in modules:
            assert name.endswith(".abi3.so")
            assert int.from_bytes(content.read(name)[18:20], "little") == machine


def test_a_module_bound_to_one_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_cffi.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    with pytest.raises(package.PackagingError, match="bound to one minor version"):
        package._installed_files(tmp_path)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] — the rule itself


def test_the_same_input_gives_the_same_bytes_and_nothing_is_done_twice(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installs: list[str] = []
    install = package._install  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] — counted here

    def counting(architecture: str, target: Path) -> None:
        installs.append(architecture)
        install(architecture, target)

    monkeypatch.setattr(package, "_install", counting)
    first = archive.read_bytes()
    package.build(ARCHITECTURE, archive.parent)
    assert installs == []
    archive.write_bytes(first + b"tampered with")
    package.build(ARCHITECTURE, archive.parent)
    assert installs == [ARCHITECTURE]
    assert archive.read_bytes() == first
    assert sorted(path.name for path in archive.parent.iterdir()) == [f".gitops_writer-{ARCHITECTURE}.json", archive.name]


def test_any_change_of_code_templates_or_lock_is_another_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = package._own_files()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] — the input
    digest = package._digest  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] — its hash
    assert "gitops_writer/handler.py" in own
    assert "gitops_writer/scaffold/apps/served/base/deployment.yaml" in own
    seen = {digest(ARCHITECTURE, own), digest("arm64", own)}
    seen |= {digest(ARCHITECTURE, {**own, name: content + b"\n"}) for name, content in own.items()}
    lock = tmp_path / "requirements.txt"
    lock.write_bytes(package.REQUIREMENTS.read_bytes() + b"\n")
    monkeypatch.setattr(package, "REQUIREMENTS", lock)
    seen.add(digest(ARCHITECTURE, own))
    assert len(seen) == len(own) + 3


def test_the_handler_imports_with_nothing_but_the_archive_and_what_lambda_brings(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path / "task")
    # Lambda's runtime has boto3 and what it needs; the archive's copies of the latter go first there too.
    brought = tmp_path / "runtime"
    brought.mkdir()
    for name in ("boto3", "botocore", "s3transfer", "dateutil", "six"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        (brought / (origin.name if origin.name == f"{name}.py" else name)).symlink_to(
            origin if origin.name == f"{name}.py" else origin.parent
        )
    code = (
        "import sys, json; sys.path[:0] = sys.argv[1:]\n"
        "from gitops_writer import catalogue, github, handler, scaffold, settings\n"
        "entry = catalogue.parse(sys.stdin.read())\n"
        "made = scaffold.files(entry, settings.Layout(root='apps/{service}', own_overlay='dev'))\n"
        "foreign = [name for name in sys.modules if name.startswith(('cryptography', 'cffi'))]\n"
        "print(json.dumps([handler.__file__, len(made), foreign]))\n"
    )
    entry = {"service": "shop", "namespace": "shop", "port": None, "health_path": None, "images": {"dev": "r.example/shop"}}
    done = subprocess.run(  # noqa: S603 — this interpreter, isolated
        [sys.executable, "-I", "-S", "-W", "error", "-c", code, str(tmp_path / "task"), str(brought)],
        input=json.dumps({**entry, "hosts": {}}),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "eu-central-1"},
    )
    assert done.returncode == 0, done.stderr
    where, files, foreign = json.loads(done.stdout)
    assert Path(where).is_relative_to(tmp_path / "task")
    assert files > 10
    assert foreign == []


def test_the_lock_holds_hashes_and_nothing_of_a_machine() -> None:
    text = package.REQUIREMENTS.read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|--index|--find-links|^ *#.* /", text, re.MULTILINE)
    wanted = (package.SOURCE / "requirements.in").read_text(encoding="utf-8")
    names = [re.split(r"[<>=]", line)[0].replace(".", "-") for line in wanted.splitlines() if line and line[0] != "#"]
    assert names
    assert all(f"\n{name}==" in text for name in names)


def test_the_command_prints_name_size_and_hash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, archive: Path
) -> None:
    sha256 = package._sha256(archive)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] — to compare with

    def built(_architecture: str) -> tuple[Path, str]:
        return archive, sha256

    monkeypatch.setattr(package, "build", built)
    assert package.main(["--architecture", ARCHITECTURE]) == 0
    assert re.search(rf"gitops_writer-x86_64\.zip  \d+\.\d MB  sha256 {sha256}", capsys.readouterr().out)


def test_a_failed_installation_says_what_to_look_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "requirements.txt"
    broken.write_text("no-such-distribution-of-ours==1.0 --hash=sha256:" + "0" * 64 + "\n", encoding="utf-8")
    monkeypatch.setattr(package, "REQUIREMENTS", broken)
    monkeypatch.setattr(package, "DIST", tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(package.PackagingError, match="cannot be installed for x86_64"):
        package.build(ARCHITECTURE, tmp_path)
    assert capsys.readouterr().out == ""
