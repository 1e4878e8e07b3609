"""Says in a sentence why a program failed, with the line of the team's own code that did it. Standard library only."""

import traceback
from collections.abc import Sequence
from pathlib import Path


def explain(error: BaseException, folder: Path) -> str:
    """Return one line per fault.

    Args:
        error: What the program raised.
        folder: Folder of services.py: the innermost frame below it is named.
    """
    where = _where(error, folder)
    if isinstance(error, SyntaxError):
        file, line = Path(error.filename or "").name, error.lineno
        return f"{file}, line {line}: {error.msg}. Correct the Python code there."
    lines = [line for line in str(error).splitlines() if line.strip()]
    if _is_run_error(error):
        # SettingsError, CatalogueError and the like: each line is a whole sentence.
        return "\n".join(f"{where}: {line}" if where else line for line in lines)
    return _unexpected(error, folder, where, lines)


def _unexpected(error: BaseException, folder: Path, where: str, lines: Sequence[str]) -> str:
    if isinstance(error, SystemExit):
        return f"{where or 'The program'} ended the program by itself (exit {error.code}). Remove that call."
    if isinstance(error, FileNotFoundError) and error.filename and Path(str(error.filename)).name == "services.py":
        return f"There is no services.py in {folder}: it holds the catalogue (docs/add-a-service.md). Restore it."
    if isinstance(error, KeyError) and error.args == ("services",) and not where:
        return "services.py has no function `services`: the program calls services(platform). Restore it."
    said = (f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__).rstrip(".")
    if where:
        return f"{where}: {said}. Correct the code there."
    last = _frames(error)[-1:]
    place = f" in {Path(last[0].filename).name}, line {last[0].lineno}" if last else ""
    return f"The program failed{place}: {said}. No line of services.py is involved: please report this as a bug."


def _where(error: BaseException, folder: Path) -> str:
    """Return `file, line N` of the innermost frame in the team's code; "" if there is none."""
    for frame in reversed(_frames(error)):
        path = Path(frame.filename)
        if path.is_absolute() and path.parent == folder and path.name != "__main__.py":
            return f"{path.name}, line {frame.lineno}"
    return ""


def _frames(error: BaseException) -> Sequence[traceback.FrameSummary]:
    return traceback.extract_tb(error.__traceback__)


def _is_run_error(error: BaseException) -> bool:
    """Whether it is pulumi.RunError, whose message stands for itself; asked by name to need no SDK here."""
    return any(each.__name__ == "RunError" and each.__module__.startswith("pulumi") for each in type(error).__mro__)


__all__ = ["explain"]
