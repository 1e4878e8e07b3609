"""Token, name and parent of a resource are a contract: who moves one without an alias deletes it and makes it anew.

The URNs of every stack stand in tests/urns. `python -m tests.test_urns` writes them anew, after a look at the difference: a
line that goes must have gone on purpose, or its resource needs an alias (https://www.pulumi.com/docs/iac/concepts/resources/options/aliases/).
"""

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from rehearsal.program import Declared, Program, evaluate
from tests.conftest import STACKS

_RECORDS: Final = Path(__file__).with_name("urns")


def recorded(stack: str) -> set[str]:
    """URNs as they were written down."""
    return set((_RECORDS / f"{stack}.txt").read_text(encoding="utf-8").split())


def declared(resources: Sequence[Declared]) -> set[str]:
    """URNs as they are declared."""
    return {each.urn for each in resources}


def moved(gone: Collection[str], resources: Sequence[Declared]) -> set[str]:
    """Those of the URNs `gone` that an alias stands for."""
    aliases = [alias for each in resources for alias in each.aliases]
    found: set[str] = set()
    for urn in gone:
        type_, name = urn.split("::")[2].rpartition("$")[2], urn.rpartition("::")[2]
        told = re.compile("|".join(re.escape(f'"{each}"') for each in (urn, type_, name)))
        if any(told.search(alias) for alias in aliases):
            found.add(urn)
    return found


def without_alias(stack: str, resources: Sequence[Declared]) -> list[str]:
    """URNs that were there and are gone, with no alias for them."""
    gone = recorded(stack) - declared(resources)
    return sorted(gone - moved(gone, resources))


@pytest.mark.parametrize("stack", STACKS)
def test_no_resource_has_moved_without_an_alias(stack: str, programs: Mapping[str, Program]) -> None:
    gone = without_alias(stack, programs[stack].resources)
    assert not gone, (
        f"an up of {stack} would delete and make anew: {gone}. Give each an alias; if it is to go, run: python -m tests.test_urns"
    )


@pytest.mark.parametrize("stack", STACKS)
def test_every_resource_is_written_down(stack: str, programs: Mapping[str, Program]) -> None:
    new = sorted(declared(programs[stack].resources) - recorded(stack))
    assert not new, f"new in {stack}, and not written down: {new}. Run: python -m tests.test_urns"


def test_a_component_that_is_renamed_is_found(programs: Mapping[str, Program]) -> None:
    renamed = [
        replace(each, urn=each.urn.replace("slipway:edge:Route", "slipway:edge:HostRule")) for each in programs["dev"].resources
    ]
    gone = without_alias("dev", renamed)
    assert "slipway:edge:Route" in gone[0]
    assert len(gone) == sum("slipway:edge:Route" in each for each in recorded("dev"))
    aliased = [replace(each, aliases=(f'urn: "{urn}"',)) for each, urn in zip(renamed, gone, strict=False)]
    assert without_alias("dev", [*renamed, *aliased]) == []


def main() -> int:
    """Write the URNs down."""
    _RECORDS.mkdir(exist_ok=True)
    for stack in STACKS:
        urns = sorted(declared(evaluate(stack).resources))
        (_RECORDS / f"{stack}.txt").write_text("\n".join(urns) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
