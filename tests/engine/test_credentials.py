"""What a user sees of wrong credentials, settings and services, in runs of the real command line."""

import re

import yaml

from rehearsal.engine.cli import Outcome
from rehearsal.program import stack_config
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


def test_a_misspelt_argument_of_a_service_is_told_with_file_and_line(copy: Copy) -> None:
    copy.append("services.py", '    Service("cart", ServiceArgs(platform=platform, repository="cart", prot=8080))\n')
    text = shown(copy.stage.engine.preview(STACK, check=False))
    assert re.search(r"services\.py, line \d+: ServiceArgs has no argument prot\. Did you mean port\?", text)


def test_a_zone_without_a_hosted_zone_is_told_with_the_command_that_makes_it(copy: Copy) -> None:
    overrides = copy.stage.overrides(STACK)
    key = "slipway:environments"
    given = yaml.safe_load(stack_config(STACK)[key])
    given[STACK]["zone"] = "nowhere.example.org"
    copy.stage.engine.configure(STACK, {**overrides, key: given})
    try:
        text = shown(copy.stage.engine.preview(STACK, check=False))
    finally:
        copy.stage.engine.configure(STACK, overrides)
    assert f"slipway:environments.{STACK}.zone: got 'nowhere.example.org'; account" in text
    assert f"Run: python -m bootstrap --stack {STACK} --apply" in text
