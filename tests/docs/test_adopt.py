"""docs/adopt.md: its table of settings is the settings, and its example is accepted."""

import json
import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from components.settings import Settings, parse
from tests.docs.kit import code, rows, section

PAGE, TABLE, EXAMPLE = "docs/adopt.md", "### Every key", "### A filled example"
# Given by the stack's name, and no key of its file.
NO_KEYS = {"stack"}


def bare(annotation: Any) -> Any:  # noqa: ANN401 — any annotation
    """An annotation without `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in {types.UnionType, Union}:
        return bare(next(each for each in get_args(annotation) if each is not types.NoneType))
    return annotation


def default(field: FieldInfo) -> str:
    """A field's default as the table writes it."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "{}"
    if value is None:
        return "none"
    return json.dumps(value, default=list)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key below `model` with its default; `<>` stands for a name that is chosen."""
    for name, field in model.model_fields.items():
        if not prefix and name in NO_KEYS:
            continue
        key = prefix + (field.alias or name)
        yield key, default(field)
        annotation = bare(field.annotation)
        if get_origin(annotation) in {Mapping, dict} or get_origin(annotation) is Mapping:
            annotation = bare(get_args(annotation)[1])
            key += ".<>"
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys(annotation, f"{key}.")


def documented() -> dict[str, str]:
    found: dict[str, str] = {}
    for cells in rows(section(PAGE, TABLE)):
        assert len(cells) == 4, f"not key, type, default, meaning: {cells}"
        assert all(cells), f"an empty cell: {cells}"
        key = re.sub(r"<[a-z]+>", "<>", code(cells[0]))
        assert key not in found, f"{key} stands twice"
        found[key] = cells[2].strip("`")
    return found


def test_every_setting_is_in_the_table_and_the_table_names_no_other() -> None:
    known, told = dict(keys(Settings)), documented()
    assert sorted(known.keys() - told.keys()) == [], "missing in docs/adopt.md"
    assert sorted(told.keys() - known.keys()) == [], "in docs/adopt.md, and no setting"


def test_the_table_tells_the_true_defaults() -> None:
    known, told = dict(keys(Settings)), documented()
    assert {key: told[key] for key in known} == known


def test_the_example_is_accepted() -> None:
    block = re.search(r"```yaml\n(.*?)```", section(PAGE, EXAMPLE), re.DOTALL)
    assert block
    config = yaml.safe_load(block[1])["config"]
    given = {key.removeprefix("slipway:"): value for key, value in config.items() if key.startswith("slipway:")}
    settings = parse(given, stack="dev")
    assert config["aws:allowedAccountIds"] == [settings.environment.account]
    assert config["aws:region"] == settings.environment.region
    assert config["github:owner"] == settings.organization.name
