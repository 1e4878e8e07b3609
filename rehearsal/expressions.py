"""Evaluate the expressions of GitHub Actions' workflows.

https://docs.github.com/en/actions/reference/workflows-and-actions/expressions

A name that this module does not know is an error. GitHub would take it for an empty string.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias, cast

Value: TypeAlias = bool | float | str | Mapping[str, Any] | Sequence[Any] | None
Function: TypeAlias = Callable[..., Value]

STATUS_FUNCTIONS: Final = ("always", "cancelled", "failure", "success")

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!().,\[\]]))"
)
_EXPRESSION: Final = re.compile(r"\$\{\{(?P<body>(?:'(?:[^']|'')*'|(?!\}\}).)*)\}\}", re.DOTALL)
_LITERALS: Final[Mapping[str, Value]] = {"true": True, "false": False, "null": None}


class ExpressionError(Exception):
    """An expression that cannot be read, or that uses an unknown name."""


class Known(dict[str, Any]):
    """A context in which a missing property is an error."""


def fill(text: str, contexts: Mapping[str, Any], functions: Mapping[str, Function] | None = None) -> str:
    """Return `text` with each `${{ }}` replaced by its value.

    Raises:
        ExpressionError: an expression cannot be read, uses an unknown name or is an object.
    """
    filled = _EXPRESSION.sub(lambda match: shown(evaluate(match["body"], contexts, functions)), text)
    if "${{" in _EXPRESSION.sub("", text):
        msg = f"the expression in {text!r} has no end"
        raise ExpressionError(msg)
    return filled


def holds(condition: str, contexts: Mapping[str, Any], functions: Mapping[str, Function]) -> bool:
    """Return whether an `if` holds. Without a status function it also asks for `success()`.

    https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#status-check-functions

    Raises:
        ExpressionError: the condition cannot be read or uses an unknown name.
    """
    body = condition.strip()
    whole = _EXPRESSION.fullmatch(body)
    if whole:
        body = whole["body"]
    elif "${{" in body:
        msg = f"the condition {condition!r} is partly an expression; write all of it in one"
        raise ExpressionError(msg)
    named = any(re.search(rf"\b{name}\s*\(", re.sub(r"'(?:[^']|'')*'", "", body)) for name in STATUS_FUNCTIONS)
    # Evaluated in any case: an unknown name is an error even where it would not count.
    value = truthy(evaluate(body, contexts, functions))
    return value if named else value and truthy(functions["success"]())


def evaluate(body: str, contexts: Mapping[str, Any], functions: Mapping[str, Function] | None = None) -> Value:
    """Return the value of an expression, without its `${{ }}`.

    Raises:
        ExpressionError: it cannot be read or uses an unknown name.
    """
    parser = _Parser(body, contexts, {**_FUNCTIONS, **(functions or {})})
    value = parser.either()
    parser.end()
    return value


def truthy(value: Value) -> bool:
    """Return whether a value counts as true."""
    if isinstance(value, (int, float)):
        return value != 0 and not math.isnan(value)
    return value is not None and value != ""


def shown(value: Value) -> str:
    """Return a value as text.

    Raises:
        ExpressionError: it is an object or a list.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(int(value)) if float(value).is_integer() else str(value)
    if isinstance(value, str):
        return value
    msg = f"an expression is {json.dumps(value)[:80]}: name one of its properties, or use toJSON()"
    raise ExpressionError(msg)


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    if type(one) is type(other) or (isinstance(one, (Mapping, list)) and isinstance(other, (Mapping, list))):
        return one == other
    return _number(one) == _number(other)


def _number(value: Value) -> float:
    if value is None or value == "":
        return 0.0
    if isinstance(value, (bool, int, float, str)):
        try:
            return float(value)
        except ValueError:
            return math.nan
    return math.nan


def _contains(where: Value, what: Value) -> bool:
    if isinstance(where, Sequence) and not isinstance(where, str):
        return any(_equal(cast("Value", each), what) for each in where)
    return shown(what).lower() in shown(where).lower()


def _format(text: Value, *values: Value) -> str:
    return re.sub(r"\{\{|\}\}|\{(\d+)\}", lambda match: shown(values[int(match[1])]) if match[1] else match[0][0], shown(text))


def _ends(text: Value, end: Value) -> bool:
    return shown(text).lower().endswith(shown(end).lower())


