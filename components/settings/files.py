"""Reads a stack file as the Pulumi CLI does, and keeps what was written where.

The CLI reads YAML with https://github.com/go-yaml/yaml (version 3): `no`, `on` and dates are text, keys are text, a key that
stands twice is an error. PyYAML's own rules differ, so that only its parser is used here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import pulumi
import yaml

from components.settings.describe import Path as KeyPath
from components.settings.describe import Written

PROJECT: Final = "slipway"
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9_]*|0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final[Mapping[str, bool]] = {
    each: each.lower() == "true" for each in ["true", "True", "TRUE", "false", "False", "FALSE"]
}
_TAG: Final = "tag:yaml.org,2002:"


class SettingsError(pulumi.RunError):
    """A setting that must not be acted on. Each line names key, value, expectation and fix.

    A `RunError`: the engine shows the message alone, without a traceback.
    """


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """A stack's file.

    Attributes:
        stack: The stack.
        config: Everything below `config`, by full key (`slipway:clusters`).
        written: What was written where, for the keys of `slipway:`.
    """

    stack: str
    config: Mapping[str, Any]
    written: Written

    def namespace(self, name: str) -> dict[str, Any]:
        """Return the keys of one namespace, without it."""
        return {key.removeprefix(f"{name}:"): value for key, value in self.config.items() if key.startswith(f"{name}:")}


def file_name(stack: str) -> str:
    """Return the name of a stack's file."""
    return f"Pulumi.{stack}.yaml"


def read_stack_file(stack: str, root: Path) -> StackFile:
    """Read the file of `stack` in `root`.

    Raises:
        SettingsError: there is none, or it is not what the Pulumi CLI takes: one sentence with file and line.
    """
    path = root / file_name(stack)
    if not path.is_file():
        known = ", ".join(sorted(each.name.split(".")[1] for each in root.glob("Pulumi.*.yaml"))) or "none"
        msg = f"There is no file {path.name} for the stack {stack!r}; stacks with a file: {known}. Name one of them, or write it."
        raise SettingsError(msg)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        msg = f"{path.name} is not UTF-8 text. Save it as UTF-8."
        raise SettingsError(msg) from None
    return _Reader(path.name).read(stack, text)


class _Reader:
    """One reading of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.scalars: dict[KeyPath, tuple[str, object]] = {}
        self.lines: dict[KeyPath, int] = {}
        self.open: list[yaml.Node] = []

    def read(self, stack: str, text: str) -> StackFile:
        root = self._compose(text)
        if root is None:
            self._refuse(None, "the file is empty. Fill it in as docs/adopt.md shows")
        if not isinstance(root, yaml.MappingNode):
            self._refuse(root, "a stack file begins with `config:`, and the settings stand below it")
        whole = cast("dict[str, object]", self._value(root, ("",)))
        if "config" not in whole:
            self._refuse(None, "`config:` is missing. All settings stand below it (docs/adopt.md shows an example)")
        config = whole["config"]
        if not isinstance(config, dict) or not config:
            line = self.lines.get(("", "config"))
            self._refuse(line, "`config:` must hold settings, one key a line and indented (docs/adopt.md shows an example)")
        found: dict[str, Any] = {}
        for key, value in cast("dict[str, object]", config).items():
            # The CLI takes a key without a namespace for one of the project's.
            full = key if ":" in key else f"{PROJECT}:{key}"
            if full in found:
                self._refuse(
                    self.lines.get(("", "config", key)), f"the key {full} stands here for the second time. Remove one of the two"
                )
            found[full] = value
        return StackFile(stack=stack, config=found, written=self._written())

    def _written(self) -> Written:
        """What belongs to `slipway:`, by paths without that prefix."""
        start = ("", "config")

        def keys(paths: Mapping[KeyPath, Any]) -> dict[KeyPath, Any]:
            found: dict[KeyPath, Any] = {}
            for path, value in paths.items():
                if path[:2] == start and len(path) > len(start):
                    first = str(path[2])
                    if first.startswith(f"{PROJECT}:") or ":" not in first:
                        found[(first.removeprefix(f"{PROJECT}:"), *path[3:])] = value
            return found

        return Written(file=self.file, scalars=keys(self.scalars), lines=keys(self.lines))

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            return cast("yaml.Node | None", yaml.compose(text, Loader=yaml.BaseLoader))  # pyright: ignore[reportUnknownMemberType] — no stubs
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else None
            lines = text.splitlines()
            if mark and mark.line < len(lines) and "\t" in lines[mark.line]:
                self._refuse(line, "YAML does not take a tab here. Use spaces")
            if "document" in (error.problem or ""):
                self._refuse(line, "a second document begins here (`---`); a stack file holds one")
            if "alias" in (error.problem or ""):
                self._refuse(line, "this alias (`*`) refers to no anchor (`&`) above it. Quote the text, or define the anchor")
            self._refuse(
                line, "this does not parse as YAML. Look for a quote, bracket or indentation that is wrong here or just above"
            )
        except yaml.YAMLError:
            self._refuse(None, "the file holds a character that YAML does not take. Look for control characters")

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        if any(node is each for each in self.open):
            self._refuse(node, "an alias (`*`) refers to what it stands in. Write the value out")
        self.lines.setdefault(path, node.start_mark.line + 1)
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._value(each, (*path, place)) for place, each in enumerate(cast("list[yaml.Node]", node.value))]
            value = self._scalar(cast("yaml.ScalarNode", node))
            self.scalars[path] = (str(node.value), value)
            return value
        finally:
            self.open.pop()

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: dict[str, object] = {}
        first: dict[str, int] = {}
        for key_node, value_node in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key must be plain text, not a list or mapping. Look for a missing quote around { or [")
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key == "<<" and key_node.style is None:
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for each in cast("list[yaml.Node]", sources):
                    value = self._value(each, (*path, "<<"))
                    if not isinstance(value, dict):
                        self._refuse(each, "`<<` merges mappings, and this is none")
                    merged = {**cast("dict[str, object]", value), **merged}
                continue
            if key in found:
                self._refuse(
                    line, f"the key {key} stands here for the second time (first in line {first[key]}). Remove one of the two"
                )
            first[key] = line
            self.lines[(*path, key)] = line
            found[key] = self._value(value_node, (*path, key))
        return {**merged, **found}

    def _scalar(self, node: yaml.ScalarNode) -> object:
        text = str(node.value)
        tag = str(node.tag)
        if tag not in {f"{_TAG}str", f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool", f"{_TAG}null", "!"}:
            self._refuse(node, f"the tag {tag.removeprefix(_TAG)} has no meaning in a stack file. Remove it, or quote the text")
        if node.style is not None:
            return text
        return plain_scalar(text)

    def _refuse(self, where: yaml.Node | int | None, what: str) -> NoReturn:
        line = where.start_mark.line + 1 if isinstance(where, yaml.Node) else where
        msg = f"{self.file}, line {line}: {what}." if line else f"{self.file}: {what}."
        raise SettingsError(msg)


def plain_scalar(text: str) -> object:
    """Return what the Pulumi CLI makes of unquoted text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        digits = text.replace("_", "")
        # A leading zero means octal.
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
        return int(f"{octal[1]}{octal[2]}", 8) if octal else int(digits, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return int(number) if number.is_integer() and "." not in text and "e" not in text.lower() else number
    if found := _INFINITE.fullmatch(text):
        return float(f"{found[1]}inf")
    return float("nan") if text in {".nan", ".NaN", ".NAN"} else text
