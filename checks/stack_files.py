"""Reads a platform's stack files and checks what no single stack can see. Needs nothing but PyYAML."""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml

PROJECT: Final = "slipway"
SHARED: Final = ("organization", "environments", "tracks", "gitops")
"""Keys that describe the whole platform: every stack file has the same values."""

# Values that nobody should commit. Each pattern is the provider's own format:
# https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
_SECRETS: Final[Mapping[str, re.Pattern[str]]] = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a GitHub token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a Slack webhook": re.compile(r"hooks\.slack\.com/(services|workflows)/"),
    "a Slack token": re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
    "a value that Pulumi has encrypted": re.compile(r"(^[ \t]*(- )?|\{ *)secure:[ \t]*\S", re.MULTILINE),
}


class StackFileError(Exception):
    """A stack file that cannot be used. Each line is one fault: file, value, expectation and fix."""


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """One stack's file.

    Attributes:
        stack: Name of the stack.
        path: The file.
        text: Its content.
        config: The mapping below `config:`.
    """

    stack: str
    path: Path
    text: str
    config: Mapping[str, Any]

    def get(self, key: str) -> Any:  # noqa: ANN401 — YAML
        """Return the value of `slipway:<key>`, or None."""
        return self.config.get(f"{PROJECT}:{key}")


class _Loader(yaml.SafeLoader):
    """Refuses a key that appears twice: PyYAML keeps the last one, and the first is lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT002 — PyYAML's signature
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value!r} appears twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, name: str) -> Any:  # noqa: ANN401 — YAML
    """Parse a YAML document.

    Args:
        text: The document.
        name: How messages name the file.

    Raises:
        StackFileError: it is no YAML; the message has file and line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 — a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        problem = error.problem or "it cannot be read"
        if "'\\t'" in problem:
            problem = "a tab indents the line, and YAML takes spaces only"
        msg = f"{name}{where} is not valid YAML: {problem}. Correct this line or the one before."
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A date such as 2026-13-45 is a ValueError.
        msg = f"{name} is not valid YAML: {str(error).splitlines()[0]}. Correct the file."
    raise StackFileError(msg)


def stacks_in(folder: Path) -> list[str]:
    """Return the names of all stacks that have a file in `folder`, sorted."""
    return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in folder.glob("Pulumi.?*.yaml"))


def read(folder: Path, stack: str) -> StackFile:
    """Read one stack file.

    Raises:
        StackFileError: there is none, or it has no configuration.
    """
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(stacks_in(folder)) or "none"
        msg = f"There is no {path.name} in {folder}. Stacks with a file: {known}. Name one of them, or write the file."
        raise StackFileError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
        msg = f"{path.name} cannot be read: {why}. Restore the file."
        raise StackFileError(msg) from None
    whole = parse_yaml(text, path.name)
    if not isinstance(whole, dict):
        got = "empty" if whole is None else f"a {_kind(cast('object', whole))}"
        msg = f"{path.name} is {got}: it must have the key `config:` with the stack's settings (docs/adopt.md). Write them."
        raise StackFileError(msg)
    config = cast("dict[str, Any]", whole).get("config")
    if not isinstance(config, dict):
        got = "has no `config:`" if "config" not in whole else f"has a {_kind(config)} as `config:`"
        msg = f"{path.name} {got}: the stack's settings are the keys below it (docs/adopt.md). Add them."
        raise StackFileError(msg)
    settings = {str(key): value for key, value in cast("dict[object, Any]", config).items()}
    return StackFile(stack=stack, path=path, text=text, config=settings)


def read_all(folder: Path) -> dict[str, StackFile]:
    """Read every stack file of a platform.

    Raises:
        StackFileError: there is none, or some cannot be used; one line per fault.
    """
    names = stacks_in(folder)
    if not names:
        msg = f"{folder} has no stack file Pulumi.<stack>.yaml. Write one for each environment (docs/adopt.md)."
        raise StackFileError(msg)
    found: dict[str, StackFile] = {}
    faults: list[str] = []
    for name in names:
        try:
            found[name] = read(folder, name)
        except StackFileError as error:
            faults.append(str(error))
    if faults:
        raise StackFileError("\n".join(faults))
    return found


