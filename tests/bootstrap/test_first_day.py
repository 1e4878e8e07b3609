"""bootstrap/ and its check against the rehearsal's emulators, over HTTP, as the rehearsal runs them."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bootstrap.bootstrap import read_settings
from bootstrap.report import State
from rehearsal.cloud.emulators import Emulators
from rehearsal.first_day import GITHUB_UNANSWERED, UNANSWERED, apply, look
from tests.conftest import EXAMPLE

pytestmark = pytest.mark.slow


def test_bootstrap_prepares_emulated_accounts_and_the_check_finds_them_ready(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
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
