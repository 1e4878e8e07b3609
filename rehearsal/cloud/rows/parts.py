"""What rows share: answers of APIs in Pulumi's names, and what an update does to tags."""

from collections.abc import Mapping
from typing import Any

from rehearsal.cloud.row import Ask, Inputs, same


def ours(found: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """An API's answer under Pulumi's names: `Inputs.renamed` the other way round."""
    return {mine: found[theirs] for mine, theirs in names.items() if found.get(theirs) is not None}


def told(ask: Ask, found: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
    """What a read tells: without what is empty or stands at AWS's default, unless the program declares it."""
    declared = ask.request.inputs
    return {key: value for key, value in found.items() if declared.get(key) is not None or not same(value, defaults.get(key))}


def tag_changes(ask: Ask) -> tuple[dict[str, str], list[str]]:
    """Tags that an update sets, and the keys of those that it takes away."""
    new, old = ask.inputs.tags(), Inputs(ask.old).tags()
    return {key: value for key, value in new.items() if old.get(key) != value}, [key for key in old if key not in new]


__all__ = ["ours", "tag_changes", "told"]
