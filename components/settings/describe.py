"""Turns faults that pydantic found into sentences: key, value as the user wrote it, expectation, fix.

Nothing of pydantic's own wording gets out. What a key expects stands beside its type, as `Expects`; what was written comes
from the stack file where it is at hand (files.py), else from the value.
"""

import difflib
import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin

from pydantic import BaseModel

Path = tuple[str | int, ...]

# Longer values are cut: a message is one line.
_LONGEST: Final = 120
PREFIX: Final = "slipway:"
# Keys of earlier versions: what replaces them.
MOVED: Final[Mapping[str, str]] = {
    "builds.architecture": (
        "it belongs to the track now, because every environment must know what its images are built for. Remove it, and set "
        "slipway:tracks.<track>.architecture in every stack file (its default is arm64)"
    ),
    "alarmEmail": "it is slipway:alarms.email now. Move it there",
}


@dataclass(frozen=True)
class Expects:
    """What a key takes, in words that follow "it must be".

    Attributes:
        text: For example `twelve digits in quotes`.
        example: A value as it stands in a stack file.
    """

    text: str
    example: str = ""


@dataclass(frozen=True)
class Written:
    """What stands in the stack file.

    Attributes:
        file: The file's name, such as `Pulumi.dev.yaml`.
        scalars: Text and value of every scalar by its path, for example `("environments", "dev", "account")`.
        lines: Line of every key and value by its path.
    """

    file: str
    scalars: Mapping[Path, tuple[str, object]]
    lines: Mapping[Path, int]

    def text(self, path: Path, value: object) -> str | None:
        """Return the text of the value at `path`, where the file still has this value."""
        found = self.scalars.get(path)
        return found[0] if found and same(found[1], value) else None

    def place(self, path: Path, value: object = ...) -> str:
        """Return the file, with the line of `path` unless another value than `value` stands there."""
        line = self.lines.get(path)
        if value is not ... and path in self.scalars and not same(self.scalars[path][1], value):
            line = None
        return f"{self.file}, line {line}" if line else self.file


def same(one: object, two: object) -> bool:
    """Return whether two scalars are equal and of one kind: 1 is not true."""
    return one == two and isinstance(one, bool) == isinstance(two, bool) and isinstance(one, str) == isinstance(two, str)


def bare(annotation: Any) -> tuple[Any, list[Any]]:  # noqa: ANN401 — any annotation
    """Return an annotation without `Annotated` and `| None`, and the metadata on the way."""
    metadata: list[Any] = []
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata += more
        elif origin in {types.UnionType, Union}:
            annotation = next(each for each in get_args(annotation) if each is not types.NoneType)
        else:
            return annotation, metadata


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's fields by the names that stack files use."""
    return {field.alias or name: field for name, field in model.model_fields.items() if name != "stack"}


def leaves(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Expects | None]]:
    """Yield every key that holds no further keys, with its type and what it expects; `*` stands for a name or a position."""
    for own, field in fields(model).items():
        yield from _leaves(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation, (*path, own))


def _leaves(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Expects | None]]:  # noqa: ANN401
    kind, metadata = bare(annotation)
    if _is_model(kind):
        yield from leaves(kind, path)
    elif get_origin(kind) in {Mapping, dict}:
        yield from _leaves(get_args(kind)[1], (*path, "*"))
    elif get_origin(kind) is tuple:
        yield from _leaves(get_args(kind)[0], (*path, "*"))
    else:
        yield path, kind, next((each for each in metadata if isinstance(each, Expects)), None)


def at(model: type[BaseModel], path: Path) -> tuple[Any, Expects | None]:
    """Return the type at `path` below `model`, and what it expects; None where there is no such key."""
    annotation: Any = model
    metadata: list[Any] = []
    for part in path:
        kind, _ = bare(annotation)
        if _is_model(kind):
            field = fields(kind).get(str(part))
            if field is None:
                return None, None
            annotation, metadata = field.annotation, list(field.metadata)
        elif get_origin(kind) in {Mapping, dict}:
            annotation, metadata = get_args(kind)[1], []
        elif get_origin(kind) is tuple:
            annotation, metadata = get_args(kind)[0], []
        else:
            return None, None
    kind, more = bare(annotation)
    return kind, next((each for each in (*metadata, *more) if isinstance(each, Expects)), None)


