"""Holds a call's parameters against the service model that botocore carries: all that AWS's front door would refuse.

botocore itself checks names, required members and types, and few lengths. The model also has enums, patterns and bounds,
which the emulators mostly accept whatever they are.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import regex


def faults(model: Any, operation: str, parameters: Mapping[str, Any]) -> list[str]:  # noqa: ANN401 — botocore's ServiceModel
    """What AWS would refuse in `parameters`, a sentence each; empty if nothing.

    Args:
        model: botocore's service model (`client.meta.service_model`).
        operation: Name of the operation as in the API, such as `CreateQueue`.
        parameters: As given to the client.
    """
    shape = model.operation_model(operation).input_shape
    return list(_faults(shape, parameters, "")) if shape is not None else []


def _faults(shape: Any, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 — botocore's shapes, anything's values
    # Wrong types fall through: botocore refuses them when it serialises the call.
    match shape.type_name:
        case "structure" if isinstance(value, dict):
            yield from _members(shape, cast("dict[str, Any]", value), path)
        case "list" if isinstance(value, (list, tuple)):
            yield from _bounds(shape, len(cast("Sequence[Any]", value)), path, "entries")
            for number, each in enumerate(cast("Sequence[Any]", value)):
                yield from _faults(shape.member, each, f"{path}{number}.")
        case "map" if isinstance(value, dict):
            entries = cast("dict[str, Any]", value)
            yield from _bounds(shape, len(entries), path, "entries")
            for key, each in entries.items():
                yield from _faults(shape.key, key, f"{path}{key}.")
                yield from _faults(shape.value, each, f"{path}{key}.")
        case "string" if isinstance(value, str):
            yield from _text(shape, value, path)
        case "integer" | "long" | "float" | "double" if isinstance(value, (int, float)):
            yield from _bounds(shape, value, path, "")
        case _:
            return


def _members(shape: Any, given: dict[str, Any], path: str) -> Iterator[str]:  # noqa: ANN401 — as above
    for name in sorted(given.keys() - shape.members.keys()):
        yield f"{path}{name} is no member of {shape.name}: allowed are {', '.join(shape.members)}"
    for name in sorted(set(shape.required_members) - given.keys()):
        yield f"{path}{name} is missing, which {shape.name} requires"
    for name in sorted(shape.members.keys() & given.keys()):
        yield from _faults(shape.members[name], given[name], f"{path}{name}.")


def _text(shape: Any, value: str, path: str) -> Iterator[str]:  # noqa: ANN401 — as above
    yield from _bounds(shape, len(value), path, "characters")
    allowed = cast("list[str]", shape.enum)
    if allowed and value not in allowed:
        yield f"{path[:-1]} is {value!r}: allowed are {', '.join(allowed)}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield f"{path[:-1]} is {value!r}: it must match {pattern}"


def _bounds(shape: Any, size: float, path: str, unit: str) -> Iterator[str]:  # noqa: ANN401 — as above
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if (least is not None and size < least) or (most is not None and size > most):
        bounds = " and ".join(
            text for text, bound in ((f"at least {least}", least), (f"at most {most}", most)) if bound is not None
        )
        yield f"{path[:-1]} has {size} {unit}".rstrip() + f": {bounds} are allowed"


@functools.cache
def _compiled(pattern: str) -> Any:  # noqa: ANN401 — regex is not typed
    # The models are written for Java's expressions (\p{L}, possessive quantifiers), which `regex` reads and `re` does not.
    # Anchors are redundant in a full match, and `^$|…` is how some say "or empty".
    return regex.compile(pattern, regex.V0)


__all__ = ["faults"]
