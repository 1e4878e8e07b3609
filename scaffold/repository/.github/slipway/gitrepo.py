"""Git by its plumbing: trees are compared, merged and written without touching the work tree."""

import base64
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.layout import SlipwayError

_BLOB: Final = "100644"
_FILES: Final = frozenset({_BLOB, "100755"})
_SHOWN: Final = 5
_NOTHING: Final = "0" * 40


class GitError(SlipwayError):
    """Git refused. The text holds its own words."""


class StalePushError(GitError):
    """The branch has moved since it was read."""


@dataclass(frozen=True, kw_only=True)
class Merge:
    """What a merge of two commits comes to.

    Attributes:
        tree: Merged files; where two sides collide, with Git's markers in them.
        conflicts: Stages at which Git holds each path that collides: 1 the common ancestor's, 2 ours, 3 theirs.
    """

    tree: str
    conflicts: Mapping[str, frozenset[int]]


@dataclass(frozen=True, kw_only=True)
class Version:
    """A file's content as a branch's tip came to hold it: a blob's id, or None once deleted."""

    commit: str
    path: str
    blob: str | None


class Repo:
    """A clone with all branches of `origin`."""

    def __init__(self, folder: Path, *, token: str = "", dry_run: bool = False) -> None:
        """Point at a clone.

        Args:
            folder: Its work tree.
            token: Given to the remote, by the environment and never by arguments: those are for all to see.
            dry_run: Push nothing.
        """
        self._folder = folder
        self._dry_run = dry_run
        self._environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        url = self.run("remote", "get-url", "origin").strip()
        if token and url.startswith(("http://", "https://")):
            credentials = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            self._environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{url}.extraheader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {credentials}",
            }

    def run(self, *arguments: str, given: str | None = None, index: Path | None = None, fine: Sequence[int] = (0,)) -> str:
        """What a git command prints.

        Raises:
            GitError: it fails.
        """
        environment = self._environment | ({"GIT_INDEX_FILE": str(index)} if index else {})
        done = subprocess.run(
            # Renames are looked for in merges, as GitHub does when it merges a pull request: what is judged here is what becomes
            # of it there. (Git before 2.50 looks for them in merge-tree whatever is set.)
            ["git", "-c", "core.quotePath=false", "-c", "merge.renames=true", *arguments],
            cwd=self._folder,
            env=environment,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
        if done.returncode not in fine:
            said = "\n".join(filter(None, (done.stderr.strip(), done.stdout.strip())))
            msg = f"git {arguments[0]} failed: {said}"
            raise GitError(msg)
        return done.stdout

    def fetch(self) -> None:
        """Bring every branch up to date, with its whole history."""
        shallow = self.run("rev-parse", "--is-shallow-repository").strip() == "true"
        whole = ["--unshallow"] if shallow else []
        self.run("fetch", "--quiet", "--prune", "--no-tags", *whole, "origin", "+refs/heads/*:refs/remotes/origin/*")

    def ensure(self, commit: str) -> None:
        """Have a commit here, also one that lies on no branch."""
        try:
            self.run("cat-file", "-e", f"{commit}^{{commit}}")
        except GitError:
            self.run("fetch", "--quiet", "--no-tags", "origin", commit)

    # Reading

    def tip(self, branch: str) -> str:
        """The commit at the tip of a branch of the remote.

        Raises:
            SlipwayError: there is no such branch.
        """
        found = self.run("rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}", fine=(0, 1)).strip()
        if not found:
            msg = f"branch {branch!r} does not exist, but platform.json names it: create it, or correct platform.json."
            raise SlipwayError(msg)
        return found

    def tree(self, commit: str) -> str:
        """A commit's tree."""
        return self.run("rev-parse", "--verify", f"{commit}^{{tree}}").strip()

    def parents(self, commit: str) -> list[str]:
        """A commit's parents."""
        return self.run("rev-list", "--parents", "--max-count=1", commit).split()[1:]

    def seconds(self, commit: str) -> int:
        """When a commit was made, in seconds since 1970."""
        return int(self.run("show", "--no-patch", "--format=%ct", commit))

    def tips(self, tip: str, most: int) -> list[str]:
        """What a branch has been that ends in `tip`, newest first: its first-parent line."""
        return self.run("rev-list", "--first-parent", f"--max-count={most}", tip).split()

    def in_history(self, commit: str, tip: str) -> bool:
        """Whether a commit was once the tip of the branch: its first-parent line, not what was merged into it."""
        return commit in self.run("rev-list", "--first-parent", tip).split()

    def changed(self, before: str, after: str) -> dict[str, str]:
        """Paths that differ between two trees, with A, D, M or T."""
        words = self.run("diff-tree", "-r", "-z", "--no-renames", "--name-status", before, after).split("\0")
        return dict(zip(words[1::2], words[0::2], strict=False))

    def paths(self, tree: str, folder: str) -> list[str]:
        """Every file below a folder of a tree."""
        return [path for path in self.run("ls-tree", "-r", "-z", "--name-only", tree, "--", folder).split("\0") if path]

    def texts(self, tree: str, paths: Iterable[str]) -> dict[str, str | None]:
        """Files' content in a tree, None for one that is not there."""
        wanted = list(paths)
        found = self._objects([f"{tree}:{path}" for path in wanted])
        return dict(zip(wanted, found, strict=True))

    def blobs(self, ids: Iterable[str]) -> dict[str, str]:
        """Content by blob id."""
        wanted = sorted(set(ids))
        return {each: text or "" for each, text in zip(wanted, self._objects(wanted), strict=True)}

    def _objects(self, names: Sequence[str]) -> list[str | None]:
        """Content of many objects as text."""
        return [None if each is None else each.decode("utf-8", "replace") for each in self._contents(names)]

    def _contents(self, names: Sequence[str]) -> list[bytes | None]:
        """Content of many objects from one process (docs: git-cat-file, BATCH OUTPUT)."""
        if not names:
            return []
        done = subprocess.run(
            ["git", "cat-file", "--batch"],
            cwd=self._folder,
            env=self._environment,
            input="".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"),
            capture_output=True,
            check=True,
        )
        found: list[bytes | None] = []
        at = 0
        for _ in names:
            end = done.stdout.index(b"\n", at)
            head, at = done.stdout[at:end], end + 1
            if head.endswith(b" missing"):
                found.append(None)
                continue
            size = int(head.rsplit(b" ", 1)[1])
            found.append(done.stdout[at : at + size])
            at += size + 1
        return found

    def versions(self, tip: str, patterns: Sequence[str]) -> list[Version]:
        """What files' contents were at each tip of a branch that ends in `tip`, oldest first.

        Only the first-parent line counts: what lies on a merged branch was not the branch's own content until the merge.
        """
        log = ("log", "--first-parent", "-m", "--reverse", "--raw", "--no-abbrev", "--no-renames", "--format=commit %H")
        found: list[Version] = []
        commit = ""
        for line in self.run(*log, tip, "--", *patterns).splitlines():
            if line.startswith("commit "):
                commit = line.removeprefix("commit ")
            elif line.startswith(":"):
                described, path = line.split("\t", 1)
                blob = described.split()[3]
                found.append(Version(commit=commit, path=path, blob=None if blob == _NOTHING else blob))
        return found

    def export(self, tree: str, folder: Path) -> None:
        """Write a tree's files into a folder, as they are: no filter of Git's runs on them, and no link is made.

        Raises:
            SlipwayError: the tree holds something else than files, or a name that leads out of the folder.
        """
        entries = [entry.split("\t", 1) for entry in self.run("ls-tree", "-r", "-z", tree).split("\0") if entry]
        described = [(*words.split(), path) for words, path in entries]
        if strange := [path for mode, _, _, path in described if mode not in _FILES or ".." in path.split("/")]:
            msg = (
                f"{len(strange)} entries are no plain files but links or submodules, which nothing here follows: "
                f"{', '.join(strange[:_SHOWN])}. Put the files themselves there."
            )
            raise SlipwayError(msg)
        contents = self._contents([blob for _, _, blob, _ in described])
        for (_, _, _, path), content in zip(described, contents, strict=True):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content or b"")

    # Writing

    def merge(self, ours: str, theirs: str) -> Merge:
        """Merge two commits without moving anything (docs: git-merge-tree; Git 2.38 or newer)."""
        printed = self.run("merge-tree", "--write-tree", "-z", "--no-messages", ours, theirs, fine=(0, 1))
        tree, *entries = printed.split("\0")
        conflicts: dict[str, set[int]] = {}
        for entry in entries:
            if entry:
                described, path = entry.split("\t", 1)
                conflicts.setdefault(path, set()).add(int(described.split()[2]))
        return Merge(tree=tree.strip(), conflicts={path: frozenset(stages) for path, stages in conflicts.items()})

    def edited(self, tree: str, changes: Mapping[str, str | None]) -> str:
        """A tree with files' content changed; None deletes."""
        lines: list[str] = []
        for path, text in changes.items():
            if text is None:
                lines.append(f"0 {_NOTHING}\t{path}")
            else:
                blob = self.run("hash-object", "-w", "--stdin", given=text).strip()
                lines.append(f"{_BLOB} {blob}\t{path}")
        with tempfile.TemporaryDirectory() as scratch:
            index = Path(scratch) / "index"
            self.run("read-tree", tree, index=index)
            self.run("update-index", "-z", "--index-info", given="".join(f"{line}\0" for line in lines), index=index)
            return self.run("write-tree", index=index).strip()

    def commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        """Write a commit, which lies on no branch yet."""
        named = [word for parent in parents for word in ("-p", parent)]
        return self.run("commit-tree", tree, *named, given=message).strip()

    def push(self, commit: str, branch: str, *, expected: str | None) -> None:
        """Put a branch of the remote at a commit, if it is still where it was.

        Args:
            commit: Its new tip; "" deletes the branch.
            branch: Short name.
            expected: Its present tip, None for a branch that does not exist yet.

        Raises:
            StalePushError: it has moved.
            GitError: the remote refuses it.
        """
        ref = f"refs/heads/{branch}"
        if self._dry_run:
            print(f"dry run: would push {commit[:12] or 'nothing'} to {branch}")
            return
        try:
            self.run("push", "--quiet", "--porcelain", f"--force-with-lease={ref}:{expected or ''}", "origin", f"{commit}:{ref}")
        except GitError as error:
            if "stale info" in str(error) or "fetch first" in str(error):
                msg = f"branch {branch} has moved while this ran, nothing was pushed. Run again. ({error})"
                raise StalePushError(msg) from error
            raise

    def tag(self, name: str, commit: str, message: str) -> bool:
        """Have an annotated tag of the remote on a commit; False where it is there already.

        Raises:
            SlipwayError: it lies on another commit.
            GitError: the remote refuses it.
        """
        ref = f"refs/tags/{name}"
        there = {line.split("\t")[1]: line.split("\t")[0] for line in self.run("ls-remote", "origin", f"{ref}*").splitlines()}
        if ref in there:
            if (held := there.get(f"{ref}^{{}}", there[ref])) != commit:
                msg = (
                    f"tag {name} lies on {held}: {commit} is allowed. See who made it. If it is wrong, an administrator of this "
                    "repository disables the ruleset of release tags, deletes it, and enables the ruleset. Then run again."
                )
                raise SlipwayError(msg)
            return False
        if self._dry_run:
            print(f"dry run: would tag {commit[:12]} as {name}")
            return True
        # A run that was stopped between the two may have left it here.
        self.run("tag", "--annotate", "--force", "--no-sign", "--file=-", name, commit, given=f"{message}\n")
        self.run("push", "--quiet", "--porcelain", "origin", f"{ref}:{ref}")
        return True
