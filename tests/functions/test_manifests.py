"""Edits of machine-written files, against a directory of golden pairs."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from functions.gitops_writer.manifests import Entry, ManifestError, read_entry, read_pin, write_entry

GOLDEN = sorted(path for path in (Path(__file__).parent / "golden").iterdir() if path.is_dir())
TAG = "20260102T030405Z-0123456789ab"
DIGEST = "sha256:" + "ab" * 32


def text_of(path: Path) -> str:
    return path.read_bytes().decode()


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_an_edit_changes_tag_and_digest_and_nothing_else(folder: Path) -> None:
    after = write_entry(text_of(folder / "before.yaml"), "web", tag=TAG, digest=DIGEST)
    assert after == text_of(folder / "after.yaml")
    assert f'"{TAG}"' in after
    assert read_entry(after, "web") == Entry(tag=TAG, digest=DIGEST)


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_the_same_edit_a_second_time_changes_no_byte(folder: Path) -> None:
    after = text_of(folder / "after.yaml")
    assert write_entry(after, "web", tag=TAG, digest=DIGEST) == after


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_another_parser_finds_all_other_values_unchanged(folder: Path) -> None:
    def others(path: Path) -> object:
        document = YAML(typ="safe").load(text_of(path).removeprefix("\ufeff"))  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] — untyped
        document["images"] = [each for each in document["images"] if each["name"] != "web"]
        return document  # pyright: ignore[reportUnknownVariableType] — untyped

    assert others(folder / "before.yaml") == others(folder / "after.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: {}\n", "no list"),
        ("- images\n", "no YAML mapping"),
        ("", "no YAML mapping"),
        ("images: []\nimages: []\n", "no YAML that can be edited"),
        ("images: []\n---\nimages: []\n", "no YAML that can be edited"),
        ("images: [web]\n", "no list of mappings"),
        ("images:\n  - name: web\n  - name: web\n", "2 entries"),
        ("images:\n  - name: other\n", "no entry"),
        ("\timages: []\n", "no YAML that can be edited"),
        ("images: []\n" + "#" * 70_000, "65536 are allowed"),
    ],
)
def test_a_file_that_people_must_mend_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        write_entry(text, "web", tag=TAG, digest=DIGEST)
    with pytest.raises(ManifestError, match=said):
        read_entry(text, "web")


def test_an_anchored_tag_is_refused_for_its_aliases_would_change_with_it() -> None:
    text = "images:\n  - name: web\n    newTag: &tag a\n    digest: sha256:1\nx-other: *tag\n"
    with pytest.raises(ManifestError, match="anchor"):
        write_entry(text, "web", tag=TAG, digest=DIGEST)


def test_a_pin_says_what_it_pins_and_nothing_when_it_is_lifted() -> None:
    assert read_pin("kind: Component\nimages: []\n", "web").empty
    assert read_pin("kind: Component\n", "web").empty
    assert read_pin("images:\n  - name: other\n    newTag: x\n", "web").empty
    assert read_pin("images:\n  - name: web\n    newTag: 1234567\n", "web") == Entry(tag="1234567")
