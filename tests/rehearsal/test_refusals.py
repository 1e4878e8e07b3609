"""`make rehearse` on a platform that it cannot play: one sentence, status 1, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.kit import ROOT, copy_example, replace

CALL = 'Service("invoices", ServiceArgs(platform=platform, repository="invoices"))'


def refused(folder: Path, **environment: str) -> str:
    """Run the rehearsal; all that it printed."""
    done = subprocess.run(  # noqa: S603 — our own module
        [sys.executable, "-m", "rehearsal", "--report", str(folder / "out.html")],
        cwd=ROOT,
        env={**os.environ, "SLIPWAY_PLATFORM": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert 'File "' not in said
    assert (folder / "out.html").is_file()
    return said


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (
            "services.py",
            CALL,
            CALL.replace("))", ', port=8080, host="storefront"))'),
            "service 'invoices' has host 'storefront', which service 'storefront' has",
        ),
        ("services.py", CALL, "raise ValueError('no luck')", "services.py, line 15: ValueError: no luck."),
        ("services.py", "port=8080", "prot=8080", "services.py, line 13: ServiceArgs has no argument prot. Did you mean port?"),
        ("services.py", "port=8080", "port=80", "services.py, line 13: service 'storefront' has port 80"),
        ("Pulumi.stg.yaml", "aws:region: eu", "aws:region: [eu", "Pulumi.stg.yaml, line 3 is not valid YAML"),
        ("Pulumi.stg.yaml", "weight: 100", "weight: 90", "Pulumi.stg.yaml: slipway:clusters.blue.weight is 90"),
        ("Pulumi.dev.yaml", "  slipway:network: {}", "\tslipway:network: {}", "a tab indents the line"),
    ],
)
def test_a_platform_that_is_refused_is_refused_in_a_sentence(
    tmp_path: Path, name: str, old: str, new: str, expected: str
) -> None:
    replace(copy_example(tmp_path), name, old, new)
    said = refused(tmp_path)
    assert said.count(expected) >= 1, said
    assert said.rpartition("The rehearsal failed.")[2].strip().count("\n") == 0, said


def test_an_owner_without_a_stack_file_is_named(tmp_path: Path) -> None:
    (copy_example(tmp_path) / "Pulumi.prd.yaml").unlink()
    assert "slipway:gitops.owner is 'prd', and there is no Pulumi.prd.yaml." in refused(tmp_path)
