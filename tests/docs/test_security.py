"""docs/security.md: each row names attacks that exist, and no holder, role, secret or attack is missing."""

import ast
import re
from collections.abc import Mapping
from functools import cache
from typing import Final

import pytest

from components import naming
from rehearsal.program import Program
from tests.docs.kit import ROOT, code, rows, section

PAGE: Final = "docs/security.md"
# Beginnings of first cells, each for one kind of holder: administrators, keys of Apps, repositories, and what runs.
HOLDERS: Final = (
    "administrator of dev's account",
    "administrator of stg's account",
    "administrator of prd's account",
    "key of App writer `develop`",
    "key of App writer `release`",
    "key of App promoter",
    "key of App reader",
    "key of App build reporter",
    "key of App deployer of dev or stg",
    "key of App deployer of the owner",
    "preview role",
    "deploy role",
    "write access to the GitOps repository",
    "write access to an application repository",
    "write access to a branch of the platform repository",
    "a merge to `main` of the platform repository",
    "a compromised build",
    "a compromised pod of a service with `permissions`",
    "a compromised pod of a service without `permissions`",
    "a compromised node",
)
# Tests of tests/security that attack nothing themselves: they hold the other tests to their word.
NO_ATTACKS: Final = {
    "test_every_declared_role_is_judged": "no role escapes the rows",
    "test_a_widened_statement_of_a_role_is_seen": "a widening turns a row red",
    "test_a_planted_statement_about_any_kind_of_resource_is_seen": "a widening turns a row red",
    "test_a_resource_s_policy_that_lets_another_account_in_is_seen": "a widening turns a row red",
}


def table() -> list[list[str]]:
    """Return the rows of the first table."""
    return rows(section(PAGE, "## Who reaches what").split("\n### ")[0])


@cache
def attacks_in(path: str) -> frozenset[str]:
    """Return the tests that a file defines at its top."""
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return frozenset(each.name for each in tree.body if isinstance(each, ast.FunctionDef) and each.name.startswith("test_"))


def named(cells: list[str]) -> list[tuple[str, str]]:
    """Return file and name of each test that a row names."""
    found = re.findall(r"`([^`]+)`", cells[-1])
    assert all(each.count("::") == 1 for each in found), found
    return [(path, name) for path, _, name in (each.partition("::") for each in found)]


@pytest.mark.parametrize("cells", table(), ids=lambda cells: cells[0])
def test_every_row_is_whole_and_names_attacks_that_exist(cells: list[str]) -> None:
    assert len(cells) == 4
    assert all(cells)
    assert named(cells)
    for path, name in named(cells):
        assert (ROOT / "tests" / path).is_file(), path
        assert name in attacks_in(path), f"{path} has no test {name}"


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_kind_of_holder_has_one_row(holder: str) -> None:
    assert len([cells for cells in table() if re.split(r"[:,] |$", cells[0])[0].startswith(holder)]) == 1


def test_every_attack_is_named_by_a_row() -> None:
    folder = ROOT / "tests" / "security"
    attacks = {
        (f"security/{path.name}", name) for path in folder.glob("test_*.py") for name in attacks_in(f"security/{path.name}")
    }
    attacks |= {("roles/test_attacks.py", name) for name in attacks_in("roles/test_attacks.py")}
    told = {each for cells in table() for each in named(cells)}
    assert {name for _, name in attacks - told} == NO_ATTACKS.keys()


def pattern(name: str) -> re.Pattern[str]:
    """Return what a name with parts in angle brackets stands for."""
    return re.compile("[a-z0-9-]+".join(re.escape(each) for each in re.split(r"<[^>]+>", name)))


def test_every_declared_role_is_in_one_row_and_no_row_is_left_over(programs: Mapping[str, Program]) -> None:
    from tests.security.test_accounts import evaluated  # noqa: PLC0415 — it evaluates programs

    told = [(name, pattern(name)) for cells in table() for name in re.findall(r"`(slipway-<[^`]+)`", cells[0])]
    declared = {
        str(each.inputs["name"])
        for found in (programs, evaluated())
        for program in found.values()
        for each in program.of("aws:iam/role:Role")
    }
    assert {role for role in declared if not any(each.fullmatch(role) for _, each in told)} == set()
    assert {name for name, each in told if not any(map(each.fullmatch, declared))} == set()


def test_every_secret_is_told_under_the_name_that_the_code_gives_it(programs: Mapping[str, Program]) -> None:
    kept = {code(cells[1]) for cells in rows(section(PAGE, "## Secrets")) if cells[1].startswith("Secrets Manager")}
    assert kept == {
        naming.app_key_secret("<track>"),
        naming.reporter_key_secret(),
        naming.argocd_secret("reader"),
        naming.argocd_secret("ui"),
        naming.argocd_secret("webhook-<colour>"),
    }
    places = " ".join(cells[1] for cells in rows(section(PAGE, "## Secrets")))
    assert f"secret of the environment `{naming.PROMOTER_ENVIRONMENT}`" in places
    declared = {
        str(each.inputs["name"]) for program in programs.values() for each in program.of("aws:secretsmanager/secret:Secret")
    }
    in_state = [cells for cells in rows(section(PAGE, "## Secrets")) if cells[3] != "no"]
    assert all(any(pattern(code(cells[1])).fullmatch(each) for cells in in_state) for each in declared)
    assert declared
