"""Chooses the services that a play follows from the platform's catalogue, and writes every application repository."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from rehearsal.program import ROOT, evaluate_component, platform_folder, read_services

if TYPE_CHECKING:
    from components.platform import Platform
    from components.service import ServiceArgs

APPS: Final = ROOT / "rehearsal" / "apps"
# The folder of each kind's template.
_WEB, _WORKER = "storefront", "invoices"
_TEMPLATE_PORT: Final = "8080"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One declared service, as far as its application repository must fit it.

    Attributes:
        name: The service's name.
        repository: Name of its application repository.
        port: Port that its container listens on; None for a worker.
        public: Whether the edge forwards to it.
        health_path: Path that answers 200.
        dockerfile: Path of its Dockerfile within `context`.
        context: Folder of the repository that is sent to the build.
        label: First label of its host name; "" if it is not public.
    """

    name: str
    repository: str
    port: int | None = None
    public: bool = False
    health_path: str = "/healthz"
    dockerfile: str = "Dockerfile"
    context: str = "."
    label: str = ""

    def path(self, name: str) -> str:
        """Return the path in its repository of a file in its build context."""
        return (PurePosixPath(self.context) / name).as_posix()

    @property
    def call(self) -> str:
        """The `Service` call that declares one of the play's own examples."""
        port = f", port={self.port}" if self.port else ""
        return f'Service("{self.name}", ServiceArgs(platform=platform, repository="{self.repository}"{port}))'


@dataclass(frozen=True, kw_only=True)
class Cast:
    """All services of a play.

    Attributes:
        parts: Every declared service, the play's own examples among them.
        service: The one with an edge that the play follows.
        worker: The worker that it follows.
        added: Examples that the play adds because the catalogue has none of their kind.
    """

    parts: Sequence[Part]
    service: Part
    worker: Part
    added: Sequence[Part] = ()

    @property
    def repositories(self) -> Mapping[str, Sequence[Part]]:
        """Services by application repository."""
        found: dict[str, list[Part]] = {}
        for each in self.parts:
            found.setdefault(each.repository, []).append(each)
        return found

    @property
    def notes(self) -> list[str]:
        """Return a line for each example that is added."""
        return [
            f"the catalogue has no {'public service' if each.public else 'worker'}: the example {each.name} is added for the play"
            for each in self.added
        ]

    def catalogue(self, services: "Callable[[Platform], None]") -> "Callable[[Platform], None]":
        """Return the platform's function `services` with the examples."""

        def both(platform: "Platform") -> None:
            from components.service import Service, ServiceArgs  # noqa: PLC0415 — the SDK takes seconds to import

            services(platform)
            for each in self.added:
                Service(each.name, ServiceArgs(platform=platform, repository=each.repository, port=each.port))

        return both if self.added else services

    @property
    def source(self) -> str:
        """What to append to services.py so that it declares the examples; "" if there are none."""
        return appended(each.call for each in self.added)


def appended(calls: Iterable[str]) -> str:
    """Return Python text that makes a services.py declare more services, whatever it looks like."""
    lines = [f"    {call}" for call in calls]
    if not lines:
        return ""
    head = [
        "",
        "",
        "_services_before = services",
        "",
        "",
        "def services(platform, before=_services_before):",
        "    from components.service import Service, ServiceArgs",
        "",
        "    before(platform)",
    ]
    return "\n".join([*head, *lines]) + "\n"


def read_cast(stack: str, config: Mapping[str, object] | None = None, folder: Path | None = None) -> Cast:
    """Read the catalogue as the program reads it, and choose who appears.

    Args:
        stack: The stack whose settings the catalogue is checked against.
        config: What differs from its stack file.
        folder: Folder of services.py; the platform's unless given.

    Raises:
        rehearsal.program.ProgramError: the settings or the catalogue are refused.
    """
    return choose(_declared(stack, config, folder or platform_folder()))


def choose(parts: Sequence[Part]) -> Cast:
    """Choose one public service and one worker, of different repositories where that is possible."""
    added: list[Part] = []
    names, labels = {each.name for each in parts}, {each.label for each in parts}

    def own(name: str, port: int | None) -> Part:
        free = next(each for each in (name, f"{name}-example", f"{name}-of-the-play") if each not in names | labels)
        made = Part(name=free, repository=free, port=port, public=port is not None, label=free if port else "")
        added.append(made)
        return made

    service = next((each for each in parts if each.public), None) or own(_WEB, int(_TEMPLATE_PORT))
    workers = [each for each in parts if each.port is None]
    apart = (each for each in workers if each.repository != service.repository)
    worker = next(apart, None) or next(iter(workers), None) or own(_WORKER, None)
    return Cast(parts=[*parts, *added], service=service, worker=worker, added=added)


def _declared(stack: str, config: Mapping[str, object] | None, place: Path) -> list[Part]:
    """Read every `Service` call of the catalogue, its build arguments too, which the catalogue does not keep."""
    found: dict[str, Part] = {}

    def read() -> None:
        from components import service  # noqa: PLC0415 — the SDK takes seconds to import
        from components.platform import read_catalogue  # noqa: PLC0415 — same
        from components.settings import load  # noqa: PLC0415 — same

        # First without the class below: a fault must name the line of services.py, not one here.
        read_catalogue(read_services(place), load())
        calls: dict[str, ServiceArgs] = {}

        class Noted(service.Service):
            def __init__(self, name: str, args: "ServiceArgs", opts: Any = None) -> None:  # noqa: ANN401 — pulumi's
                super().__init__(name, args, opts)
                calls[name] = args

        # services.py imports it by name when it is run below.
        with patch.object(service, "Service", Noted):
            catalogue = read_catalogue(read_services(place), load())
        for name, each in catalogue.services.items():
            args = calls[name]
            found[name] = Part(
                name=name,
                repository=each.repository,
                port=each.port,
                public=each.public,
                health_path=each.health_path,
                dockerfile=args.dockerfile,
                context=args.context,
                label=each.label,
            )

    evaluate_component(read, stack, config=config)
    return list(found.values())


def application_files(parts: Sequence[Part]) -> dict[str, bytes]:
    """Return the first files of an application repository, which fit each of its services' declarations.

    Several services of one repository have their files side by side, each in its build context.
    """
    files: dict[str, bytes] = {}
    for each in parts:
        source = APPS / (_WEB if each.port else _WORKER)
        for path in sorted(source.rglob("*")):
            if path.is_file():
                name = path.relative_to(source).as_posix()
                files.setdefault(each.path(each.dockerfile if name == "Dockerfile" else name), _fitted(each, path))
        if each.port:
            files.setdefault(each.path(f"www/{_health_file(each.health_path)}"), b"ok\n")
    return files


def _fitted(part: Part, path: Path) -> bytes:
    content = path.read_bytes()
    if path.name in {"Dockerfile", "serve.sh"} and part.port:
        return re.sub(rb"\b8080\b", str(part.port).encode(), content)
    return content


def _health_file(path: str) -> str:
    """Return the file that a plain web server answers `path` with."""
    plain = path.partition("?")[0].strip("/")
    return f"{plain}/index.html" if plain and path.partition("?")[0].endswith("/") else plain or "index.html"


__all__ = ["APPS", "Cast", "Part", "appended", "application_files", "choose", "read_cast"]
