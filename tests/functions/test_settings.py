"""The function's variables, as components/image_hook.py declares them."""

from collections.abc import Mapping

import pytest

from functions.gitops_writer.settings import SettingsError, read
from rehearsal.program import Program

GOOD = {
    "SLIPWAY_TRACK": "develop",
    "SLIPWAY_BRANCH": "dev",
    "SLIPWAY_IMAGE_FILE": "apps/{service}/overlays/dev/image/kustomization.yaml",
    "SLIPWAY_REPOSITORY_PREFIX": "develop/",
    "SLIPWAY_GITOPS_REPOSITORY": "example-org/gitops",
    "SLIPWAY_GITHUB_API_URL": "https://api.github.com/",
    "SLIPWAY_GITHUB_APP_ID": "1",
    "SLIPWAY_GITHUB_INSTALLATION_ID": "2",
    "SLIPWAY_GITHUB_KEY_SECRET": "slipway/github-app/develop",
    "SLIPWAY_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/1/images",
    "SLIPWAY_FAILURE_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/1/failures",
    "SLIPWAY_CATALOGUE_PATH": "/slipway/develop/services/",
    "SLIPWAY_SCAFFOLD": "true",
    "SLIPWAY_ENVIRONMENTS": '{"dev": "dev"}',
}


def test_the_layout_follows_from_the_image_file() -> None:
    layout = read(GOOD).layout
    assert layout.image("shop") == "apps/shop/overlays/dev/image/kustomization.yaml"
    assert layout.base_image("shop") == "apps/shop/base/image/kustomization.yaml"
    assert layout.directory("shop") == "apps/shop"
    base = read({**GOOD, "SLIPWAY_IMAGE_FILE": "apps/{service}/base/image/kustomization.yaml"}).layout
    assert base.image("shop") == base.base_image("shop")


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is missing: .* is needed"):
        read({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLIPWAY_IMAGE_FILE", "apps/shop/base/image/kustomization.yaml"),
        ("SLIPWAY_IMAGE_FILE", "apps/{service}/overlays/dev/pin/kustomization.yaml"),
        ("SLIPWAY_REPOSITORY_PREFIX", "develop"),
        ("SLIPWAY_GITOPS_REPOSITORY", "gitops"),
        ("SLIPWAY_GITHUB_APP_ID", "one"),
        ("SLIPWAY_SCAFFOLD", "yes"),
        ("SLIPWAY_ENVIRONMENTS", "{}"),
        ("SLIPWAY_ENVIRONMENTS", '["dev"]'),
        ("SLIPWAY_ENVIRONMENTS", "dev"),
    ],
)
def test_a_wrong_variable_says_what_it_is_and_what_is_allowed(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read({**GOOD, name: value})
    assert str(raised.value).startswith(f"{name} is {value!r}: ")
    assert " is allowed. " in str(raised.value)


def test_every_declared_function_can_be_configured_so(programs: Mapping[str, Program]) -> None:
    for stack in ("dev", "stg"):
        functions = [each for each in programs[stack].resources if each.type == "aws:lambda/function:Function"]
        assert functions
        for each in functions:
            variables: Mapping[str, str] = each.inputs["environment"]["variables"]
            # What the engine fills in later is unknown to the imagined world in part: those are URLs.
            settings = read({**variables, **{name: GOOD[name] for name in variables if name.endswith("QUEUE_URL")}})
            assert settings.environments
            assert each.inputs["handler"] == "gitops_writer.handler.handler"
