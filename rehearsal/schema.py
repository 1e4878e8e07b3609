"""What the Pulumi SDKs' own classes say of a resource's inputs: which properties there are, which are required, their types.

Inputs are judged as the engine sends them: camelCase, plain JSON. Every resource class has one class of arguments, which
its overloads of `__init__` name; that one's keywords and annotations are the schema. Providers convert booleans and
numbers that are written as text, so those pass here too.
"""

import difflib
import enum
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import re
import sys
import threading
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

import pulumi
from pulumi._types import input_type_py_to_pulumi_names, is_input_type
from pulumi.runtime.rpc import (
    UNKNOWN,
    _special_archive_sig,  # pyright: ignore[reportPrivateUsage] — the wire's own constants
    _special_asset_sig,  # pyright: ignore[reportPrivateUsage] — same
    _special_resource_sig,  # pyright: ignore[reportPrivateUsage] — same
    _special_secret_sig,  # pyright: ignore[reportPrivateUsage] — same
    _special_sig_key,  # pyright: ignore[reportPrivateUsage] — same
    get_resource_module,
    get_resource_package,
)

_OUTPUT_SIG: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
"""Marks an output with its dependencies (pulumi's sdk/go/common/resource/properties.go: OutputValueSig)."""

_PROVIDERS: Final = "pulumi:providers:"
# The engine's own, which it puts beside any provider's configuration.
_OF_PROVIDERS: Final = frozenset({"version", "pluginDownloadURL"})
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_$][\w$]*")
_LONGEST_SHOWN: Final = 40

# Modules of the SDKs are loaded when they are first used, by importlib's LazyLoader, which is not safe among threads in
# Python 3.11 (https://github.com/python/cpython/issues/114763).
_loading: Final = threading.RLock()


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input.

    Attributes:
        property: Path of the property as the engine writes it, such as `scalingConfig.minSize`; "" for the type itself.
        problem: What was got, what is allowed. No text that could be a secret stands in it.
    """

    property: str
    problem: str


def faults(type_token: str, inputs: Mapping[str, Any]) -> list[Fault]:
    """What the SDK's class for `type_token` would not have taken; nothing for kinds without a class.

    Args:
        type_token: A resource's type, or a provider's (`pulumi:providers:aws`), whose structures may be JSON in strings.
        inputs: Properties as the engine sends them. Values that are not known yet fit anywhere; None is not given.
    """
    with _loading:
        shape = _shape_of(type_token)
        if shape is None:
            return _no_class(type_token)
        provider = type_token.startswith(_PROVIDERS)
        declared = {key: value for key, value in inputs.items() if not (provider and key in _OF_PROVIDERS)}
        return _of_object(declared, shape, _Place(encoded=provider))


def known(type_token: str) -> bool:
    """Whether an SDK has a class for the type: components and custom resources of a cluster have none."""
    with _loading:
        return _shape_of(type_token) is not None


def is_input(type_token: str, key: str) -> bool:
    """Whether `key` can be declared, rather than only read; always so for kinds without a class."""
    with _loading:
        shape = _shape_of(type_token)
        return shape is None or key in shape.annotations


# What there is


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """An object's properties by their names on the wire.

    Attributes:
        title: What messages call it.
        annotations: Types as the class has them, forward references in them.
        required: Those that must be given.
        module: Where forward references are looked up.
    """

    title: str
    annotations: Mapping[str, object]
    required: frozenset[str]
    module: types.ModuleType


@functools.cache
def _shape_of(token: str) -> _Shape | None:
    resource = _class_of(token)
    if resource is None:
        return None
    module = sys.modules[resource.__module__]
    overloads = typing.get_overloads(cast("Callable[..., object]", resource.__init__))
    hints = [each.__annotations__["args"] for each in overloads if "args" in each.__annotations__]
    (arguments,) = (each for hint in hints for each in _alternatives(hint, module))
    return replace(_shape(cast("type", arguments)), title=token)


def _class_of(token: str) -> type | None:
    """The SDK's class, by the SDK's own register of them."""
    if token.startswith(_PROVIDERS):
        package = token.removeprefix(_PROVIDERS)
        entry = get_resource_package(package, "") if _load(package) else None
        info = cast("dict[str, Any]", getattr(entry, "pkg_info", {}))
        name = info.get("class")
    else:
        info = _module_of(token)
        name = info.get("classes", {}).get(token)
    return getattr(importlib.import_module(info["fqn"]), name) if name else None


def _module_of(token: str) -> dict[str, Any]:
    """What the register says of the module that `token` names; empty if there is none."""
    package, _, rest = token.partition(":")
    if not _load(package):
        return {}
    return cast("dict[str, Any]", getattr(get_resource_module(package, rest.rpartition(":")[0], ""), "mod_info", {}))


@functools.cache
def _load(package: str) -> bool:
    """Import an SDK, which then registers its classes; whether there is one."""
    name = f"pulumi_{package}"
    if not name.isidentifier() or importlib.util.find_spec(name) is None:
        return False
    importlib.import_module(name)
    return True


def _no_class(token: str) -> list[Fault]:
    """Providers refuse types that they do not have; what a cluster has besides Kubernetes' own, its API server knows."""
    package = token.partition(":")[0]
    there = cast("dict[str, str]", _module_of(token).get("classes", {}))
    if not _load(package) or (package == "kubernetes" and not there):
        return []
    version = importlib.metadata.version(f"pulumi-{package}")
    return [Fault("", f"pulumi_{package} {version} has no type {token}{_instead(token, there)}")]


