"""`make check` as a team runs it: a sentence for each kind of fault, status 1, and no traceback."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from checks.programs import evaluate
from tests.checks.kit import ROOT, check, copy_example, finding, replace, replace_everywhere

CALL: Final = '    Service("invoices", ServiceArgs(platform=platform, repository="invoices"))'


def test_the_example_passes_with_little_work(tmp_path: Path) -> None:
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    status, said = check(copy_example(tmp_path))
    assert status == 0, said
    # Processor seconds, which a busy machine stretches less than a clock's.
    assert sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before < 25, said
    assert "dev declares" in said
    assert "URNs are not compared" in said
    assert said.rstrip().splitlines()[-1].startswith("check: no finding (")


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ("    raise ValueError('no luck')", "services.py, line 15: ValueError: no luck. Correct the code there."),
        (
            '    Service("invoices", ServiceArgs(platform=platform, repo="x"))',
            "services.py, line 15: ServiceArgs has no argument repo.",
        ),
        ("    import nowhere_to_be_found", "services.py, line 15: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("    raise SystemExit(0)", "services.py, line 15 ended the program by itself (exit 0). Remove that call."),
        ("    import os; os._exit(0)", "The program ended its process (exit 0) before it had declared everything."),
        ("    Service(", "services.py, line 15: '(' was never closed. Correct the Python code there."),
        ("    1 / 0", "services.py, line 15: ZeroDivisionError: division by zero."),
        (CALL.replace('"invoices", S', '"storefront", S'), "service 'storefront' is declared twice"),
        (CALL.replace("))", ', port=8080, host="storefront"))'), "service 'invoices' has host 'storefront', which service"),
        (CALL.replace('"invoices", S', '"kube-system", S'), "service name 'kube-system' is a namespace of the platform"),
        (CALL.replace('"invoices", S', '"' + "a" * 41 + '", S'), "service name 'aaaa"),
    ],
)
def test_what_is_wrong_with_services_is_said_with_the_line(tmp_path: Path, new: str, expected: str) -> None:
    replace(copy_example(tmp_path), "services.py", CALL, new)
    fault = evaluate(ROOT, tmp_path, ["dev"]).faults["dev"]
    assert fault.startswith((expected, f"services.py, line 15: {expected}")), fault
    assert "Traceback" not in fault
    assert fault.endswith(".")


def test_a_fault_of_every_stack_is_told_once(tmp_path: Path) -> None:
    replace(copy_example(tmp_path), "services.py", CALL, "    raise ValueError('no luck')")
    said = finding(tmp_path)
    assert said.count("no luck") == 1
    assert "dev, prd, stg: services.py, line 15: ValueError: no luck. Correct the code there." in said


def test_more_services_than_a_load_balancer_holds_are_refused(tmp_path: Path) -> None:
    one = 'Service(f"shop-{number}", ServiceArgs(platform=platform, repository="shop", port=8080))'
    many = f"    for number in range(100):\n        {one}"
    replace(copy_example(tmp_path), "services.py", CALL, many)
    assert "public services in 1 colours need" in finding(tmp_path)


def test_a_catalogue_that_is_not_there_is_named(tmp_path: Path) -> None:
    (copy_example(tmp_path) / "services.py").unlink()
    assert f"There is no services.py in {tmp_path}: it holds the catalogue" in finding(tmp_path)


def test_a_wrong_setting_is_told_by_its_stack(tmp_path: Path) -> None:
    replace(copy_example(tmp_path), "Pulumi.stg.yaml", "weight: 100", "weight: 90")
    said = finding(tmp_path)
    assert "stg: slipway:clusters.blue.weight is 90" in said
    assert "\ndev: slipway" not in said


def test_files_that_disagree_and_a_secret_are_told_together(tmp_path: Path) -> None:
    replace(copy_example(tmp_path), "Pulumi.stg.yaml", "id: 4202137", "id: 4202138")
    replace(tmp_path, "Pulumi.dev.yaml", "aws:region: eu", "a:note: ghp_abcdefghijklmnopqrstuvwxyz0123456789\n  aws:region: eu")
    said = finding(tmp_path)
    assert "slipway:organization.id is 4202137 in Pulumi.dev.yaml and 4202138 in Pulumi.stg.yaml" in said
    assert "Pulumi.dev.yaml, line 2, holds a GitHub token" in said


def test_yaml_that_does_not_parse_is_told_with_file_and_line(tmp_path: Path) -> None:
    replace(copy_example(tmp_path), "Pulumi.dev.yaml", "  slipway:network: {}", "\tslipway:network: {}")
    said = finding(tmp_path)
    assert "Pulumi.dev.yaml, line " in said
    assert "a tab indents the line" in said


def git(folder: Path, *arguments: str) -> None:
    who = {f"GIT_{role}_{what}": "alice@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, **who}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S603, S607 — as a user


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A team's repository with the example's platform at its root, on a branch that began at main."""
    folder = tmp_path_factory.mktemp("team") / "platform"
    folder.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607 — as a user
    for name in filter(None, listed.stdout.split("\0")):
        if (
            name.split("/")[0] in {"components", "rehearsal", "checks", "scaffold", "functions", "__main__.py"}
            and (ROOT / name).is_file()
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    copy_example(folder)
    (folder / "dist").symlink_to(ROOT / "dist")
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitignore").write_text("dist\n__pycache__\n", encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Begin")
    git(folder, "checkout", "-q", "-b", "topic")
    return folder


