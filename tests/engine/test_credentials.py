"""What a user sees of wrong credentials and of settings that do not parse, in runs of the real command line."""

import re

from rehearsal.engine.cli import Outcome
from tests.engine.conftest import STACK, Copy


def shown(outcome: Outcome) -> str:
    """What the command line printed of a run that did not end well, as one text."""
    assert outcome.code != 0
    text = f"{outcome.output}\n{outcome.diagnostics}"
    assert "Traceback" not in text
    assert 'File "' not in text
    return text


def test_credentials_of_another_account_are_told_in_one_sentence(copy: Copy) -> None:
    account = copy.stage.place(STACK).account
    for verb in ("preview", "up"):
        outcome = getattr(copy.stage.engine, verb)(STACK, account="999999999999", check=False)
        text = shown(outcome)
        said = (
            f"The AWS credentials belong to account 999999999999, and stack {STACK} is account {account}. "
            f"Use credentials of account {account} (AWS_PROFILE), or select the right stack."
        )
        assert said in text
        assert not re.search(r"^\s*create", text, re.MULTILINE)


def test_structured_text_that_does_not_parse_is_told_in_one_sentence(copy: Copy) -> None:
    copy.stage.engine.run("config", "set", "slipway:network", "[a, b", stack=STACK)
    try:
        text = shown(copy.stage.engine.preview(STACK, check=False))
    finally:
        # The stack's file is the other tests' too.
        copy.stage.engine.configure(STACK, copy.stage.overrides(STACK))
    assert "slipway:network is the text '[a, b', which looks like YAML or JSON but arrives as plain text" in text
