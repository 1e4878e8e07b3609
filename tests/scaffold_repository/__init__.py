"""Tests of scaffold/repository: what is put into a new GitOps repository."""

import sys
from pathlib import Path

# The scripts are run from the repository that they are put into, never installed: tests import them from where they lie.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scaffold" / "repository" / ".github"))
