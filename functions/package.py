"""Packages the writer function, one archive per architecture, such that the same input gives the same bytes.

`python -m functions.package` writes dist/gitops_writer-arm64.zip and dist/gitops_writer-x86_64.zip, which
components/image_hook.py deploys. Without a change of input it does nothing.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from uv import find_uv_bin

ROOT: Final = Path(__file__).resolve().parent.parent
DIST: Final = ROOT / "dist"
SOURCE: Final = ROOT / "functions" / "gitops_writer"
TEMPLATES: Final = ROOT / "scaffold" / "apps"
REQUIREMENTS: Final = SOURCE / "requirements.txt"

# Lambda's Python 3.13 stands on Amazon Linux 2023, whose glibc is 2.34; wheels are built for the older 2.28.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
PLATFORMS: Final[Mapping[str, str]] = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}
# The oldest Python that may run the archive: wheels for it serve the newer ones too, as long as they keep to the stable ABI.
PYTHON: Final = "3.11"

# No archive knows an earlier time. https://docs.python.org/3/library/zipfile.html#zipfile.ZipInfo
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644
_UNIX: Final = 3
_ABI3: Final = re.compile(r"\.abi3\.so$")
# What an installer writes of its own: paths and hashes of files that are left out here.
_OF_THE_INSTALLER: Final = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"})


class PackagingError(Exception):
    """No archive could be made; the message says what to do."""


def build(architecture: str, folder: Path = DIST) -> tuple[Path, str]:
    """Make the archive of `architecture` in `folder`, unless it is there and made from the same input.

    Returns:
        The archive, and its SHA-256 in hex.

    Raises:
        PackagingError: the dependencies cannot be installed, or would not run on every Python that the archive is for.
    """
    archive = folder / f"gitops_writer-{architecture}.zip"
    stamp = folder / f".gitops_writer-{architecture}.json"
    own = _own_files()
    wanted = _digest(architecture, own)
    if (known := _read_stamp(stamp)).get("input") == wanted and archive.is_file() and known.get("archive") == _sha256(archive):
        return archive, known["archive"]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as temporary:
        installed = Path(temporary) / "installed"
        _install(architecture, installed)
        made = Path(temporary) / archive.name
        _write(made, {**_installed_files(installed), **own})
        made.replace(archive)
    sha256 = _sha256(archive)
    stamp.write_text(json.dumps({"input": wanted, "archive": sha256}), encoding="utf-8")
    return archive, sha256


def _own_files() -> dict[str, bytes]:
    """The function's own code and the templates, by their name in the archive."""
    files = {f"gitops_writer/{path.name}": path.read_bytes() for path in sorted(SOURCE.glob("*.py"))}
    templates = [path for path in sorted(TEMPLATES.rglob("*")) if path.is_file()]
    if not templates:
        msg = f"{TEMPLATES.relative_to(ROOT)} holds no file: the templates of new services belong into the archive. Check it out"
        raise PackagingError(msg)
    return files | {
        f"gitops_writer/scaffold/apps/{path.relative_to(TEMPLATES).as_posix()}": path.read_bytes() for path in templates
    }


def _digest(architecture: str, own: Mapping[str, bytes]) -> str:
    """Hash of everything that the archive follows from."""
    whole = hashlib.sha256(f"{PLATFORMS[architecture]} {PYTHON}\0".encode())
    parts = {"requirements": REQUIREMENTS.read_bytes(), "package": Path(__file__).read_bytes(), **own}
    for name, content in sorted(parts.items()):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _read_stamp(path: Path) -> dict[str, str]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _install(architecture: str, target: Path) -> None:
    """Install the locked dependencies for Lambda, whatever this machine is."""
    command = [
        *(find_uv_bin(), "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps"),
        *("--python", sys.executable, "--python-version", PYTHON, "--python-platform", PLATFORMS[architecture]),
        *("--target", str(target), "--requirement", str(REQUIREMENTS)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 — uv, with arguments of our own
    if done.returncode:
        msg = (
            f"the function's dependencies cannot be installed for {architecture}: {done.stderr.strip()[-800:]}\n"
            "Is the package index reachable, and requirements.txt locked anew after requirements.in was changed?"
        )
        raise PackagingError(msg)


def _installed_files(root: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or name.startswith("bin/") or "__pycache__/" in name or path.name.startswith("."):
            continue
        if ".dist-info/" in name and path.name in _OF_THE_INSTALLER:
            continue
        if re.search(r"\.(so|pyd|dylib)(\.|$)", path.name) and not _ABI3.search(path.name):
            msg = (
                f"{name} is bound to one minor version of Python: only pure Python and extension modules for the stable ABI "
                "(.abi3.so) may be in the archive. Take another library, or a version of it with such a wheel"
            )
            raise PackagingError(msg)
        files[name] = path.read_bytes()
    return files


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr, entry.compress_type = _UNIX, _MODE << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=6)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Package what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m functions.package", description="Package the GitOps writer for Lambda.")
    parser.add_argument("--architecture", nargs="+", choices=sorted(PLATFORMS), default=sorted(PLATFORMS), metavar="NAME")
    for architecture in parser.parse_args(arguments).architecture:
        try:
            archive, sha256 = build(architecture)
        except PackagingError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        shown = os.path.relpath(archive)
        sys.stdout.write(f"{shown}  {archive.stat().st_size / 1e6:.1f} MB  sha256 {sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
