"""The declared services: one SSM parameter each, written by components/image_hook.py."""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names
_LABEL: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE: Final = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+")
_HOST: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
# What may stand in double quotes in YAML as it is.
_HEALTH_PATH: Final = re.compile(r"/[A-Za-z0-9._~!&'()*+,;=:@%/?-]*")
_HIGHEST_PORT: Final = 65_535
# A service is added a few times a week; an unknown one makes the catalogue be read at once.
_SECONDS: Final = 300.0


class EntryError(ValueError):
    """An entry that nothing can be made of; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A declared service.

    Attributes:
        name: Its name, which is its image's name in manifests too.
        namespace: Kubernetes namespace.
        port: Port of its container; None for a worker.
        health_path: Path that answers 200; "" for a worker.
        images: Image address, without tag, by environment.
        hosts: Host name by environment; empty unless it is public.
        released: Environments that get their images by release, after others have run them.
        smoke_test: Whether its image brings a test that is run after each sync.
    """

    name: str
    namespace: str
    port: int | None
    health_path: str
    images: Mapping[str, str]
    hosts: Mapping[str, str]
    released: frozenset[str] = frozenset()
    smoke_test: bool = False


def parse(text: str) -> Service:
    """Read and check one entry: its values go into manifests.

    An entry that was written before `released` and `smoke_test` were known has neither.

    Raises:
        EntryError: something is missing or of a form that manifests cannot carry.
    """
    try:
        given: object = json.loads(text)
    except ValueError as error:
        raise EntryError(str(error)) from None
    if not isinstance(given, dict):
        msg = f"the entry is {type(given).__name__}: a JSON object is needed"
        raise EntryError(msg)
    entry = cast("dict[str, Any]", given)
    faults = list(_faults(entry))
    if faults:
        raise EntryError("; ".join(faults))
    return Service(
        name=entry["service"],
        namespace=entry["namespace"],
        port=entry["port"],
        health_path=entry["health_path"] or "",
        images=entry["images"],
        hosts=entry["hosts"],
        released=frozenset(entry.get("released", ())),
        smoke_test=entry.get("smoke_test", False),
    )


def _faults(entry: Mapping[str, Any]) -> Iterable[str]:
    port = entry.get("port")
    for key in ("service", "namespace"):
        if not _matches(_LABEL, entry.get(key)):
            yield f"{key} is {entry.get(key)!r}: a DNS label is allowed"
    if port is not None and not (isinstance(port, int) and not isinstance(port, bool) and 0 < port <= _HIGHEST_PORT):
        yield f"port is {port!r}: 1 to {_HIGHEST_PORT} is allowed, or null"
    if port is not None and not _matches(_HEALTH_PATH, entry.get("health_path")):
        yield f"health_path is {entry.get('health_path')!r}: a path of URL characters, without quotes and backslashes, is allowed"
    for key, pattern, empty in (("images", _IMAGE, False), ("hosts", _HOST, True)):
        values: object = entry.get(key)
        if not isinstance(values, dict) or not (values or empty):
            yield f"{key} is {values!r}: an object by environment is needed"
            continue
        for environment, value in cast("dict[str, object]", values).items():
            if not _matches(_LABEL, environment) or not _matches(pattern, value):
                yield f"{key}.{environment} is {value!r}: {pattern.pattern} is allowed"
    if entry.get("hosts") and port is None:
        yield "hosts are given without a port: a worker has none"
    yield from _optional_faults(entry)


def _optional_faults(entry: Mapping[str, Any]) -> Iterable[str]:
    released: object = entry.get("released", [])
    known: object = entry.get("images")
    environments = list(cast("Mapping[str, object]", known)) if isinstance(known, dict) else []
    if not isinstance(released, list) or not all(each in environments for each in cast("list[object]", released)):
        yield f"released is {released!r}: a list of {', '.join(environments)} is allowed"
    smoke_test: object = entry.get("smoke_test", False)
    if not isinstance(smoke_test, bool):
        yield f"smoke_test is {smoke_test!r}: true or false is allowed"
    elif smoke_test and entry.get("port") is None:
        yield "smoke_test is true without a port: a worker has nothing to call"


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


@dataclass(kw_only=True)
class Catalogue:
    """Reads the entries below a path, and keeps them for some minutes.

    Attributes:
        client: SSM.
        path: Path of the entries; each is named as its service.
        clock: Seconds, monotonic.
        broken: Entries that could not be read, with the reason: such a service is declared all the same, and its images are
            written; only a scaffold cannot be made of it.
    """

    client: "SSMClient"
    path: str
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Begin with nothing read."""
        self._services: dict[str, Service] = {}
        self.broken: dict[str, str] = {}
        self._read_at = float("-inf")

    @property
    def names(self) -> frozenset[str]:
        """Every declared service."""
        return frozenset(self._services) | frozenset(self.broken)

    def covering(self, names: Iterable[str]) -> frozenset[str]:
        """The declared services, read anew when they are not fresh or do not hold all `names`."""
        if self.clock() - self._read_at > _SECONDS or not self.names.issuperset(names):
            self.refresh()
        return self.names

    def refresh(self) -> None:
        """Read all entries."""
        services: dict[str, Service] = {}
        broken: dict[str, str] = {}
        pages = self.client.get_paginator("get_parameters_by_path").paginate(Path=self.path, Recursive=False)
        for page in pages:
            for parameter in page.get("Parameters", ()):
                name, value = parameter.get("Name", ""), parameter.get("Value", "")
                service = name.removeprefix(self.path)
                try:
                    entry = parse(value)
                    if entry.name != service:
                        msg = f"it names {entry.name!r}: the parameter's own name is needed"
                        raise EntryError(msg)  # noqa: TRY301 — one place records what is broken
                    services[service] = entry
                except EntryError as error:
                    broken[service] = f"catalogue entry {name}: {error}"
        self._services, self.broken, self._read_at = services, broken, self.clock()

    def service(self, name: str) -> Service:
        """A declared service.

        Raises:
            EntryError: its entry is broken.
        """
        if name in self.broken:
            raise EntryError(self.broken[name])
        return self._services[name]