@functools.cache
def _shape(arguments: type) -> _Shape:
    """Properties of a class of arguments: its keywords are named as its getters are, which know the wire's names."""
    constructor = cast("types.FunctionType", arguments.__init__)
    wire = input_type_py_to_pulumi_names(arguments)
    hints = {name: hint for name, hint in constructor.__annotations__.items() if name != "return"}
    optional = constructor.__kwdefaults__ or {}
    return _Shape(
        title=arguments.__name__.removesuffix("Args"),
        annotations={wire[name]: hint for name, hint in hints.items()},
        required=frozenset(wire[name] for name in hints if name not in optional),
        module=sys.modules[arguments.__module__],
    )


@functools.cache
def _alternatives(annotation: object, module: types.ModuleType) -> tuple[object, ...]:
    """The types that a plain value may have: `Input`, `Optional`, unions and forward references resolved."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        # `Input[T]` is a union of T, an awaitable of it, and a forward reference to Output[T].
        return () if annotation.startswith("Output[") else _alternatives(_named(annotation, module), module)
    origin = typing.get_origin(annotation)
    if origin in {typing.Union, types.UnionType}:
        return tuple(each for part in typing.get_args(annotation) for each in _alternatives(part, module))
    return () if annotation is types.NoneType or origin in {Awaitable, pulumi.Output} else (annotation,)


def _named(reference: str, module: types.ModuleType) -> object:
    first, *rest = reference.split(".")
    return functools.reduce(getattr, rest, vars(module)[first])


# What is given


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a value stands.

    Attributes:
        path: Property path from the resource.
        secret: Whether it is marked as a secret.
        encoded: Whether what stands below may be JSON in a string.
    """

    path: str = ""
    secret: bool = False
    encoded: bool = False

    def below(self, key: str | int) -> "_Place":
        """The place of one of its parts."""
        if isinstance(key, int):
            step = f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key):
            step = f".{key}" if self.path else key
        else:
            step = f"[{json.dumps(key)}]"
        return _Place(path=self.path + step, secret=self.secret)


def _bare(value: object, place: _Place) -> tuple[object, _Place]:
    """`value` out of what the wire wraps around it."""
    if not isinstance(value, dict):
        return value, place
    found = cast("dict[str, object]", value)
    match found.get(_special_sig_key):
        case mark if mark == _special_secret_sig:
            return _bare(found.get("value"), replace(place, secret=True))
        case mark if mark == _OUTPUT_SIG:
            return _bare(found.get("value", UNKNOWN), replace(place, secret=place.secret or bool(found.get("secret"))))
        case _:
            return found, place


def _of_object(values: Mapping[str, object], shape: _Shape, place: _Place) -> list[Fault]:
    found: list[Fault] = []
    given: set[str] = set()
    for key, raw in values.items():
        value, there = _bare(raw, place.below(key))
        if _is_the_engines(key) or value is None:
            continue
        given.add(key)
        if key in shape.annotations:
            allowed = _alternatives(shape.annotations[key], shape.module)
            found += _of_value(value, allowed, shape.module, replace(there, encoded=place.encoded))
        else:
            found.append(Fault(there.path, f"{shape.title} has no property {key}{_instead(key, shape.annotations)}"))
    missing = sorted(shape.required - given)
    return found + [Fault(place.below(key).path, f"{shape.title} requires {key}: it is missing") for key in missing]


def _of_value(value: object, allowed: Sequence[object], module: types.ModuleType, place: _Place) -> list[Fault]:
    if value == UNKNOWN or Any in allowed:
        return []
    tried = [each for each in (_against(value, kind, module, place) for kind in allowed) if each is not None]
    if tried:
        return min(tried, key=len)
    if place.encoded and isinstance(value, str):
        decoded = _decoded(value)
        if decoded is not None:
            return _of_value(decoded, allowed, module, replace(place, encoded=False))
    wanted = " or ".join(dict.fromkeys(map(_described, allowed)))
    return [Fault(place.path, f"got {_shown(value, allowed, place)}, allowed is {wanted}")]


