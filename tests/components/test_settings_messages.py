"""components/settings: every key, given every kind of wrong value, is refused in plain words that name it."""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.settings import Settings, SettingsError, parse, read_settings
from components.settings.describe import leaves, shown
from components.settings.files import read_stack_file
from tests.conftest import EXAMPLE, STACKS

# Words by which pydantic's, Python's or a parser's own text would be known.
JARGON: Final = re.compile(
    r"input should|validation error|value error|type=|[a-z]+_[a-z]+_mismatch|[a-z]+_type\b|field required|extra inputs|string_|"
    r"valid (string|integer|boolean|dict|tuple)|instance of|not permitted|unable to (parse|interpret)|should match|pattern|"
    r"this object|traceback|host bits|Pulumi\.<",
    re.IGNORECASE,
)
REGEX: Final = re.compile(r"\\d|\[a-z|\(\?:|\^\[|\]\$|\{\d+,\d*\}")
# Every key, those that the example leaves out too.
EVERYTHING: Final[Mapping[str, Any]] = {
    "network": {
        "natPerZone": True,
        "ecrEndpoints": True,
        "flowLogRetentionDays": 30,
        "reserved": ["192.168.0.0/16"],
        "zones": ["eu-central-1a", "eu-central-1b"],
    },
    "argocd": {"ui": {"label": "argocd", "clientId": "Iv1.0123456789abcdef", "teams": {"platform": "admin"}}},
    "alarms": {"email": "platform@example.com", "slack": {"workspaceId": "T07EA123LEP", "channelId": "C07EZ1ABC23"}},
}
WRONG_KINDS: Final[Sequence[Any]] = (
    None,
    True,
    False,
    0,
    -1,
    7.5,
    10**30,
    "",
    " ",
    "\t",
    "ü",
    "a\nb",
    "'",
    "yes",
    "5",
    [],
    {},
    [[]],
    {"a": 1},
)


def example() -> dict[str, Any]:
    """Return dev's settings with every key set."""
    given_ = {**read_stack_file("dev", EXAMPLE).namespace("slipway"), **copy.deepcopy(dict(EVERYTHING))}
    given_["gitops"] = {
        **given_["gitops"],
        "team": "platform",
        "reviewers": 2,
        "emergencyPins": False,
        "gitUrl": "https://github.com",
        "apiUrl": "https://api.github.com",
    }
    given_["clusters"]["blue"]["nodes"]["diskGib"] = 50
    given_["clusters"]["blue"]["endpoint"]["private"] = False
    given_["builds"] |= {"logRetentionDays": 30, "reporter": {"appId": 1100005, "installationId": 51000005}}
    given_["tracks"] = {name: {**each, "architecture": "arm64"} for name, each in given_["tracks"].items()}
    return given_


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401 — any JSON
    """Yield the path of everything in `value`."""
    if path:
        yield path
    parts: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        parts += cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        parts += enumerate(cast("list[Any]", value))
    for key, each in parts:
        yield from places(each, (*path, key))


