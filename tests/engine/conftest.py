"""One environment of the lab, shared by the tests of this folder; they are skipped outside the lab's namespace."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from rehearsal.engine.stage import EngineStage
from rehearsal.lab import namespace
from rehearsal.lab.build import build

STACK: Final = "dev"


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Leave these to `make e2e`, which runs them where they can run."""
    if not namespace.inside():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs the lab: make e2e runs it"))


class Copy:
    """The program in the lab's copy of the project, to be broken and mended.

    Attributes:
        stage: Where it runs: `dev`, whose GitOps repository stands as its owner would have made it.
    """

    def __init__(self, stage: EngineStage) -> None:
        """Keep what the files are."""
        self.stage = stage
        self._kept: dict[Path, str] = {}

    def plant(self, file: str, old: str, new: str) -> None:
        """Put `new` where `old` stands, once, in a file of the copy."""
        path = self.stage.engine.project(STACK) / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times: plant the fault elsewhere"
        self._kept.setdefault(path, text)
        path.write_text(text.replace(old, new), encoding="utf-8")
        # Sources of one second and one length would be taken for unchanged.
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)

    @property
    def is_broken(self) -> bool:
        """Whether a file is otherwise than it was."""
        return bool(self._kept)

    def append(self, file: str, more: str) -> None:
        """Put `more` at the end of a file of the copy."""
        path = self.stage.engine.project(STACK) / file
        text = path.read_text(encoding="utf-8")
        self._kept.setdefault(path, text)
        path.write_text(text + more, encoding="utf-8")

    def mend(self) -> None:
        """Put every file back."""
        for path, text in self._kept.items():
            path.write_text(text, encoding="utf-8")
            shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        self._kept.clear()


@pytest.fixture(scope="session")
def lab() -> Iterator[EngineStage]:
    """The stage with everything that people prepare, and no stack but what the owner of the repository must give."""
    said: list[str] = []
    with EngineStage(say=said.append, binaries=build(said.append), stacks=(STACK,)) as stage:
        stage.first_day()
        stage.prepare_repository()
        yield stage


@pytest.fixture
def copy(lab: EngineStage) -> Iterator[Copy]:
    """The program as it is; whatever a test breaks is mended after it."""
    made = Copy(lab)
    yield made
    made.mend()
