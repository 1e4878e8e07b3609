"""People who work on the branch that the writers write: real clones, real pushes."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from benchmarks.hook.host import BRANCH, REPOSITORY, Host

_TRIES: Final = 30
BREAK: Final = "Break"
_GIT: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "gc.auto",
    "GIT_CONFIG_VALUE_0": "0",
    "GIT_CONFIG_KEY_1": "maintenance.auto",
    "GIT_CONFIG_VALUE_1": "false",
}

Edit = Callable[[Path, int], str]
"""Changes files of a clone, given how often the person has pushed; says what was done, "" when nothing is to be done."""


class PersonError(Exception):
    """Git did not do what a person asked; the message is its own."""


@dataclass(kw_only=True)
class Person:
    """Somebody who pushes every so often. A push that is refused because the branch has moved is made again on top.

    Attributes:
        name: Login.
        host: Where.
        folder: For the clone.
        every_seconds: In the world's seconds.
        edit: What is changed each time.
        pushed: Commits that are on the branch.
        again: Pushes that had to be made again.
        failed: What could not be pushed at all.
        own: Text of the person's own file, as pushed last.
    """

    name: str
    host: Host
    folder: Path
    every_seconds: float
    edit: Edit
    pushed: list[str] = field(default_factory=list[str])
    again: int = 0
    failed: list[str] = field(default_factory=list[str])
    own: str = ""
    _halfway: bool = False

    def __enter__(self) -> Self:
        """Clone, and begin."""
        parts = urlsplit(self.host.url)
        url = f"{parts.scheme}://{self.name}:{self.host.tokens[self.name]}@{parts.netloc}/{REPOSITORY}.git"
        self._git("clone", "-q", "--depth", "1", "--no-single-branch", url, str(self.folder), cwd=self.folder.parent)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=self.name)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish what is begun."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        # Whoever has broken a file mends it before going home.
        while not self._over.is_set() or self._halfway:
            began = time.monotonic()
            try:
                self._push_once()
            except PersonError as error:
                self.failed.append(str(error))
            self._over.wait(max(0.0, self.every_seconds - (time.monotonic() - began)))

    def _push_once(self) -> None:
        said = ""
        for _ in range(_TRIES):
            self._git("fetch", "-q", "origin", BRANCH)
            self._git("reset", "-q", "--hard", f"origin/{BRANCH}")
            done = self.edit(self.folder, len(self.pushed))
            if not done:
                return
            self._git("add", "-A")
            self._git("commit", "-q", "-m", done)
            try:
                self._git("push", "-q", "origin", f"HEAD:{BRANCH}")
            except PersonError as error:
                self.again, said = self.again + 1, str(error)
                continue
            self.pushed.append(self._git("rev-parse", "HEAD").strip())
            self._halfway = done.startswith(BREAK)
            if (own := self.folder / own_file(self.name)).is_file():
                self.own = own.read_text(encoding="utf-8")
            return
        raise PersonError(said)

    def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder.parent),
                **_GIT,
                "GIT_AUTHOR_NAME": self.name,
                "GIT_AUTHOR_EMAIL": f"{self.name}@example.com",
                "GIT_COMMITTER_NAME": self.name,
                "GIT_COMMITTER_EMAIL": f"{self.name}@example.com",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            msg = f"git {arguments[0]}: {done.stderr.strip()}"
            raise PersonError(msg)
        return done.stdout


def own_file(name: str) -> str:
    """Where a person writes, and nobody else."""
    return f"docs/{name}.md"


def words(name: str) -> Edit:
    """A person's own file, a line more each time."""

    def edit(clone: Path, number: int) -> str:
        path = clone / own_file(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"line {each}\n" for each in range(number + 1)), encoding="utf-8")
        return f"Line {number} of {name}"

    return edit


def breaks(name: str, paths: list[str], every: int) -> Edit:
    """As `words`, but every so often an image file is broken, and mended by the push after."""
    kept: dict[str, str] = {}

    def edit(clone: Path, number: int) -> str:
        path = paths[number // every % len(paths)]
        text = (clone / path).read_text(encoding="utf-8")
        if number % every == every - 2:
            kept[path] = text
            (clone / path).write_text("kind: Component\nimages: [\n", encoding="utf-8")
            return f"{BREAK} {path}"
        if number % every == every - 1 and path in kept:
            (clone / path).write_text(kept[path], encoding="utf-8")
            return f"Mend {path}"
        return words(name)(clone, number)

    return edit


__all__ = ["Edit", "Person", "PersonError", "breaks", "own_file", "words"]
