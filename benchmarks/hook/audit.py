"""What a phase left on the branch, read from Git alone: nothing lost, nothing twice, nothing of people's reverted."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.hook.host import BRANCH
from benchmarks.hook.writers import IMAGE_FILE

BOT: Final = "writer[bot]"
_TAG: Final = re.compile(r'newTag: "([^"]*)"')
_PATH: Final = re.compile(re.escape(IMAGE_FILE).replace(re.escape("{service}"), "([^/]+)"))


@dataclass(frozen=True, kw_only=True)
class Bump:
    """A service's new tag, in one of the writers' commits."""

    service: str
    tag: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class History:
    """A stretch of the branch.

    Attributes:
        bumps: In their order.
        commits: The writers' commits.
        faults: What must not be: a tag written twice or after a newer one, and what the writers changed of people's.
        all: Every commit's id.
    """

    bumps: Sequence[Bump]
    commits: Sequence[str]
    faults: Sequence[str]
    all: frozenset[str]


def history(git_dir: Path, since: str) -> History:
    """Read what came after a commit."""
    bumps: list[Bump] = []
    commits: list[str] = []
    faults: list[str] = []
    seen: set[tuple[str, str]] = set()
    ids = _git(git_dir, "rev-list", "--reverse", "--topo-order", f"{since}..{BRANCH}").split()
    log = _git(git_dir, "log", "--reverse", "--topo-order", "--format=%x00%H %an", "--name-status", f"{since}..{BRANCH}")
    for record in log.split("\0")[1:]:
        head, *paths = [line for line in record.splitlines() if line]
        commit, _, author = head.partition(" ")
        if author != BOT:
            continue
        commits.append(commit)
        for line in paths:
            status, _, path = line.partition("\t")
            found = _PATH.fullmatch(path)
            if not found:
                # A new service's directory comes with its first image; nothing else but images is the writers' to change.
                if status != "A":
                    faults.append(f"{commit[:12]} changes {path}, which is no image file")
                continue
            before, after = _tag(git_dir, f"{commit}^", path), _tag(git_dir, commit, path)
            service = found[1]
            if (service, after) in seen:
                faults.append(f"{commit[:12]} writes {service} {after} a second time")
            if before >= after:
                faults.append(f"{commit[:12]} writes {service} {after} over {before}")
            seen.add((service, after))
            bumps.append(Bump(service=service, tag=after, commit=commit))
    return History(bumps=bumps, commits=commits, faults=faults, all=frozenset(ids))


def tags(git_dir: Path, services: Sequence[str]) -> Mapping[str, str]:
    """The tag of each service at the branch's tip."""
    return {service: _tag(git_dir, BRANCH, IMAGE_FILE.format(service=service)) for service in services}


def head(git_dir: Path) -> str:
    """The branch's tip."""
    return _git(git_dir, "rev-parse", BRANCH).strip()


def text(git_dir: Path, path: str) -> str:
    """A file at the branch's tip."""
    return _git(git_dir, "show", f"{BRANCH}:{path}")


def _tag(git_dir: Path, commit: str, path: str) -> str:
    done = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=git_dir, capture_output=True, text=True, check=False)
    found = _TAG.search(done.stdout)
    return found[1] if found else ""


def _git(git_dir: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=git_dir, capture_output=True, text=True, check=True).stdout


__all__ = ["BOT", "Bump", "History", "head", "history", "tags", "text"]
