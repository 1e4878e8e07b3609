"""Checks that the repository's workflows know every stack and its GitHub environment."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from checks.stack_files import StackFile, StackFileError, parse_yaml

DEPLOY: Final = "deploy.yml"
PREVIEW: Final = "preview.yml"


def faults(folder: Path, files: Mapping[str, StackFile]) -> list[str]:
    """Return one sentence for each stack that a workflow leaves out, does not know, or runs in the wrong environment.

    Args:
        folder: The folder `.github/workflows`.
        files: Stack files by stack.

    Raises:
        StackFileError: a workflow is not valid YAML.
    """
    return [*_deploy(folder, files), *_preview(folder, files)]


def missing(folder: Path) -> list[str]:
    """Return the names of the workflows that are not there."""
    return [name for name in (DEPLOY, PREVIEW) if not (folder / name).is_file()]


def _deploy(folder: Path, files: Mapping[str, StackFile]) -> Iterable[str]:
    jobs = _jobs(folder / DEPLOY)
    if jobs is None:
        return
    by_stack = {str(_mapping(job.get("env")).get("STACK", key)): job for key, job in jobs.items()}
    yield from _sets(DEPLOY, by_stack, files, "Add a job for it, as for the others", "Remove its job")
    for stack, job in by_stack.items():
        if stack not in files:
            continue
        wanted = _mapping(files[stack].get("access")).get("deployEnvironment")
        given = _mapping(job.get("environment")).get("name") or job.get("environment")
        if given != wanted and not str(given).startswith("${{"):
            yield (
                f"{DEPLOY} runs stack {stack} in the GitHub environment {given!r}, and slipway:access.deployEnvironment in "
                f"{files[stack].path.name} is {wanted!r}: AWS gives the deploy role to jobs of that environment only. "
                "Write the same name in both."
            )


def _preview(folder: Path, files: Mapping[str, StackFile]) -> Iterable[str]:
    jobs = _jobs(folder / PREVIEW)
    if jobs is None:
        return
    found: dict[str, object] = {}
    for job in jobs.values():
        matrix = _mapping(_mapping(job.get("strategy")).get("matrix"))
        for each in (*_list(matrix.get("include")), *({"stack": one} for one in _list(matrix.get("stack")))):
            if "stack" in _mapping(each):
                found[str(_mapping(each)["stack"])] = each
    yield from _sets(PREVIEW, found, files, "Add it to the matrix", "Remove it from the matrix")


def _sets(name: str, found: Mapping[str, object], files: Mapping[str, StackFile], add: str, remove: str) -> Iterable[str]:
    for stack in files:
        if stack not in found:
            yield f"{name} leaves out stack {stack}, which has {files[stack].path.name}. {add}."
    for stack in found:
        if stack not in files:
            yield f"{name} names stack {stack!r}, and there is no Pulumi.{stack}.yaml. {remove}, or write the file."


def _jobs(path: Path) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the jobs of a workflow; None if there is no such file.

    Raises:
        StackFileError: it is not valid YAML, or has no jobs.
    """
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        msg = f"{path.name} cannot be read. Restore the file."
        raise StackFileError(msg) from None
    jobs = _mapping(_mapping(parse_yaml(text, path.name)).get("jobs"))
    if not jobs:
        msg = f"{path.name} has no jobs: it must run every stack. Restore the file."
        raise StackFileError(msg)
    return {key: _mapping(job) for key, job in jobs.items()}


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


__all__ = ["DEPLOY", "PREVIEW", "faults", "missing"]
