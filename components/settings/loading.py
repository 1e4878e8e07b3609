"""Reads the settings of a stack: from the engine's configuration (`load`), or from its file (`read_settings`)."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pydantic import ValidationError

from components.settings import account
from components.settings.describe import PREFIX, Written, sentences
from components.settings.files import SettingsError, file_name, read_stack_file
from components.settings.model import Settings

_STRUCTURE: Final = re.compile(r"\s*[\[{]")


def load() -> Settings:
    """Read this stack's settings, and make sure that they are true of the account at hand.

    The form comes first, then what AWS knows: nothing is asked about settings that are wrong by themselves.

    Returns:
        The settings, frozen.

    Raises:
        SettingsError: a key is missing, unknown or wrong, or does not fit the account or its caller.
    """
    stack = pulumi.get_stack()
    faults: list[str] = []
    given = _given("slipway", faults)
    if faults:
        raise SettingsError("\n".join(faults))
    # The engine starts the program in the folder of Pulumi.yaml.
    settings = parse(given, stack=stack, written=written_in(stack, Path.cwd()))
    _check_provider(settings)
    account.check(settings)
    return settings


def read_settings(stack: str, root: Path) -> Settings:
    """Read the settings of `stack` from its file in `root`, without an engine and without asking AWS.

    Raises:
        SettingsError: there is no such file, it does not parse, or a setting is missing, unknown or wrong.
    """
    found = read_stack_file(stack, root)
    return parse(found.namespace("slipway"), stack=stack, written=found.written)


def parse(given: Mapping[str, Any], *, stack: str, written: Written | None = None) -> Settings:
    """Check `given`, the keys of the `slipway:` namespace, for `stack`.

    Args:
        given: Values by key, as YAML or JSON has them.
        stack: Name of the stack.
        written: What the stack file holds, for messages.

    Raises:
        SettingsError: with one line for each fault, which names the key, the value, what is expected, and the fix.
    """
    if "stack" in given:
        msg = f"{PREFIX}stack is set, but the stack's name is no setting. Remove the key from {file_name(stack)}."
        raise SettingsError(msg)
    try:
        # As JSON, strictly: text is no number and no truth value, whatever it looks like.
        return Settings.model_validate_json(
            json.dumps({**given, "stack": stack}, default=str), strict=True, by_alias=True, by_name=False
        )
    except ValidationError as error:
        lines = sentences(Settings, error.errors(include_url=False), written or Written(file_name(stack), {}, {}))
        raise SettingsError("\n".join(lines)) from None


def written_in(stack: str, root: Path) -> Written | None:
    """Return what the file of `stack` holds, or None where there is none that can be read."""
    try:
        return read_stack_file(stack, root).written
    except (SettingsError, OSError):
        return None


def _given(namespace: str, faults: list[str]) -> dict[str, Any]:
    """Return every key set in `namespace`: unknown keys too, which `pulumi.Config` would never show."""
    config = pulumi.Config(namespace)
    prefix = f"{namespace}:"
    keys = sorted({key.removeprefix(prefix) for key in {**get_config_env(), **CONFIG.get()} if key.startswith(prefix)})
    found: dict[str, Any] = {}
    for key in keys:
        text = config.require(key)
        try:
            found[key] = json.loads(text) if _STRUCTURE.match(text) else text
        except json.JSONDecodeError:
            faults.append(
                f"{prefix}{key} is the text {text!r}, which looks like YAML or JSON but arrives as plain text: "
                "`pulumi config set` "
                f"parses no structure. Write the value into {file_name(pulumi.get_stack())} by hand, or set its parts with "
                f"`pulumi config set --path '{prefix}{key}.<key>' <value>`."
            )
    return found


def _check_provider(settings: Settings) -> None:
    """Compare what the providers are told with the settings: they must not act on another account or region."""
    faults: list[str] = []
    given = _given("aws", faults)
    environment, file = settings.environment, file_name(settings.stack)
    allowed = given.get("allowedAccountIds")
    if not faults and allowed != [environment.account]:
        faults.append(
            f"aws:allowedAccountIds is {_said(allowed)}, but {settings.stack} is account {environment.account}. "
            f'Write ["{environment.account}"], with the quotes, in {file}.'
        )
    for key, value, wanted, why in (
        ("aws:region", given.get("region"), environment.region, f"{PREFIX}environments.{settings.stack}.region"),
        ("github:owner", pulumi.Config("github").get("owner"), settings.organization.name, f"{PREFIX}organization.name"),
    ):
        if value != wanted:
            faults.append(f"{key} is {_said(value)}, but {why} is {wanted!r}. Make them equal in {file}.")
    if faults:
        raise SettingsError("\n".join(faults))


def _said(value: object) -> str:
    return "missing" if value is None else repr(value)