def faults_between(files: Mapping[str, StackFile]) -> list[str]:
    """Return one sentence for each value on which the stack files disagree, and each stack file that is missing."""
    environments = next((each.get("environments") for each in files.values() if each.get("environments")), None)
    named = [str(name) for name in cast("dict[object, Any]", environments)] if isinstance(environments, dict) else []
    return [
        *_disagreements(files),
        *(
            f"slipway:environments.{name} has no stack file: every environment is a stack. "
            f"Write Pulumi.{name}.yaml, or remove the environment from all stack files."
            for name in named
            if name not in files
        ),
    ]


def _disagreements(files: Mapping[str, StackFile]) -> Iterable[str]:
    first, *others = files.values()
    for key in SHARED:
        for other in others:
            difference = next(_differences(first.get(key), other.get(key), f"{PROJECT}:{key}"), None)
            if difference is not None:
                where, one, two = difference
                yield (
                    f"{where} is {_shown(one)} in {first.path.name} and {_shown(two)} in {other.path.name}. "
                    f"{PROJECT}:{key} describes the whole platform: write the same value in every stack file."
                )


def _differences(one: object, two: object, where: str) -> Iterator[tuple[str, object, object]]:
    """Yield path and both values of each difference, the deepest possible path."""
    if isinstance(one, dict) and isinstance(two, dict):
        left, right = cast("dict[Any, object]", one), cast("dict[Any, object]", two)
        for key in dict.fromkeys([*left, *right]):
            yield from _differences(left.get(key), right.get(key), f"{where}.{key}")
    elif one != two or not isinstance(one, type(two)):
        yield where, one, two


def secrets_in(files: Iterable[StackFile]) -> list[str]:
    """Return one sentence for each secret that a stack file holds."""
    faults: list[str] = []
    for each in files:
        for what, pattern in _SECRETS.items():
            if match := pattern.search(each.text):
                line = each.text.count("\n", 0, match.start()) + 1 + match[0].startswith("\n")
                faults.append(
                    f"{each.path.name}, line {line}, holds {what}: whoever reads the repository or a preview has it. "
                    "Remove it, revoke it, and keep the new one in Secrets Manager (docs/adopt.md)."
                )
    return faults


def project_faults(folder: Path) -> list[str]:
    """Return what is wrong with Pulumi.yaml; its name is part of every URN."""
    path = folder / "Pulumi.yaml"
    try:
        whole = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        return [f"There is no Pulumi.yaml in {folder}: `pulumi` needs it there. Restore it."]
    except (OSError, UnicodeDecodeError):
        return ["Pulumi.yaml cannot be read. Restore the file."]
    except StackFileError as error:
        return [str(error)]
    name = cast("dict[str, object]", whole).get("name") if isinstance(whole, dict) else None
    if name != PROJECT:
        msg = (
            f"Pulumi.yaml has the name {name!r}: it must stay {PROJECT}, because the name is part of every URN and of the "
            "settings' keys. Change it back."
        )
        return [msg]
    return []


def _kind(value: object) -> str:
    kinds: Mapping[type, str] = {list: "list", str: "text", int: "number", float: "number", bool: "boolean", dict: "mapping"}
    return "missing value" if value is None else kinds.get(type(value), "value")


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, (dict, list)):
        return f"a {_kind(cast('object', value))} of {len(cast('list[object]', value))}"
    return f'"{value}" (text)' if isinstance(value, str) and re.fullmatch(r"[\d.]+|true|false|yes|no", value) else str(value)


__all__ = [
    "PROJECT",
    "SHARED",
    "StackFile",
    "StackFileError",
    "faults_between",
    "parse_yaml",
    "project_faults",
    "read",
    "read_all",
    "secrets_in",
    "stacks_in",
]
