"""Puts the version that a branch was started from beside the working copy, so that both can be evaluated."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_SECONDS: Final = 60


class NoBaseError(Exception):
    """There is nothing to compare with; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """An earlier version of the platform.

    Attributes:
        name: How people call it, such as `origin/main at 1a2b3c4d`.
        root: Folder with the whole repository.
        folder: Folder with its stack files and services.py.
    """

    name: str
    root: Path
    folder: Path


@contextmanager
def checked_out(root: Path, folder: Path, against: str) -> Generator[Base]:
    """Export the common ancestor of HEAD and the main branch into a temporary folder. The repository stays as it is.

    Args:
        root: The repository's root.
        folder: Folder of the stack files, below `root`.
        against: Branch or commit to compare with; "" looks for the main branch.

    Raises:
        NoBaseError: Git, the history or the main branch is missing.
    """
    if not folder.is_relative_to(root):
        msg = f"{folder} is outside this repository, so no earlier version of it is known"
        raise NoBaseError(msg)
    if _git(root, "rev-parse", "--verify", "HEAD") is None:
        msg = "there is no Git history here"
        raise NoBaseError(msg)
    branch = _branch(root, against)
    commit = _git(root, "merge-base", "HEAD", branch)
    if not commit:
        msg = f"HEAD and {branch} have no common commit here; a shallow clone has none: run `git fetch --unshallow`"
        raise NoBaseError(msg)
    if commit == _git(root, "rev-parse", "HEAD") and not _git(root, "status", "--porcelain", "--", "."):
        msg = f"this is {branch} itself, unchanged"
        raise NoBaseError(msg)
    with TemporaryDirectory(prefix="slipway-check-") as place:
        copy = Path(place).resolve()
        _export(root, commit, copy)
        # The archives of the writer are built, not committed.
        if (root / "dist").is_dir() and not (copy / "dist").exists():
            (copy / "dist").symlink_to(root / "dist")
        there = copy / folder.relative_to(root)
        if not (copy / "__main__.py").is_file() or not there.is_dir():
            msg = f"{branch} has no platform in this place yet"
            raise NoBaseError(msg)
        yield Base(name=f"{branch} at {commit[:8]}", root=copy, folder=there)


def _branch(root: Path, against: str) -> str:
    """Return the branch to compare with.

    Raises:
        NoBaseError: none is known.
    """
    if against:
        if _git(root, "rev-parse", "--verify", f"{against}^{{commit}}") is None:
            msg = f"Git knows no {against!r} here; fetch it, or name another branch: make check AGAINST=branch"
            raise NoBaseError(msg)
        return against
    target = os.environ.get("GITHUB_BASE_REF", "")
    candidates = [f"origin/{target}"] if target else []
    remote = _git(root, "symbolic-ref", "--short", "refs/remotes/origin/HEAD")
    candidates += [*([remote] if remote else []), "origin/main", "origin/master", "main", "master"]
    for each in candidates:
        if _git(root, "rev-parse", "--verify", f"{each}^{{commit}}") is not None:
            return each
    msg = "Git knows no main branch here; fetch it, or name a branch: make check AGAINST=branch"
    raise NoBaseError(msg)


def _export(root: Path, commit: str, place: Path) -> None:
    archive = place.with_suffix(".tar")
    try:
        done = _run(root, "archive", "--format=tar", f"--output={archive}", commit)
        if done is None or done.returncode:
            msg = f"Git cannot export {commit[:8]}; a partial clone lacks its files: run `git fetch --refetch`"
            raise NoBaseError(msg)
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
    except tarfile.TarError as error:
        msg = f"{commit[:8]} cannot be exported: {error}"
        raise NoBaseError(msg) from error
    finally:
        archive.unlink(missing_ok=True)


def _git(root: Path, *arguments: str) -> str | None:
    """Return what Git printed; None if it failed or is not installed."""
    done = _run(root, *arguments)
    return done.stdout.strip() if done is not None and done.returncode == 0 else None


def _run(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str] | None":
    if shutil.which("git") is None:
        return None
    # Variables that a hook or another Git sets would point to its repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=root,
            env={**environment, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None


__all__ = ["Base", "NoBaseError", "checked_out"]