def _against(value: object, kind: object, module: types.ModuleType, place: _Place) -> list[Fault] | None:
    """What is wrong inside `value` as one of `kind`; None if it is something else altogether."""
    if isinstance(value, dict):
        return _dict_against(cast("dict[str, object]", value), kind, module, place)
    if isinstance(value, list):
        if typing.get_origin(kind) is not Sequence:
            return None
        items = dict(enumerate(cast("list[object]", value)))
        return _of_items(items, typing.get_args(kind)[0], module, place)
    return [] if _is_scalar(value, kind) else None


def _dict_against(value: dict[str, object], kind: object, module: types.ModuleType, place: _Place) -> list[Fault] | None:
    if _is_a(kind, pulumi.Asset, pulumi.Archive):
        return [] if _is_file(value) else None
    if _is_a(kind, pulumi.Resource):
        return [] if value.get(_special_sig_key) == _special_resource_sig or "urn" in value else None
    if _special_sig_key in value:
        return None
    if _is_object(kind):
        return _of_object(value, _shape(cast("type", kind)), place)
    if typing.get_origin(kind) is Mapping:
        items = {key: each for key, each in value.items() if not _is_the_engines(key)}
        return _of_items(items, typing.get_args(kind)[1], module, place)
    return None


def _of_items(items: Mapping[Any, object], annotation: object, module: types.ModuleType, place: _Place) -> list[Fault]:
    allowed = _alternatives(annotation, module)
    found: list[Fault] = []
    for key, raw in items.items():
        value, there = _bare(raw, place.below(key))
        if value is not None:
            found += _of_value(value, allowed, module, there)
    return found


def _is_scalar(value: object, kind: object) -> bool:
    """Whether a text, number or boolean is one of `kind`.

    Raises:
        TypeError: no value on the wire is known for `kind`.
    """
    if typing.get_origin(kind) is Literal or _is_a(kind, enum.Enum):
        return value in _values(kind)
    if kind is str or _is_a(kind, pulumi.Resource):
        # A resource travels as its id where the receiver takes no references.
        return isinstance(value, str)
    if kind is bool:
        return isinstance(value, bool) or value in ("true", "false")
    if kind is int or kind is float:
        number = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
        return isinstance(number, int | float) and not isinstance(number, bool) and (kind is float or float(number).is_integer())
    if typing.get_origin(kind) in {Sequence, Mapping} or _is_object(kind) or _is_a(kind, pulumi.Asset, pulumi.Archive):
        return False
    msg = f"an SDK asks for {kind!r}, which rehearsal/schema.py does not know: say in _is_scalar what is sent for it"
    raise TypeError(msg)


def _is_file(value: Mapping[str, object]) -> bool:
    """Whether `value` is an asset or archive: as the wire marks it, or as the rehearsal's own `{"path"}`."""
    return value.get(_special_sig_key) in {_special_asset_sig, _special_archive_sig} or set(value) == {"path"}


def _is_a(kind: object, *classes: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, classes)


def _is_object(kind: object) -> bool:
    return isinstance(kind, type) and is_input_type(kind)


def _is_the_engines(key: str) -> bool:
    return key.startswith("__")


def _values(kind: object) -> tuple[object, ...]:
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    return tuple(each.value for each in cast("type[enum.Enum]", kind))


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


# Words


def _described(kind: object) -> str:
    plain: dict[object, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    if kind in plain:
        return plain[kind]
    match typing.get_origin(kind):
        case origin if origin is Sequence:
            return "a list"
        case origin if origin is Mapping:
            return "a map"
        case origin if origin is Literal or _is_a(kind, enum.Enum):
            return " or ".join(json.dumps(each) for each in _values(kind))
        case _ if _is_a(kind, pulumi.Asset, pulumi.Archive):
            return "a file or archive"
        case _:
            name = cast("type", kind).__name__.removesuffix("Args")
            return f"a resource {name}" if _is_a(kind, pulumi.Resource) else f"an object ({name})"


def _shown(value: object, allowed: Sequence[object], place: _Place) -> str:
    """A value where that helps and tells no secret, which nobody gives for a number, a boolean, or one of a few words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    harmless = any(_is_a(each, int, float) or typing.get_origin(each) is Literal or _is_a(each, enum.Enum) for each in allowed)
    text = json.dumps(value)
    if harmless and not place.secret and len(text) <= _LONGEST_SHOWN:
        return text
    return "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "a number"


def _instead(name: str, there: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, there, n=1)
    if near:
        return f": did you mean {near[0]}?"
    return f"; it has {', '.join(sorted(there))}" if there else ""


__all__ = ["Fault", "faults", "is_input", "known"]