def replaced(whole: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    changed: Any = copy.deepcopy(whole)
    place = changed
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return changed


EXAMPLE_SETTINGS: Final = example()
PLACES: Final = sorted(places(EXAMPLE_SETTINGS), key=str)


def lines(given_: Mapping[str, Any]) -> list[str]:
    """Return the lines of the refusal, or none where it is accepted. Anything but a SettingsError fails the test."""
    try:
        parse(given_, stack="dev")
    except SettingsError as error:
        return str(error).splitlines()
    return []


def judge(found: Sequence[str], path: tuple[str | int, ...], value: object) -> None:
    key = next(str(part) for part in path)
    assert any(key in line for line in found), found
    for line in found:
        assert line.startswith("slipway:"), line
        assert line.endswith((".", "?")), line
        # The value may hold any text; what is said about it may not.
        said = line.replace(shown(value), "")
        assert not JARGON.search(said), line
        assert not REGEX.search(said), line
        assert not re.search(r"\bNone\b|\bTrue\b|\bFalse\b|IPv4Network|dict|tuple", said), line
        assert len(line) < 900, line


def dotted(path: tuple[str | int, ...]) -> str:
    return "slipway:" + re.sub(r"\.#", " #", ".".join(f"#{part + 1}" if isinstance(part, int) else part for part in path))


def test_the_example_of_every_key_is_accepted_and_complete() -> None:
    assert lines(EXAMPLE_SETTINGS) == []
    known = {tuple("*" if isinstance(part, int) else part for part in path) for path in PLACES}
    names = {"dev", "stg", "prd", "develop", "release", "blue"}

    def plain(path: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("*" if part in names and place == 1 else part for place, part in enumerate(path))

    reached = {plain(path) for path in known} | {("argocd", "ui", "teams", "*"), ("tracks", "*", "overlay")}
    missing = [path for path, _, _ in leaves(Settings) if path not in reached]
    assert set(missing) <= {("tracks", "*", "lifecycle", "images")}


def test_every_key_says_what_it_expects() -> None:
    silent = [".".join(path) for path, _, expects in leaves(Settings) if expects is None]
    assert silent == []


@pytest.mark.parametrize("value", WRONG_KINDS, ids=repr)
def test_every_key_refuses_a_value_of_another_kind_in_plain_words(value: Any) -> None:  # noqa: ANN401 — any JSON
    refused = 0
    for path in PLACES:
        found = lines(replaced(EXAMPLE_SETTINGS, path, value))
        if not found:
            continue
        refused += 1
        judge(found, path, value)
        # A rule of several keys may speak of another one; what speaks of this key shows its value.
        for line in found:
            if (
                line.startswith(f"{dotted(path)} is ")
                and f"{dotted(path)} is empty, so only" not in line
                and "is missing" not in line
            ):
                assert line.startswith(f"{dotted(path)} is {shown(value)}"), line
    assert refused > len(PLACES) // 2


@given(
    st.sampled_from(PLACES),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_no_value_ends_in_anything_but_plain_words(path: tuple[str | int, ...], value: Any) -> None:  # noqa: ANN401 — any JSON
    if found := lines(replaced(EXAMPLE_SETTINGS, path, value)):
        for line in found:
            assert line.startswith("slipway:"), line


@given(st.sampled_from([path for path in PLACES if isinstance(path[-1], str)]), st.data())
def test_a_misspelt_key_is_named_with_the_key_that_was_meant(path: tuple[str | int, ...], data: st.DataObject) -> None:
    above: Any = EXAMPLE_SETTINGS
    for part in path[:-1]:
        above = above[part]
    name = str(path[-1])
    if len(name) < 5 or (len(path) > 1 and path[-2] in {"environments", "tracks", "clusters", "teams"}):
        return
    cut = data.draw(st.integers(1, len(name) - 2))
    slip = name[:cut] + name[cut + 1] + name[cut] + name[cut + 2 :]
    if slip in above:
        return
    changed = copy.deepcopy(EXAMPLE_SETTINGS)
    place: Any = changed
    for part in path[:-1]:
        place = place[part]
    place[slip] = place.pop(name)
    found = lines(changed)
    assert any(f"Did you mean {name}?" in line and f".{slip} is " in line.replace(":", ".") for line in found), found


UNQUOTED: Final = (
    (
        "account",
        'account: "111111111111"',
        "account: 012345678901",
        r"dev\.account is 012345678901, a number\. .*Quote it: \"012345678901\"",
    ),
    (
        "account",
        'account: "111111111111"',
        "account: 111111111111",
        r"Quote it: \"111111111111\" \(Pulumi\.dev\.yaml, line \d+\)",
    ),
    ("version", 'version: "1.34"', "version: 1.30", r"blue\.version is 1\.30, a number\. .*Quote it: \"1\.30\""),
    ("a branch", "gitopsBranch: dev", "gitopsBranch: 2026", r"gitopsBranch is 2026, a number\. .*Quote it: \"2026\""),
    ("a branch", "gitopsBranch: dev", "gitopsBranch: true", r"gitopsBranch is true, true or false\. .*Quote it: \"true\""),
    ("a number", "weight: 100", 'weight: "100"', r"blue\.weight is '100', text\. .*Remove the quotes: 100"),
    ("a flag", "reportHealth: true", "reportHealth: yes", r"reportHealth is 'yes', text\. .*Write true or false without quotes"),
    ("nothing", "zone: dev.example.com", "zone:", r"dev\.zone is empty\. It must be the name of a Route53 zone"),
    ("a list", "environments: [dev]", "environments: dev", r"develop\.environments is 'dev', text\. It must be a list"),
    ("a snake", "gitopsBranch: dev\n      cidr", "gitops_branch: dev\n      cidr", r"Did you mean gitopsBranch\?"),
    ("elsewhere", "  slipway:network: {}", "  slipway:natPerZone: true", r"Did you mean slipway:network\.natPerZone\?"),
    (
        "moved",
        "  slipway:alarms:",
        "    architecture: amd64\n  slipway:alarms:",
        r"builds\.architecture is 'amd64': it belongs to the track now",
    ),
)


@pytest.mark.parametrize(("old", "new", "message"), [case[1:] for case in UNQUOTED], ids=[case[2] for case in UNQUOTED])
def test_common_slips_are_told_as_they_were_written(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = (EXAMPLE / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "Pulumi.dev.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        read_settings("dev", tmp_path)


BROKEN: Final = (
    ("an empty file", "", "Pulumi.dev.yaml: the file is empty"),
    ("comments only", "# nothing\n", "Pulumi.dev.yaml: the file is empty"),
    ("a tab", "config:\n\tslipway:network: {}\n", "Pulumi.dev.yaml, line 2: YAML does not take a tab here"),
    ("no config", "secretsprovider: awskms\n", "`config:` is missing"),
    ("config without keys", "config:\n", "Pulumi.dev.yaml, line 1: `config:` must hold settings"),
    ("config as text", "config: here\n", "line 1: `config:` must hold settings"),
    ("config as a list", "config:\n  - slipway:network\n", "line 1: `config:` must hold settings"),
    ("a list", "- config\n", "line 1: a stack file begins with `config:`"),
    ("text", "config\n", "line 1: a stack file begins with `config:`"),
    ("an open bracket", "config:\n  slipway:network: {a: [1\n", "this does not parse as YAML"),
    ("an open quote", 'config:\n  slipway:network: "a\n', "this does not parse as YAML"),
    ("a colon too many", "config:\n  slipway:network: a: b\n", "line 2: this does not parse as YAML"),
    (
        "a key twice",
        "config:\n  slipway:network: {}\n  slipway:network: {}\n",
        "line 3: the key slipway:network stands here for the second time",
    ),
    (
        "a key twice inside",
        "config:\n  slipway:network:\n    a: 1\n    a: 2\n",
        "line 4: the key a stands here for the second time",
    ),
    ("with and without namespace", "config:\n  slipway:network: {}\n  network: {}\n", "line 3: the key slipway:network stands"),
    ("two documents", "config: {a: 1}\n---\nconfig: {a: 1}\n", "a second document begins here"),
    ("an unknown alias", "config:\n  a: *b\n", "line 2: this alias"),
    ("an alias to itself", "config: &a\n  b: *a\n", "an alias (`*`) refers to what it stands in"),
    ("a tag", "config:\n  a: !python/name:os.system x\n", "line 2: the tag"),
    ("a control character", "config:\n  a: \x01\n", "Look for control characters"),
    ("a mapping as a key", "config:\n  {a: b}: c\n", "a key must be plain text"),
)


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_file_that_is_no_stack_file_is_told_in_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_settings("dev", tmp_path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("Pulumi.dev.yaml")
    assert line.endswith(".")
    assert message in line
    assert not JARGON.search(line)


def test_text_that_is_not_utf_8_and_a_stack_without_a_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_bytes(b"config: \xff\n")
    with pytest.raises(SettingsError, match=r"Pulumi\.dev\.yaml is not UTF-8"):
        read_settings("dev", tmp_path)
    with pytest.raises(SettingsError, match=r"no file Pulumi\.tst\.yaml for the stack 'tst'; stacks with a file: dev\."):
        read_settings("tst", tmp_path)


@given(st.text(max_size=60))
def test_no_text_of_a_file_ends_in_a_traceback(text: str) -> None:
    import tempfile  # noqa: PLC0415 — hypothesis and tmp_path do not go together

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Pulumi.dev.yaml").write_text(f"config:\n  {text}", encoding="utf-8", errors="replace", newline="")
        with pytest.raises(SettingsError):
            read_settings("dev", Path(folder))


@pytest.mark.parametrize("stack", STACKS)
def test_a_file_reads_as_the_engine_hands_it_over(stack: str) -> None:
    from rehearsal.program import stack_config  # noqa: PLC0415 — the SDK is slow to import

    told = stack_config(stack, folder=EXAMPLE)
    read = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in read_stack_file(stack, EXAMPLE).config.items()
    }
    assert {key: json.loads(value) if value[:1] in "[{" else value for key, value in read.items()} == {
        key: json.loads(value) if value[:1] in "[{" else value for key, value in told.items()
    }
