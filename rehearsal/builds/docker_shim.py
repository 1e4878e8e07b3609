"""`docker`, as far as the buildspec uses it, over buildah: no daemon, no privileges but chroot's, nothing outside one folder.

Run as a program by `bin/docker`. It knows four subcommands with the flags below; any other is an error, so that a
buildspec that asks for more fails here and not silently.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Final, NoReturn

_FOLDER: Final = "SLIPWAY_IMAGES"
_DIGEST_FORMAT: Final = "{{index .RepoDigests 0}}"


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"docker (the rehearsal's, over buildah): {message}\n")
    raise SystemExit(1)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(f"{message}; {self.format_usage().strip()}")


def _parser() -> argparse.ArgumentParser:
    whole = _Parser(prog="docker", allow_abbrev=False, add_help=False)
    commands = whole.add_subparsers(dest="command", required=True, metavar="login|build|push|inspect", parser_class=_Parser)

    login = commands.add_parser("login", allow_abbrev=False, add_help=False)
    login.add_argument("--username", "-u", required=True)
    login.add_argument("--password-stdin", action="store_true", required=True)
    login.add_argument("server")

    build = commands.add_parser("build", allow_abbrev=False, add_help=False)
    build.add_argument("--platform", required=True)
    build.add_argument("--file", "-f", required=True)
    build.add_argument("--tag", "-t", required=True)
    build.add_argument("--label", action="append", default=[])
    build.add_argument("context")

    push = commands.add_parser("push", allow_abbrev=False, add_help=False)
    push.add_argument("image")

    inspect = commands.add_parser("inspect", allow_abbrev=False, add_help=False)
    inspect.add_argument("--format", required=True, choices=[_DIGEST_FORMAT])
    inspect.add_argument("image")
    return whole


def _pushed(folder: Path, image: str) -> Path:
    """Where the digest is kept that a push has given: buildah itself does not remember it, docker does."""
    return folder / "pushed" / re.sub(r"[^A-Za-z0-9._-]", "_", image)


def _buildah(folder: Path, *arguments: str) -> list[str]:
    where = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
    return ["buildah", *where, *arguments]


def _inspect(folder: Path, image: str) -> NoReturn:
    kept = _pushed(folder, image)
    if not kept.exists():
        _fail(f"{image} has no RepoDigests: it was not pushed from here")
    repository = image.rpartition(":")[0]
    sys.stdout.write(f"{repository}@{kept.read_text(encoding='utf-8').strip()}\n")
    raise SystemExit(0)


def main() -> NoReturn:
    """Become the buildah command that does the same."""
    asked = _parser().parse_args()
    if not os.environ.get(_FOLDER):
        _fail(f"{_FOLDER} is not set: it names the folder that holds images and logins")
    folder = Path(os.environ[_FOLDER])
    logins = f"{folder}/logins.json"
    match asked.command:
        case "login":
            command = _buildah(
                folder, "login", "--authfile", logins, "--username", asked.username, "--password-stdin", asked.server
            )
        case "build":
            labels = [part for label in asked.label for part in ("--label", label)]
            command = _buildah(
                folder,
                *("bud", "--isolation", "chroot", "--format", "docker"),
                # A base image that is not here comes from nowhere: no public registry is reached. Say so at once.
                "--pull-never",
                *("--platform", asked.platform, "--file", asked.file, "--tag", asked.tag, *labels, asked.context),
            )
        case "push":
            kept = _pushed(folder, asked.image)
            kept.parent.mkdir(parents=True, exist_ok=True)
            command = _buildah(
                folder, "push", "--authfile", logins, "--digestfile", str(kept), asked.image, f"docker://{asked.image}"
            )
        case _:
            _inspect(folder, asked.image)
    try:
        os.execvp(command[0], command)  # noqa: S606 — a command of this module's making, with no shell between
    except FileNotFoundError:
        _fail("buildah is not on PATH; ensure_tools brings it")


if __name__ == "__main__":
    main()
