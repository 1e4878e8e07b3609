"""What every service stands on: handed to each `Service` call in `services.py`."""

import difflib
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, cast

import pulumi

from components.argocd import ArgoCD
from components.catalogue import Catalogue, CatalogueError
from components.edge import Edge
from components.gitops import check_scaffold
from components.image_hook import ImageHook, check_archive
from components.pipeline import Builds
from components.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Platform:
    """One environment, ready for services.

    Attributes:
        settings: The environment's settings.
        catalogue: The services that `services.py` declares.
        builds: What all pipelines share; None where no track is hosted.
        hooks: Image hook by hosted track.
        edge: Load balancer and names; None in a tooling stack.
        argocds: Argo CD by colour.
        draft: Whether services are only being read: nothing is registered.
    """

    settings: Settings
    catalogue: Catalogue
    builds: Builds | None = None
    hooks: Mapping[str, ImageHook] = field(default_factory=dict[str, ImageHook])
    edge: Edge | None = None
    argocds: Mapping[str, ArgoCD] = field(default_factory=dict[str, ArgoCD])
    draft: bool = False


_LIBRARY: Final = Path(__file__).resolve().parent
_UNKNOWN_ARGUMENT: Final = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
_MISSING_ARGUMENT: Final = re.compile(r"(\w+)\.__init__\(\) missing \d+ required keyword-only arguments?: (.+)")


def load_services() -> Callable[[Platform], None]:
    """Return the function `services` of services.py.

    Raises:
        CatalogueError: the file is missing, does not parse, fails when it is read, or has no such function.
    """
    try:
        found = importlib.import_module("services")
    except pulumi.RunError:
        raise
    except Exception as error:  # noqa: BLE001 — whatever a team's file raises is told in a sentence
        raise _explained(error) from None
    services = cast("Callable[[Platform], None] | None", getattr(found, "services", None))
    if not callable(services):
        msg = f"{found.__file__}: it has no function services(platform). Write one that calls Service for each application."
        raise CatalogueError(msg)
    return services


def read_catalogue(services: Callable[[Platform], None], settings: Settings) -> Catalogue:
    """Read `services` without registering anything, and check it as a whole.

    Args:
        services: The function of services.py: it calls `Service` and nothing that registers a resource of its own.
        settings: The environment's settings.

    Raises:
        CatalogueError: a service, or all together, would be refused by AWS, DNS, GitHub or Kubernetes; or the function raised.
        ArchiveMissingError: a track is hosted here and the writer function has not been packaged.
        FileNotFoundError: the GitOps repository is declared here and its first files are missing.
    """
    check_archive(settings)
    check_scaffold(settings)
    catalogue = Catalogue(settings=settings)
    try:
        services(Platform(settings=settings, catalogue=catalogue, draft=True))
    except Exception as error:  # noqa: BLE001 — whatever a team's file raises is told in a sentence
        raise _explained(error) from None
    catalogue.check()
    return catalogue


def _explained(error: Exception) -> pulumi.RunError:
    """Return the error of a team's services.py as sentences that begin with file and line."""
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or 'services.py').name}, line {error.lineno or 1}"
        return CatalogueError(f"{where}: {error.msg}. Correct the Python code there.")
    frame = _innermost(error)
    where = f"{Path(frame.f_code.co_filename).name}, line {_line(error, frame)}" if frame else "services.py"
    if isinstance(error, pulumi.RunError):
        return CatalogueError("\n".join(f"{where}: {line}" for line in str(error).splitlines()))
    if unknown := _UNKNOWN_ARGUMENT.search(str(error)):
        known = [each for each in _arguments(frame, unknown[1]) if each != "platform"]
        near = difflib.get_close_matches(unknown[2], known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Known arguments are {', '.join(known)}."
        return CatalogueError(f"{where}: {unknown[1]} has no argument {unknown[2]}. {hint}")
    if missing := _MISSING_ARGUMENT.search(str(error)):
        return CatalogueError(f"{where}: {missing[1]} also needs {missing[2].replace(chr(39), '')}. Add it to the call.")
    return CatalogueError(f"{where}: {type(error).__name__}: {error}. Correct the code there.")


def _innermost(error: Exception) -> FrameType | None:
    """Return the innermost frame of an error that is neither the library's nor Python's import machinery."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith("<") and not Path(file).resolve().is_relative_to(_LIBRARY) and "importlib" not in file:
            found = frame
    return found


def _line(error: Exception, frame: FrameType) -> int:
    return next(line for each, line in traceback.walk_tb(error.__traceback__) if each is frame)


def _arguments(frame: FrameType | None, name: str) -> list[str]:
    """Return the arguments of a class that a frame's file knows by its name."""
    found = frame.f_globals.get(name) if frame else None
    return list(inspect.signature(found).parameters) if inspect.isclass(found) else []
