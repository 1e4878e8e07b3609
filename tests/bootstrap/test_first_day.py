"""bootstrap/ and its check against the rehearsal's emulators, over HTTP, as the rehearsal runs them."""

from pathlib import Path

import pytest

from bootstrap.bootstrap import read_settings
from bootstrap.report import State
from rehearsal.cloud.emulators import Emulators
from rehearsal.first_day import COMMANDS, GITHUB_UNANSWERED, UNANSWERED, apply, look, perform
from tests.bootstrap.kit import make_key
from tests.conftest import EXAMPLE

pytestmark = pytest.mark.slow


def test_bootstrap_prepares_emulated_accounts_and_the_check_finds_them_ready(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_text(make_key()[0], encoding="utf-8")
    said: list[str] = []
    with Emulators(tmp_path / "logs") as emulators:
        for stack, purposes in (("prd", ["reader"]), ("dev", ["develop", "reader"])):
            settings = read_settings(stack, EXAMPLE)
            before = look(emulators, settings, root=EXAMPLE, token="", say=said.append)
            assert {"state-key", "state-bucket", "oidc", "zone"} <= {row.key for row in before.faults}
            puts = dict.fromkeys(purposes, path)
            assert apply(emulators, settings, puts, said.append) > 0
            assert apply(emulators, settings, puts, said.append) == 0, "a second run changes nothing"
            after = look(emulators, settings, root=EXAMPLE, token="", say=said.append)
            github = {row.key for row in after.faults if row.step.value.startswith(("2", "3", "7", "9"))}
            assert [row for row in after.faults if row.key not in github] == []
            assert {row.key for row in after.report.of(State.NOT_LOOKED_AT)} & UNANSWERED.keys()
            assert not {row.key for row in after.faults} & GITHUB_UNANSWERED.keys()


def test_the_commands_of_the_page_run_as_they_stand_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read_settings("dev", EXAMPLE)
    for name in ("writer-develop.pem", "reader.pem"):
        (tmp_path / name).write_text(make_key()[0], encoding="utf-8")
    with Emulators(tmp_path / "logs") as emulators:
        for command in COMMANDS:
            # Something of this world always stays unanswered, so a check never ends with 0.
            assert perform(command, emulators, settings, root=EXAMPLE) == (1 if "--check" in command else 0), command
        after = look(emulators, settings, root=EXAMPLE, token="", unanswered={}, say=lambda _: None)
        assert {row.key for row in after.report.of(State.READY)} >= {"state-key", "secret:develop", "secret:reader", "zone"}