def _is_model(kind: Any) -> bool:  # noqa: ANN401 — any annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def name(path: Path) -> str:
    """Return a path as messages write it; a list's elements count from 1 behind a number sign."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f" #{part + 1}"
        else:
            text += f".{key(part)}" if text else key(part)
    return f"{PREFIX}{text}"


def key(part: str) -> str:
    """Return a key for a message, quoted where it is no plain word."""
    return part if re.fullmatch(r"[\w-]+", part) else quoted(part)


def quoted(text: str) -> str:
    """Return text in double quotes, in one line and with every character to be seen."""
    whole = json.dumps(text, ensure_ascii=False)
    return whole if whole.isprintable() else json.dumps(text)


def shown(value: object, text: str | None = None) -> str:
    """Return a value for a message: as written where that is known, in one line, and not too long."""
    if value is None:
        return "empty"
    if isinstance(value, str):
        whole = f"'{value}'" if value.isprintable() and "'" not in value else quoted(value)
    elif text is not None:
        whole = text
    else:
        whole = _flow(value)
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}…"


def _flow(value: object) -> str:
    """Return a value in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key(one)}: {_flow(each)}" for one, each in cast("dict[str, object]", value).items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(each) for each in cast("list[object]", value)) + "]"
    return quoted(value) if isinstance(value, str) else _number(value)


