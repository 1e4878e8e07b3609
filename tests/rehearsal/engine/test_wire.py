"""Properties on the wire: what the table reads, what diffs compare, what is not known."""

from pathlib import Path
from typing import Any, Final

import pytest
from pulumi.runtime import rpc

from rehearsal.engine import wire
from rehearsal.engine.wire import UNKNOWN

SIG: Final = rpc._special_sig_key  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] — the wire's own constants
SECRET: Final = rpc._special_secret_sig  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] — same
ASSET: Final = rpc._special_asset_sig  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] — same
ARCHIVE: Final = rpc._special_archive_sig  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] — same
RESOURCE: Final = rpc._special_resource_sig  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] — same
# https://github.com/pulumi/pulumi/blob/master/sdk/go/common/resource/properties.go (OutputValueSig)
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
FOLDER: Final = Path("/project")
ROLE: Final = "urn:pulumi:dev::slipway::aws:iam/role:Role::cluster"


def secret(value: object) -> dict[str, Any]:
    """A secret as it travels."""
    return {SIG: SECRET, "value": value}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [1.0, {"b": "c"}], "d": None}, {"a": [1.0, {"b": "c"}], "d": None}),
        ([secret("key")], ["key"]),
        (secret({"a": secret("b")}), {"a": "b"}),
        ({SIG: OUTPUT, "value": secret("key"), "dependencies": [ROLE]}, "key"),
        # An output that is not known has no value.
        ({SIG: OUTPUT, "dependencies": [ROLE]}, UNKNOWN),
        (UNKNOWN, UNKNOWN),
        ({SIG: ARCHIVE, "path": "dist/writer.zip", "hash": "1"}, {"path": "/project/dist/writer.zip"}),
        ({SIG: ASSET, "path": "/elsewhere/page.html"}, {"path": "/elsewhere/page.html"}),
        ({SIG: RESOURCE, "urn": ROLE, "id": "cluster"}, "cluster"),
        ({SIG: RESOURCE, "urn": ROLE}, ROLE),
    ],
)
def test_the_table_reads_plain_data(value: object, plain: object) -> None:
    assert wire.plain(value, FOLDER) == plain


def test_a_mark_that_nobody_here_knows_is_not_passed_on_as_data() -> None:
    with pytest.raises(ValueError, match="carries the mark 0123, which"):
        wire.plain({"a": [{SIG: "0123"}]}, FOLDER)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (secret("key"), "key"),
        ({SIG: OUTPUT, "value": ["a"]}, ["a"]),
        ({SIG: OUTPUT}, UNKNOWN),
        ({"a": 1.0, "__defaults": ["a"]}, {"a": 1.0}),
        ({SIG: ARCHIVE, "path": "dist/a.zip", "hash": "1"}, {SIG: ARCHIVE, "path": "/moved/a.zip", "hash": "1"}),
        ({SIG: RESOURCE, "urn": ROLE, "id": "cluster"}, {SIG: RESOURCE, "urn": f"{ROLE}-renamed", "id": "cluster"}),
    ],
)
def test_two_states_of_a_property_are_the_same_whatever_they_are_wrapped_in(one: object, other: object) -> None:
    assert wire.comparable([one]) == wire.comparable([other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (secret("key"), secret("other")),
        ({SIG: ARCHIVE, "path": "a.zip", "hash": "1"}, {SIG: ARCHIVE, "path": "a.zip", "hash": "2"}),
        ({SIG: OUTPUT}, "anything"),
    ],
)
def test_two_states_differ_by_what_is_in_them(one: object, other: object) -> None:
    assert wire.comparable({"a": one}) != wire.comparable({"a": other})


def test_what_is_not_known_is_found_at_any_depth_and_becomes_nothing() -> None:
    value = {"a": [{"b": UNKNOWN}, "c"], "d": 1.0}
    assert wire.has_unknown(value)
    assert wire.known(value) == {"a": [{"b": None}, "c"], "d": 1.0}
    assert not wire.has_unknown(wire.known(value))


def test_a_reference_is_found_through_secrets_and_outputs() -> None:
    reference = {SIG: RESOURCE, "urn": ROLE, "id": "cluster"}
    assert wire.reference({SIG: OUTPUT, "value": secret(reference)}) == ROLE
    assert wire.reference({"urn": ROLE}) is None
    assert wire.reference(ROLE) is None


def test_what_is_written_is_read_back_without_what_is_not_given() -> None:
    assert wire.read(wire.write({"a": {"b": [1, "x", True]}, "c": None})) == {"a": {"b": [1.0, "x", True]}}
