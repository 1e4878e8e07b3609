"""bootstrap/ and its check against the rehearsal's emulators, over HTTP, as the rehearsal runs them."""

from pathlib import Path

import pytest

from bootstrap.bootstrap import read_settings
from bootstrap.report import State
from components.settings import Settings
from rehearsal.cloud.emulators import Emulators
from rehearsal.first_day import UNANSWERED, apply, commands, look, perform
from tests.bootstrap.kit import make_key
from tests.conftest import EXAMPLE

pytestmark = pytest.mark.slow


def offline(settings: Settings) -> Settings:
    """The settings with an address of GitHub's API where nothing listens: no test leaves this machine."""
    return settings.model_copy(update={"gitops": settings.gitops.model_copy(update={"api_url": "http://127.0.0.1:1"})})


def test_bootstrap_prepares_emulated_accounts_and_the_check_finds_them_ready(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_text(make_key()[0], encoding="utf-8")
    said: list[str] = []
    with Emulators(tmp_path / "logs") as emulators:
        for stack, purposes in (("prd", ["reader"]), ("dev", ["develop", "reader"])):
            settings = offline(read_settings(stack, EXAMPLE))
            before = look(emulators, settings, root=EXAMPLE, token="", say=said.append)
            assert {"state-key", "state-bucket", "oidc", "zone"} <= {row.key for row in before.faults}
            puts = dict.fromkeys(purposes, path)
            assert apply(emulators, settings, puts, said.append) > 0
            assert apply(emulators, settings, puts, said.append) == 0, "a second run changes nothing"
            after = look(emulators, settings, root=EXAMPLE, token="", say=said.append)
            # There is no Git host here: what is GitHub's is not looked at, and no row of AWS is.
            silent = ("no GitHub token is set", "does not answer")
            assert [row.text for row in after.faults if not any(each in row.text for each in silent)] == []
            assert {row.key for row in after.report.of(State.NOT_LOOKED_AT)} & UNANSWERED.keys()


def test_the_commands_of_the_page_run_as_they_stand_there(tmp_path: Path) -> None:
    settings = offline(read_settings("dev", EXAMPLE))
    for name in ("writer-develop.pem", "reader.pem"):
        (tmp_path / name).write_text(make_key()[0], encoding="utf-8")
    with Emulators(tmp_path / "logs") as emulators:
        for command in commands(settings):
            status, said = perform(command, emulators, settings, root=EXAMPLE, folder=tmp_path)
            # Something of this world always stays unanswered, so a check never ends with 0.
            assert status == (1 if "--check" in command else 0), said
        after = look(emulators, settings, root=EXAMPLE, token="", unanswered={}, say=lambda _: None)
        assert {row.key for row in after.report.of(State.READY)} >= {"state-key", "secret:develop", "secret:reader", "zone"}
