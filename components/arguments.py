"""Checks each argument of a `Service` call for its type and form, before the catalogue looks at what the values mean. Pure.

`services.py` is Python that teams write by hand: `public="no"` is true, and `port="8080"` is no number. A wrong type must stop
here with a sentence, not at AWS and not as a service that is open by accident.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

import pulumi

from components import iam

# https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html: timeoutInMinutes
SHORTEST_BUILD_MINUTES: Final = 5
LONGEST_BUILD_MINUTES: Final = 2160
# A path of ours: https://docs.aws.amazon.com/codebuild/latest/APIReference/API_EnvironmentVariable.html has no limit.
_PATH_LENGTH: Final = 1024
_PATH: Final = re.compile(r"[\w.@+=,-]+(?: [\w.@+=,-]+)*")
# Names that YAML 1.1 reads as a boolean or as null where they stand without quotes, in any case: https://yaml.org/type/bool.html
# and https://yaml.org/type/null.html. A service's name stands in manifests, and people write it there themselves.
YAML_WORDS: Final = frozenset({"false", "n", "no", "null", "off", "on", "true", "y", "yes"})

Fault = str | None


def shown(value: object) -> str:
    """Return a value as the user wrote it, with its kind where that is the point."""
    if isinstance(value, pulumi.Output):
        return "an Output, whose value is known only during the update"
    if isinstance(value, str):
        return f"{value!r} (text)"
    if isinstance(value, bool | int | float) or value is None:
        return repr(value)
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"  # noqa: PLR2004 — a line of an error


def faults(name: object, given: Mapping[str, object]) -> Iterable[str]:
    """Yield one line per argument of the wrong type or form.

    Args:
        name: First argument of the call.
        given: The other arguments by name, `platform` left out.
    """
    if not isinstance(name, str):
        yield f'Service name: got {shown(name)}; give the service\'s name as text, for example Service("shop", ...)'
        return
    if name.lower() in YAML_WORDS:
        yield (
            f"service name {name!r}: YAML reads this word as a truth value or as nothing, and the name stands in manifests. "
            "Rename the service"
        )
    for argument, check in _CHECKS.items():
        if fault := check(given[argument]):
            yield f"service {name!r}: {argument}: got {shown(given[argument])}; {fault}"
    yield from (f"service {name!r}: permissions: {fault.rstrip('.')}" for fault in iam.check_statements(given["permissions"]))


def _flag(value: object) -> Fault:
    return None if isinstance(value, bool) else "write True or False, without quotes"


def _text(value: object) -> Fault:
    if not isinstance(value, str):
        return "give text in quotes"
    return "leave out the spaces around it and line breaks" if value != value.strip() or not value.isprintable() else None


def _number(what: str) -> Callable[[object], Fault]:
    def check(value: object) -> Fault:
        fine = value is None or (isinstance(value, int) and not isinstance(value, bool))
        return None if fine else f"give {what} as a whole number, without quotes, or leave it out"

    return check


def _minutes(value: object) -> Fault:
    fine = isinstance(value, int) and not isinstance(value, bool) and SHORTEST_BUILD_MINUTES <= value <= LONGEST_BUILD_MINUTES
    return (
        None
        if fine
        else f"CodeBuild takes whole minutes from {SHORTEST_BUILD_MINUTES} to {LONGEST_BUILD_MINUTES}. Give such a number"
    )


def _path(value: object) -> Fault:
    if fault := _text(value):
        return fault
    path = cast("str", value)
    parts = path.split("/")
    if path == "." or (len(path) <= _PATH_LENGTH and all(_PATH.fullmatch(part) and part not in {".", ".."} for part in parts)):
        return None
    return "give a path inside the repository, relative and without '..', for example services/shop"


def _file(value: object) -> Fault:
    return "name a file" if value == "." else _path(value)


_CHECKS: Final[Mapping[str, Callable[[object], Fault]]] = {
    "repository": _text,
    "port": _number("the container's port"),
    "public": _flag,
    "host": _text,
    "health_path": _text,
    "dockerfile": _file,
    "context": _path,
    "build_timeout_minutes": _minutes,
    "priority": _number("a listener priority"),
    "smoke_test": _flag,
    "protect_repository": _flag,
}
