"""One bare repository on disk: reading, committing and comparing, in process through libgit2; merging as Git does.

Refs move by `git update-ref` alone, with the old value given: Git's own lock makes that a compare-and-swap against every
other writer, the receive-pack of a real push among them.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, cast

import pygit2
from pygit2 import enums

from rehearsal.githost.model import HEADS, ZERO, Json, Problem

NOBODY: Final = {
    # The host's Git reads no configuration but its own: a person's aliases, signing or hooks would change what is shown.
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
}
_STATUS: Final = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}


GitObject: TypeAlias = pygit2.Commit | pygit2.Tree | pygit2.Blob
"""What an expression may name, tags peeled."""


class StaleRefError(Exception):
    """A ref was not where the caller thought it was."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Name, address and time (seconds since 1970, written as UTC) in a commit."""

    name: str
    email: str
    seconds: int

    def of_git(self) -> pygit2.Signature:
        """The same for libgit2."""
        return pygit2.Signature(self.name, self.email, self.seconds, 0)


@dataclass(frozen=True, kw_only=True)
class Note:
    """A commit's message and people."""

    message: str
    author: Signature
    committer: Signature


class Store:
    """A bare repository.

    libgit2's objects belong to the thread that opened them, so every public method opens its own (0.1 ms).
    """

    def __init__(self, path: Path) -> None:
        """Point at an existing bare repository."""
        self.path = path

    @classmethod
    def create(cls, path: Path, default_branch: str) -> "Store":
        """Make an empty bare repository whose HEAD names a branch that need not exist yet."""
        made = pygit2.init_repository(str(path), bare=True, initial_head=default_branch)
        made.config["gc.auto"] = "0"  # nothing runs in the background of a rehearsal
        made.config["http.receivepack"] = "true"
        made.config["uploadpack.allowFilter"] = "true"
        made.config["uploadpack.allowAnySHA1InWant"] = "true"  # builds fetch the commit that triggered them
        return cls(path)

    def open(self, *, quarantine: str = "") -> pygit2.Repository:
        """The repository for libgit2, with the not yet accepted objects of a push where their directory is given."""
        git = pygit2.Repository(str(self.path), enums.RepositoryOpenFlag.BARE | enums.RepositoryOpenFlag.NO_SEARCH)
        if quarantine:
            git.odb.add_disk_alternate(quarantine)
        return git

    # Refs

    def head(self, branch: str) -> str | None:
        """The commit at the tip of a branch."""
        return self.ref(HEADS + branch)

    def ref(self, name: str) -> str | None:
        """What a full ref name points at."""
        found = self.open().references.get(name) if pygit2.reference_is_valid_name(name) else None
        return str(found.resolve().target) if found else None

    def refs(self, prefix: str = HEADS) -> dict[str, str]:
        """Full ref names under a prefix and the objects they name."""
        git = self.open()
        names = [name for name in git.references if name.startswith(prefix)]
        return {name: str(git.references[name].resolve().target) for name in names}

    def update_ref(self, ref: str, after: str | None, *, before: str | None) -> None:
        """Move, create (no `before`) or delete (no `after`) a ref, if it is still where `before` says.

        Raises:
            StaleRefError: When it is not.
        """
        command = ["git", "update-ref", "--no-deref"]
        command += [ref, after, before or ZERO] if after else ["-d", ref, before or ZERO]
        done = subprocess.run(command, cwd=self.path, env={**os.environ, **NOBODY}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StaleRefError(done.stderr.strip())

    # Objects

    def resolve(self, expression: str, git: pygit2.Repository | None = None) -> GitObject | None:
        """What `git rev-parse` would find: a branch, an id, `branch:path`."""
        git = git or self.open()
        try:
            found = git.revparse_single(expression or "HEAD")
        except (KeyError, ValueError):
            return None
        return cast("GitObject", found.peel(None) if isinstance(found, pygit2.Tag) else found)

    def commit_oid(self, expression: str) -> str | None:
        """The commit that a branch, a ref or an id names."""
        found = self.resolve(expression)
        return str(found.id) if isinstance(found, pygit2.Commit) else None

    def is_ancestor(self, older: str, newer: str, *, quarantine: str = "") -> bool:
        """Whether a fast-forward leads from one commit to the other; a tag stands for its commit."""
        git = self.open(quarantine=quarantine)
        first, last = (found.id if (found := self.resolve(each, git)) else each for each in (older, newer))
        return first == last or git.descendant_of(last, first)

    def files(self, expression: str) -> dict[str, str]:
        """Every file's path and blob id under a commit."""
        git = self.open()
        found = self.resolve(expression, git)
        if not isinstance(found, pygit2.Commit):
            return {}
        index = pygit2.Index()
        index.read_tree(found.tree)
        entries = cast("Iterator[pygit2.IndexEntry]", iter(index))
        return {str(entry.path): str(entry.id) for entry in entries}

    # Writing

    def commit(self, parent: str | None, changes: Mapping[str, bytes | None], note: Note) -> str:
        """Write a commit over its parent, without moving any ref.

        Args:
            parent: The commit to build on, None for a first one.
            changes: New content by path; None deletes.
            note: Message and people.

        Raises:
            Problem: When a path is not one that Git can hold, or a deleted file does not exist.
        """
        git = self.open()
        index = pygit2.Index()
        if parent:
            index.read_tree(git[parent].peel(pygit2.Tree))
        for path, content in changes.items():
            if content is None:
                if path not in index:
                    text = f"A path was requested for deletion which does not exist as of commit oid `{parent}`"
                    raise Problem(422, text)
                index.remove(path)
        for path, content in changes.items():
            if content is not None:
                mode = index[path].mode if path in index else enums.FileMode.BLOB
                try:
                    index.add(pygit2.IndexEntry(path, git.create_blob(content), mode))
                except (ValueError, OSError, pygit2.GitError) as error:
                    raise Problem(422, f"A path was requested for addition which is not valid: {path}") from error
        return self._write(git, index.write_tree(git), [parent] if parent else [], note)

    @staticmethod
    def _write(git: pygit2.Repository, tree: pygit2.Oid, parents: Sequence[str], note: Note) -> str:
        author, committer = note.author.of_git(), note.committer.of_git()
        return str(git.create_commit(None, author, committer, note.message, tree, [pygit2.Oid(hex=p) for p in parents]))

    def merge(self, ours: str, theirs: str, note: Note | None, *, squash: bool = False) -> str | None:
        """Merge one commit into another, without moving any ref; by Git itself, as GitHub does. libgit2 stops where Git does not.

        https://github.blog/2023-07-27-scaling-merge-ort-across-github/

        Args:
            ours: First parent.
            theirs: Second parent.
            note: Message and people; None only tries, and answers `ours` where it would work.
            squash: Leave the second parent out.

        Returns:
            The merge commit, or None when the two conflict.
        """
        command = ["git", "merge-tree", "--write-tree", "--no-messages", ours, theirs]
        done = subprocess.run(command, cwd=self.path, env={**os.environ, **NOBODY}, capture_output=True, text=True, check=False)
        if done.returncode == 1:
            return None
        done.check_returncode()
        if note is None:
            return ours
        tree = pygit2.Oid(hex=done.stdout.strip())
        return self._write(self.open(), tree, [ours] if squash else [ours, theirs], note)

    # Comparing

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor of two commits."""
        found = self.open().merge_base(one, other)
        return str(found) if found else None

    def ahead_behind(self, one: str, other: str) -> tuple[int, int]:
        """How many commits the first has that the second lacks, and the reverse."""
        return self.open().ahead_behind(one, other)

    def commits(self, newest: str, *, without: str | None = None, limit: int = 250, quarantine: str = "") -> list[pygit2.Commit]:
        """Commits that one has and another lacks, oldest first, at most `limit`."""
        walk = self.open(quarantine=quarantine).walk(newest, enums.SortMode.TOPOLOGICAL | enums.SortMode.REVERSE)
        if without:
            walk.hide(without)
        return [commit for commit, _ in zip(walk, range(limit), strict=False)]

    def changed_paths(self, before: str | None, after: str | None, *, quarantine: str = "") -> tuple[str, ...]:
        """Sorted paths that differ between two commits; all of `after`'s without a `before`."""
        if after is None:
            return ()
        git = self.open(quarantine=quarantine)
        new = git[after].peel(pygit2.Tree)
        old = git[before].peel(pygit2.Tree) if before else None
        difference = old.diff_to_tree(new) if old else new.diff_to_tree(swap=True)
        paths = {path for delta in difference.deltas for path in (delta.old_file.path, delta.new_file.path)}
        return tuple(sorted(paths))

    def changed_files(self, base: str, head: str) -> list[Json]:
        """GitHub's list of changed files between two commits: status, line counts, patch.

        https://docs.github.com/en/rest/pulls/pulls#list-pull-requests-files
        """
        git = self.open()
        difference = git[base].peel(pygit2.Tree).diff_to_tree(git[head].peel(pygit2.Tree))
        difference.find_similar()
        files: list[Json] = []
        for patch in difference:
            if patch is None:
                continue
            delta, (_, added, removed) = patch.delta, patch.line_stats
            blob = delta.old_file if delta.status_char() == "D" else delta.new_file
            file: Json = {
                "sha": str(blob.id),
                "filename": blob.path,
                "status": _STATUS[delta.status_char()],
                "additions": added,
                "deletions": removed,
                "changes": added + removed,
            }
            if delta.status_char() == "R":
                file["previous_filename"] = delta.old_file.path
            if not delta.is_binary and patch.text:
                # GitHub leaves out the header lines: the patch begins with its first hunk.
                file["patch"] = patch.text[patch.text.find("@@") :].rstrip("\n") if "@@" in patch.text else ""
            files.append(file)
        return files
