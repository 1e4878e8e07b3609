"""What of a resource as it stands was declared: servers add defaults and records of their own, which are no drift."""

from collections.abc import Mapping
from typing import Any, cast


def reduced(live: Any, declared: Any) -> Any:  # noqa: ANN401 — JSON
    """`live` with those of its keys, at any depth, that `declared` has.

    Entries of lists belong to each other by their place; a list of another length is kept whole, and so differs.
    """
    if isinstance(live, Mapping) and isinstance(declared, Mapping):
        there, wanted = cast("Mapping[str, Any]", live), cast("Mapping[str, Any]", declared)
        return {key: reduced(there[key], value) for key, value in wanted.items() if value is not None and key in there}
    if isinstance(live, list) and isinstance(declared, list):
        entries, others = cast("list[Any]", live), cast("list[Any]", declared)
        return [reduced(*each) for each in zip(entries, others, strict=True)] if len(entries) == len(others) else entries
    return cast("Any", live)


__all__ = ["reduced"]
