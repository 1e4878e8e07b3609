"""What the scripts need is installed as the workflow installs it, by hash, and verify runs with that and nothing else."""

import os
import subprocess
from pathlib import Path

import yaml

from tests.rehearsal.githost_kit import REPOSITORY
from tests.scaffold_repository.kit import SCAFFOLD, shop


def test_verify_runs_with_what_its_own_workflow_installs(tmp_path: Path) -> None:
    workflow = yaml.safe_load((SCAFFOLD / ".github" / "workflows" / "verify.yml").read_text(encoding="utf-8"))
    install, verify = (step["run"] for step in workflow["jobs"]["judge"]["steps"] if "run" in step)
    with shop(tmp_path) as it:
        it.change(
            "topic", {"apps/cart/base/kustomization.yaml": "resources: [deployment.yaml]\ncomponents: [image]\n"}, base="dev"
        )
        given = {
            # Where packages come from is this machine's matter.
            **os.environ,
            **it.environment(),
            "RUNNER_TEMP": str(tmp_path / "runner"),
            "BASE": "dev",
            "HEAD": it.host.head(REPOSITORY, "topic") or "",
        }

        def bash(text: str) -> str:
            done = subprocess.run(  # noqa: S603 — the workflow's own
                ["/bin/bash", "-ec", text], cwd=it.clone, env=given, check=False, capture_output=True, text=True
            )
            return done.stdout if done.returncode == 0 else done.stderr

        assert bash(install) == ""
        assert bash(verify).startswith("services touched: cart; overlays rendered: 3")
        names = bash('"$RUNNER_TEMP/tools/bin/python" -m pip list')
        assert "kubernetes-validate" in names
        assert "pulumi" not in names
