"""What may still be missing on the first day: bootstrap and its check run before CodePipeline is connected."""

from collections.abc import Mapping
from typing import Any, Final, cast

_NO_CONNECTION: Final = "00000000-0000-0000-0000-000000000000"


def without_connection(given: Mapping[str, Any], stack: str) -> Mapping[str, Any]:
    """Fill a missing `builds.connectionArn` of a hosting stack, so that the rest of its settings is still validated.

    `pulumi up` goes another way and refuses such a stack. A wrong or unknown key is left to the settings to report.

    Args:
        given: Keys of the namespace `slipway:` as the stack file has them.
        stack: Name of the stack.
    """
    here = _mapping(_mapping(given.get("environments")).get(stack))
    hosts = any(_mapping(track).get("host") == stack for track in _mapping(given.get("tracks")).values())
    # A key with nothing below it reads as null.
    builds: object = given.get("builds") or dict[str, Any]()
    if not hosts or not isinstance(builds, Mapping) or "connectionArn" in builds:
        return given
    arn = f"arn:aws:codeconnections:{here.get('region')}:{here.get('account')}:connection/{_NO_CONNECTION}"
    return {**given, "builds": {**cast("Mapping[str, Any]", builds), "connectionArn": arn}}


def is_connected(connection_arn: str) -> bool:
    """Return whether the stack file names a connection."""
    return not connection_arn.endswith(f"/{_NO_CONNECTION}")


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