def _number(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 — exact as an integer
        return str(int(value))
    return str(value)


def _what(value: object) -> str:
    """Name the kind of a value."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return "empty"


def expected(kind: Any, expects: Expects | None) -> str:  # noqa: ANN401 — any annotation
    """Say what a key takes, in words that follow "it must be"."""
    if expects is not None:
        return expects.text
    if _is_model(kind):
        return f"a mapping with the keys {_and(list(fields(kind)))}"
    if get_origin(kind) in {Mapping, dict}:
        return "a mapping from names that you choose to their settings"
    if get_origin(kind) is tuple:
        inner, metadata = bare(get_args(kind)[0])
        element = next((each for each in metadata if isinstance(each, Expects)), None)
        return f"a list, in which each element is {expected(inner, element)}"
    return {str: "text", int: "a whole number", bool: "true or false", IPv4Network: "a range of IPv4 addresses"}[kind]


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def sentences(model: type[BaseModel], faults: Iterable[Mapping[str, Any]], written: Written) -> list[str]:
    """Return one line for each fault that pydantic found in `model`, in a fixed order, none twice."""
    lines: dict[str, None] = {}
    for fault in faults:
        for line in _sentences(model, fault, written):
            lines[line] = None
    return list(lines)


def _sentences(model: type[BaseModel], fault: Mapping[str, Any], written: Written) -> Iterator[str]:
    path: Path = tuple(fault["loc"])
    value = fault["input"]
    if fault["type"] == "missing":
        yield _missing(model, path, written)
    elif fault["type"] == "extra_forbidden":
        yield _unknown(model, path, value, written)
    elif path and path[-1] == "[key]":
        *above, odd = path[:-1]
        _, expects = _key_of(model, tuple(above))
        yield (
            f"{name((*above,))} has the key {shown(odd)}, which must be {expects}. Correct it in {written.place((*above, odd))}."
        )
    elif fault["type"] == "value_error" and not path:
        yield from (f"{PREFIX}{line}." for line in str(fault["ctx"]["error"]).splitlines())
    elif fault["type"] == "json_invalid":
        yield f"{written.file} holds text that is not valid Unicode. Correct it."
    elif fault["type"] == "value_error" and not _is_no_range(model, path, value):
        yield _wrong(path, value, str(fault["ctx"]["error"]), written)
    else:
        kind, expects = at(model, path)
        yield _unfit(path, value, kind, expects, written)


def _is_no_range(model: type[BaseModel], path: Path, value: object) -> bool:
    """Return whether a value should be a range and is none: Python's own error would be shown."""
    if at(model, path)[0] is not IPv4Network:
        return False
    try:
        return not isinstance(value, str) or not IPv4Network(value)
    except ValueError:
        return True


def _key_of(model: type[BaseModel], path: Path) -> tuple[Any, str]:
    kind, _ = at(model, path)
    inner, metadata = bare(get_args(kind)[0])
    return inner, expected(inner, next((each for each in metadata if isinstance(each, Expects)), None))


def _wrong(path: Path, value: object, why: str, written: Written) -> str:
    """A value of the right kind that a rule refuses; the rule's text names the fix."""
    line = f"{name(path)} is {shown(value, written.text(path, value))}: {why}"
    return line if line.endswith("?") else f"{line} ({written.place(path, value)})."


def _missing(model: type[BaseModel], path: Path, written: Written) -> str:
    kind, expects = at(model, path)
    example = f", for example {expects.example}" if expects and expects.example else ""
    return f"{name(path)} is missing. Add it to {written.place(path[:-1])}: {expected(kind, expects)}{example}."


def _unknown(model: type[BaseModel], path: Path, value: object, written: Written) -> str:
    *above, last = path
    start = f"{name(path)} is {shown(value, written.text(path, value))}"
    if moved := MOVED.get(".".join(part if isinstance(part, str) else "*" for part in path)):
        return f"{start}: {moved} ({written.place(path)})."
    kind, _ = at(model, tuple(above))
    known = list(fields(kind))
    near = _near(str(last), known)
    elsewhere = [".".join(found) for found, _, _ in leaves(model) if found[-1] == last]
    if near:
        fix = f"Did you mean {near}?"
    elif elsewhere:
        fix = f"Did you mean {PREFIX}{elsewhere[0].replace('*', '<name>')}?"
    else:
        fix = f"Remove it, or correct its spelling: {'here stand' if above else 'the keys are'} {_and(known)}."
    return f"{start}, but there is no setting of this name ({written.place(path)}). {fix}"


def _near(given: str, known: Sequence[str]) -> str | None:
    """Return the known key that was probably meant: another case, hyphens or underscores, or a slip of the keyboard."""
    plain = {re.sub(r"[-_ ]", "", each).lower(): each for each in known}
    found = difflib.get_close_matches(re.sub(r"[-_ ]", "", given).lower(), plain, 1, 0.65)
    return plain[found[0]] if found else None


def _unfit(path: Path, value: object, kind: Any, expects: Expects | None, written: Written) -> str:  # noqa: ANN401
    """A value of another kind, or outside of what the key takes."""
    text = written.text(path, value)
    need = expected(kind, expects)
    is_ = f"{name(path)} is {shown(value, text)}"
    where = written.place(path, value)
    if value is None:
        example = f", for example {expects.example}" if expects and expects.example else ""
        return f"{is_}. It must be {need}{example}. Fill it in, or remove the key ({where})."
    right = {str: str, IPv4Network: str, int: int, bool: bool}.get(kind)
    if kind is str and isinstance(value, bool | int | float):
        # Without the file, a number's zeros at either end are lost.
        fix = f'Quote it: "{text}"' if text else "Quote it"
        example = f", as in {expects.example}" if expects and expects.example else ""
        return f"{is_}, {_what(value)}. It must be {need}{example}. {fix} ({where})."
    if right in {int, bool} and isinstance(value, str):
        plain = value.strip()
        fits = re.fullmatch(r"-?\d{1,18}", plain) if right is int else plain in {"true", "false"}
        fix = (
            f"Remove the quotes: {plain}"
            if fits
            else ("Write true or false without quotes" if right is bool else "Write a number")
        )
        return f"{is_}, text. It must be {need}. {fix} ({where})."
    if kind is IPv4Network and isinstance(value, str):
        return f"{is_}. It must be {need}. {_range_fix(value)} ({where})."
    if right is None or not isinstance(value, right) or isinstance(value, bool) != (right is bool):
        example = f", for example {expects.example}" if expects and expects.example else ""
        return f"{is_}, {_what(value)}. It must be {need}{example}. Correct it ({where})."
    return f"{is_}. It must be {need}. Correct it ({where})."


def _range_fix(value: str) -> str:
    try:
        return f"The range of this address is {IPv4Network(value, strict=False)}. Write that"
    except ValueError:
        return "Write an IPv4 address and a prefix length, such as 10.10.0.0/16"