@pytest.fixture
def team(checkout: Path) -> Iterator[Path]:
    """The same, put back afterwards."""
    yield checkout
    git(checkout, "checkout", "-q", "--", ".")


def test_the_main_branch_itself_is_not_compared(team: Path) -> None:
    status, said = check(team, root=team)
    assert status == 0, said
    assert "URNs are not compared: this is main itself, unchanged." in said


def test_a_service_that_is_added_and_one_that_is_renamed_are_shown(team: Path) -> None:
    replace(
        team,
        "services.py",
        CALL,
        CALL.replace('"invoices", S', '"bills", S').replace('repository="invoices"', 'repository="bills"'),
    )
    status, said = check(team, root=team)
    assert status == 0, said
    assert "compared with main at " in said
    assert "+ service 'bills' (" in said
    assert "- service 'invoices' (" in said
    assert "pulumi state unprotect" in said


def test_a_token_that_changes_in_a_component_is_a_fault(team: Path) -> None:
    replace(team, "components/edge.py", '"slipway:edge:Route"', '"slipway:edge:HostRule"')
    status, said = check(team, root=team)
    assert status == 1, said
    assert "would be deleted and made again, because slipway:edge:Route is now slipway:edge:HostRule in the URN" in said
    assert "Traceback" not in said


def test_a_renamed_branch_of_an_environment_is_a_fault(team: Path) -> None:
    replace_everywhere(team, "gitopsBranch: stg", "gitopsBranch: staging")
    status, said = check(team, root=team)
    assert status == 1, said
    assert "prd: github:index/branch:Branch 'gitops-stg' would go, and it is protected" in said


def test_another_account_has_another_state_and_is_not_compared(team: Path) -> None:
    for old, new in (("111111111111", "999999999999"), ("gitopsBranch: dev", "gitopsBranch: trial")):
        replace_everywhere(team, old, new)
    status, said = check(team, root=team)
    assert "dev: not compared, because it moves from 111111111111 in eu-central-1 to 999999999999 in eu-central-1" in said
    # The owner's account is as before, and its branch `dev` must not go.
    assert status == 1, said


def test_a_branch_that_git_does_not_know_is_said(team: Path) -> None:
    status, said = check(team, "--against", "nowhere", root=team)
    assert status == 0, said
    assert "URNs are not compared: Git knows no 'nowhere' here" in said
