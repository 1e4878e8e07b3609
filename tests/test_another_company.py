"""The library is about any platform: another company's values, names and keys pass the check, and turn no test red.

`tests/another_company` shares no value with the example. Here it takes the place of a checkout's own settings and services, so
that whatever still reads those fails.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
COMPANY: Final = Path(__file__).parent / "another_company"
STACKS: Final = {"dev": "trial", "stg": "accept", "prd": "live"}
# Whatever a hurried reader could take for settings of the library's own.
READERS: Final = (
    "tests/bootstrap",
    "tests/checks/test_stack_files.py",
    "tests/components/test_service.py",
    "tests/components/test_settings.py",
    "tests/docs",
    "tests/rehearsal/cloud/test_table.py",
    "tests/rehearsal/engine/test_cli.py",
    "tests/rehearsal/test_program.py",
    "tests/test_program.py",
    "tests/test_stack_files.py",
    "tests/test_urns.py",
)


def leaves(value: object) -> Iterator[str]:
    """Every value of a stack file, as text."""
    if isinstance(value, (dict, list)):
        inner = cast("dict[str, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
        for each in inner:
            yield from leaves(each)
    else:
        yield str(value)


def values(folder: Path) -> set[str]:
    return {
        text
        for path in folder.glob("Pulumi.*.yaml")
        for text in leaves(yaml.safe_load(path.read_text(encoding="utf-8"))["config"])
    }


def settle(checkout: Path) -> None:
    """Put the other company's platform in the place of a checkout's own, as that company would."""
    for path in (*checkout.glob("Pulumi.*.yaml"), checkout / "services.py"):
        path.unlink()
    for path in COMPANY.iterdir():
        if path.suffix == ".yaml" or path.name == "services.py":
            (checkout / path.name).write_bytes(path.read_bytes())
    for name in ("deploy.yml", "preview.yml"):
        path = checkout / ".github" / "workflows" / name
        text = path.read_text(encoding="utf-8")
        for old, new in STACKS.items():
            text = re.sub(rf"\b{old}\b", new, text).replace(f"SLIPWAY_{old.upper()}_", f"SLIPWAY_{new.upper()}_")
        for new in STACKS.values():
            text = re.sub(rf"(^    environment: ){new}$", rf"\1aws-{new}", text, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout with the other company's platform."""
    folder = tmp_path_factory.mktemp("company") / "platform"
    folder.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607 — as a user
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    (folder / "dist").symlink_to(ROOT / "dist")
    settle(folder)
    return folder


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLIPWAY_", "PYTEST_"))}
    done = subprocess.run(  # noqa: S603 — our own modules
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_other_company_shares_no_value_that_identifies_with_the_example() -> None:
    shared = values(COMPANY) & values(ROOT / "tests" / "example")
    # Words of Slipway's own, numbers of machines, and versions; none names a company's thing.
    assert {each for each in shared if not re.fullmatch(r"True|arm64|amd64|main|\d{1,3}|1\.\d\d", each)} == set()


def test_the_other_company_passes_make_check(checkout: Path) -> None:
    status, said = run(checkout, "checks")
    assert status == 0, said
    assert "accept, live, trial agree" in said
    assert "deploy.yml and preview.yml run every stack" in said


def test_the_librarys_tests_do_not_notice(checkout: Path) -> None:
    status, said = run(checkout, "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow", *READERS)
    assert status == 0, said
