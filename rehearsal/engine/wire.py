"""Properties as they travel between engine and plugins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from google.protobuf import json_format, struct_pb2
from pulumi.runtime.rpc import (
    UNKNOWN,
    _special_archive_sig,  # pyright: ignore[reportPrivateUsage] — the wire's own constants
    _special_asset_sig,  # pyright: ignore[reportPrivateUsage] — same
    _special_resource_sig,  # pyright: ignore[reportPrivateUsage] — same
    _special_secret_sig,  # pyright: ignore[reportPrivateUsage] — same
    _special_sig_key,  # pyright: ignore[reportPrivateUsage] — same
)

_OUTPUT_SIG: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
"""Marks an output with its dependencies (pulumi's sdk/go/common/resource/properties.go: OutputValueSig)."""


def read(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A struct as plain data, its marks left in."""
    return json_format.MessageToDict(struct)


def write(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Plain data as a struct."""
    return json_format.ParseDict({key: value for key, value in values.items() if value is not None}, struct_pb2.Struct())


def plain(value: Any, folder: Path) -> Any:  # noqa: ANN401, PLR0911 — JSON; one for each kind of it
    """`value` as the table reads it: secrets unwrapped, files as `{"path"}` below `folder`, resources by id.

    What is not known yet stays the engine's mark for it.
    """
    if isinstance(value, list):
        return [plain(each, folder) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    found = cast("dict[str, Any]", value)
    match found.get(_special_sig_key):
        case None:
            return {key: plain(each, folder) for key, each in found.items()}
        case sig if sig == _special_secret_sig:
            return plain(found.get("value"), folder)
        case sig if sig == _OUTPUT_SIG:
            return plain(found.get("value", UNKNOWN), folder)
        case sig if sig in {_special_asset_sig, _special_archive_sig}:
            # A state keeps the hash of a file, and not where it was.
            return {"path": str(folder / str(found["path"])) if found.get("path") else ""}
        case sig if sig == _special_resource_sig:
            return found.get("id") or found.get("urn")
        case sig:
            msg = f"a property carries the mark {sig}, which this side of the wire does not know"
            raise ValueError(msg)


def reference(value: Any) -> str | None:  # noqa: ANN401 — JSON
    """URN of the resource that `value` refers to, if it does."""
    if not isinstance(value, dict):
        return None
    found = cast("dict[str, Any]", value)
    if found.get(_special_sig_key) == _special_resource_sig:
        return str(found["urn"])
    return reference(found.get("value")) if found.get(_special_sig_key) in {_OUTPUT_SIG, _special_secret_sig} else None


def is_marked(value: Mapping[str, Any]) -> bool:
    """Whether `value` is no block but a secret, a file, or the like."""
    return _special_sig_key in value


def comparable(value: Any) -> Any:  # noqa: ANN401 — JSON
    """`value` without secrecy, and files by what is in them: what two states of a property are compared by."""
    if isinstance(value, list):
        return [comparable(each) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    found = cast("dict[str, Any]", value)
    match found.get(_special_sig_key):
        case None:
            return {key: comparable(each) for key, each in found.items() if not key.startswith("__")}
        case sig if sig in {_special_secret_sig, _OUTPUT_SIG}:
            return comparable(found.get("value", UNKNOWN))
        case _:
            return found.get("hash") or found.get("id") or found.get("urn")


def known(value: Any) -> Any:  # noqa: ANN401 — JSON
    """`value` with None for all that is not known yet."""
    if isinstance(value, list):
        return [known(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: known(each) for key, each in cast("dict[str, Any]", value).items()}
    return None if value == UNKNOWN else value


def has_unknown(value: Any) -> bool:  # noqa: ANN401 — JSON
    """Whether anything in `value` is not known yet."""
    if isinstance(value, list):
        return any(map(has_unknown, cast("list[Any]", value)))
    if isinstance(value, dict):
        return any(map(has_unknown, cast("dict[str, Any]", value).values()))
    return value == UNKNOWN


__all__ = ["UNKNOWN", "comparable", "has_unknown", "is_marked", "known", "plain", "read", "reference", "write"]