def _begins(text: Value, start: Value) -> bool:
    return shown(text).lower().startswith(shown(start).lower())


def _from_json(text: Value) -> Value:
    return cast("Value", json.loads(shown(text)))


def _to_json(value: Value) -> str:
    return json.dumps(value, indent=2)


_FUNCTIONS: Final[Mapping[str, Function]] = {
    "contains": _contains,
    "endswith": _ends,
    "format": _format,
    "fromjson": _from_json,
    "startswith": _begins,
    "tojson": _to_json,
}
_COMPARISONS: Final[Mapping[str, Callable[[Value, Value], bool]]] = {
    "==": _equal,
    "!=": lambda one, other: not _equal(one, other),
    "<": lambda one, other: _number(one) < _number(other),
    ">": lambda one, other: _number(one) > _number(other),
    "<=": lambda one, other: _number(one) <= _number(other),
    ">=": lambda one, other: _number(one) >= _number(other),
}


class _Parser:
    """Reads and evaluates one expression."""

    def __init__(self, body: str, contexts: Mapping[str, Any], functions: Mapping[str, Function]) -> None:
        self.body, self.contexts, self.functions = body, contexts, functions
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while body[place:].strip():
            match = _TOKEN.match(body, place)
            if match is None or match.lastgroup is None:
                self.fail(f"cannot be read from {body[place:].strip()!r} on")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()

    def fail(self, why: str) -> NoReturn:
        msg = f"the expression ${{{{ {self.body.strip()} }}}} {why}"
        raise ExpressionError(msg)

    def end(self) -> None:
        if self.tokens:
            self.fail(f"has {self.tokens[0][1]!r} where it should end")

    def sign(self, *signs: str) -> str:
        if self.tokens and self.tokens[0][0] == "sign" and self.tokens[0][1] in signs:
            return self.tokens.pop(0)[1]
        return ""

    def need(self, sign: str) -> None:
        if not self.sign(sign):
            self.fail(f"lacks {sign!r}")

    def either(self) -> Value:
        value = self.both()
        while self.sign("||"):
            other = self.both()
            value = value if truthy(value) else other
        return value

    def both(self) -> Value:
        value = self.compared()
        while self.sign("&&"):
            other = self.compared()
            value = other if truthy(value) else value
        return value

    def compared(self) -> Value:
        value = self.negated()
        while sign := self.sign(*_COMPARISONS):
            value = _COMPARISONS[sign](value, self.negated())
        return value

    def negated(self) -> Value:
        return not truthy(self.negated()) if self.sign("!") else self.operand()

    def operand(self) -> Value:
        if self.sign("("):
            value = self.either()
            self.need(")")
            return value
        if not self.tokens:
            self.fail("ends too early")
        kind, text = self.tokens.pop(0)
        match kind:
            case "string":
                return text[1:-1].replace("''", "'")
            case "number":
                return float(text)
            case "name" if self.sign("("):
                return self.call(text)
            case "name":
                return self.context(text)
            case _:
                return self.fail(f"has {text!r} where a value should be")

    def call(self, name: str) -> Value:
        arguments: list[Value] = []
        while not self.sign(")"):
            if arguments:
                self.need(",")
            arguments.append(self.either())
        if name.lower() not in self.functions:
            self.fail(f"uses {name}(): {', '.join(sorted(self.functions))} are known")
        return self.functions[name.lower()](*arguments)

    def context(self, name: str) -> Value:
        if name in _LITERALS:
            return _LITERALS[name]
        if name not in self.contexts:
            self.fail(f"is not known here: {', '.join(sorted(self.contexts))} are")
        value: Value = self.contexts[name]
        while sign := self.sign(".", "["):
            if sign == "[":
                key = shown(self.either())
                self.need("]")
            else:
                kind, key = self.tokens.pop(0) if self.tokens else ("", "")
                if kind != "name":
                    self.fail("lacks a name after '.'")
            value = self.property(value, key)
        return value

    def property(self, value: Value, key: str) -> Value:
        if isinstance(value, Mapping):
            if key in value:
                return cast("Value", value[key])
            if isinstance(value, Known):
                self.fail(f"is not known here: {key!r} is none of {', '.join(sorted(value))}")
        return None


__all__ = ["STATUS_FUNCTIONS", "ExpressionError", "Function", "Known", "Value", "evaluate", "fill", "holds", "shown", "truthy"]
