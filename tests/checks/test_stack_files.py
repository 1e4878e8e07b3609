"""Stack files: YAML, what all stacks share, and secrets, each fault by file, key and fix."""

from pathlib import Path

import pytest

from checks import stack_files
from checks.stack_files import StackFileError
from tests.checks.kit import copy_example, replace, replace_everywhere
from tests.conftest import EXAMPLE


def faults(folder: Path) -> list[str]:
    try:
        files = stack_files.read_all(folder)
    except StackFileError as error:
        return str(error).splitlines()
    return [
        *stack_files.secrets_in(files.values()),
        *stack_files.faults_between(files),
        *stack_files.project_faults(folder),
    ]


def test_the_example_has_no_fault() -> None:
    assert faults(EXAMPLE) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "Pulumi.dev.yaml is empty: it must have the key `config:`"),
        ("- a\n", "Pulumi.dev.yaml is a list: it must have the key `config:`"),
        ("name: dev\n", "Pulumi.dev.yaml has no `config:`"),
        ("config:\n", "Pulumi.dev.yaml has a missing value as `config:`"),
        ("config: [a]\n", "Pulumi.dev.yaml has a list as `config:`"),
        ("config:\n\taws:region: x\n", "Pulumi.dev.yaml, line 2 is not valid YAML: a tab indents the line"),
        ("config:\n  a: [1\n  b: 2\n", "Pulumi.dev.yaml, line 3 is not valid YAML: "),
        ("config:\n  a: 1\n  a: 2\n", "Pulumi.dev.yaml, line 3 is not valid YAML: the key 'a' appears twice"),
        ("config:\n  a: 2026-13-45\n", "Pulumi.dev.yaml is not valid YAML: "),
        ("config:\n  a: &a [*a]\n  b: *c\n", "Pulumi.dev.yaml, line 3 is not valid YAML: "),
        ("config:\n  a: !!python/object:os.x 1\n", "Pulumi.dev.yaml, line 2 is not valid YAML: "),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name_and_line(tmp_path: Path, text: str, expected: str) -> None:
    copy_example(tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
    (fault,) = faults(tmp_path)
    assert fault.startswith(expected)
    assert fault.endswith(".")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    copy_example(tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_bytes(b"config: \xff\xfe")
    assert faults(tmp_path) == ["Pulumi.dev.yaml cannot be read: it is not UTF-8. Restore the file."]


def test_a_folder_without_stack_files_says_so(tmp_path: Path) -> None:
    assert faults(tmp_path) == [
        f"{tmp_path} has no stack file Pulumi.<stack>.yaml. Write one for each environment (docs/adopt.md)."
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "cidr: 10.30.0.0/16",
            "cidr: 10.40.0.0/16",
            "slipway:environments.prd.cidr is 10.30.0.0/16 in Pulumi.dev.yaml and 10.40",
        ),
        ("images: 200", "images: 300", "slipway:tracks.release.lifecycle.images is 200 in Pulumi.dev.yaml and 300 in Pulumi.stg"),
        ("id: 4202137", 'id: "4202137"', 'slipway:organization.id is 4202137 in Pulumi.dev.yaml and "4202137" (text) in Pulumi'),
        ("    owner: prd\n", "", "slipway:gitops.owner is prd in Pulumi.dev.yaml and missing in Pulumi.stg.yaml"),
        ("overlay: dev", "overlay: dev\n      hot: 1", "slipway:tracks.develop.hot is missing in Pulumi.dev.yaml and 1 in"),
    ],
)
def test_stacks_that_disagree_are_told_key_and_both_values(tmp_path: Path, old: str, new: str, expected: str) -> None:
    replace(copy_example(tmp_path), "Pulumi.stg.yaml", old, new)
    (fault,) = faults(tmp_path)
    assert fault.startswith(expected)
    assert fault.endswith("describes the whole platform: write the same value in every stack file.")


def test_an_environment_without_a_stack_file_is_named(tmp_path: Path) -> None:
    (copy_example(tmp_path) / "Pulumi.stg.yaml").unlink()
    (fault,) = faults(tmp_path)
    assert fault.startswith("slipway:environments.stg has no stack file: every environment is a stack. Write Pulumi.stg.yaml")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("ghp_" + "a" * 36, "a GitHub token"),
        ("github_pat_" + "a" * 30, "a GitHub token"),
        ("AKIA" + "A" * 16, "an AWS access key"),
        ("https://hooks.slack.com/services/T0/B0/x", "a Slack webhook"),
        ("{secure: v1:abc}", ""),
        ("\n    secure: v1:abc", "a value that Pulumi has encrypted"),
    ],
)
def test_a_secret_is_named_with_its_line(tmp_path: Path, value: str, what: str) -> None:
    path = copy_example(tmp_path) / "Pulumi.dev.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}  slipway:token: {value}\n", encoding="utf-8")
    line = text.count("\n") + 1 + value.startswith("\n")
    (fault,) = faults(tmp_path)
    assert fault.startswith(f"Pulumi.dev.yaml, line {line}, holds {what or 'a value that Pulumi has encrypted'}")


def test_the_name_of_the_project_stays(tmp_path: Path) -> None:
    replace(copy_example(tmp_path), "Pulumi.yaml", "name: slipway", "name: shop")
    (fault,) = faults(tmp_path)
    assert fault.startswith("Pulumi.yaml has the name 'shop': it must stay slipway")


def test_the_same_change_in_every_file_is_no_fault(tmp_path: Path) -> None:
    replace_everywhere(copy_example(tmp_path), "10.30.0.0/16", "10.40.0.0/16")
    assert faults(tmp_path) == []
