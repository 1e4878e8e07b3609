"""Runs a buildspec as CodeBuild does, and refuses one that uses what is not known here.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml

PHASES: Final = ("install", "pre_build", "build", "post_build")
# "Do not set any environment variable with a name that starts with CODEBUILD_. This prefix is reserved for internal use."
_RESERVED: Final = "CODEBUILD_"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# The commands run in this shell itself, one after the other, until one fails; whatever then is the environment and the
# folder is left behind for the next phase, also when `set -e` ends the shell.
_SHELL: Final = r"""
__state=$1; shift
trap '__status=$?; trap - EXIT; env -0 >"$__state/environment"; pwd >"$__state/folder"; exit "$__status"' EXIT
__commands=("$@"); set --
for __number in "${!__commands[@]}"; do
  printf '%s' "$__number" >"$__state/command"
  printf '[Container] Running command %s\n' "${__commands[$__number]}"
  eval "${__commands[$__number]}"
  __status=$?
  if [ "$__status" -ne 0 ]; then exit "$__status"; fi
done
"""


class BuildspecError(ValueError):
    """A buildspec that CodeBuild would refuse, or that uses what this runner does not know."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """How a phase ended.

    Attributes:
        name: Its name in the buildspec.
        seconds: How long it took.
        failed: The command that failed, "" when the phase succeeded.
        status: Exit status of that command.
    """

    name: str
    seconds: float
    failed: str = ""
    status: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether every command succeeded."""
        return not self.failed


@dataclass(frozen=True, kw_only=True)
class Build:
    """How a build ended.

    Attributes:
        phases: The phases that ran, in their order.
        exported: What `exported-variables` names, as far as it was set.
    """

    phases: Sequence[Phase]
    exported: Mapping[str, str]

    @property
    def succeeded(self) -> bool:
        """Whether every phase did."""
        return all(phase.succeeded for phase in self.phases)


@dataclass(frozen=True, kw_only=True)
class _Buildspec:
    variables: Mapping[str, str]
    exported: Sequence[str]
    phases: Mapping[str, Sequence[str]]


@dataclass
class _State:
    """What one shell leaves to the next."""

    environment: dict[str, str]
    folder: str


def run_buildspec(  # noqa: PLR0913 — each is a part of what CodeBuild is given
    text: str,
    *,
    source: Path,
    variables: Mapping[str, str],
    host: Mapping[str, str],
    say: Callable[[str], None],
    shared_shell: bool = True,
    timeout_seconds: float = 600,
) -> Build:
    """Run the build.

    Args:
        text: The buildspec.
        source: Folder of the checked-out source; the build runs in it and may change it.
        variables: The project's environment variables and those of the pipeline's action, which go before the buildspec's own.
        host: All else that the build finds in its environment: PATH, HOME, AWS_REGION, credentials.
        say: Hears every line of the log.
        shared_shell: Whether a phase's commands share one shell, as CodeBuild's manual has it: "runs all build commands in
            the same instance of the default shell". Its builds are also seen to run each command as a script of its own, with
            only folder and exported variables handed on; False does that. A good buildspec holds under both.
        timeout_seconds: When a shell is ended.

    Raises:
        BuildspecError: the buildspec cannot be run as CodeBuild would.
    """
    spec = _parse(text)
    for name in variables:
        _check_name(name, "a variable of the project or the action")
    # Start of the build, then project, then buildspec: the first that has a variable gives it.
    # https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html
    state = _State({**spec.variables, **variables, **_given(source, host)}, str(source))
    ended: list[Phase] = []
    for name in PHASES:
        if name not in spec.phases:
            continue
        state.environment["CODEBUILD_BUILD_SUCCEEDING"] = "1" if all(each.succeeded for each in ended) else "0"
        say(f"[Container] Entering phase {name.upper()}")
        commands = spec.phases[name]
        begun = time.monotonic()
        failed, status = "", 0
        for batch in [commands] if shared_shell else [[each] for each in commands]:
            failed, status = _shell(batch, state, say, timeout_seconds)
            if failed:
                break
        ended.append(Phase(name=name, seconds=time.monotonic() - begun, failed=failed, status=status))
        if failed:
            say(f"[Container] Command did not exit successfully {failed} exit status {status}")
        say(f"[Container] Phase complete: {name.upper()} State: {'FAILED' if failed else 'SUCCEEDED'}")
        # A failed build is followed by post_build, a failure before it by nothing.
        # https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html
        if failed and name != "build":
            break
    exported = {name: state.environment[name] for name in spec.exported if name in state.environment}
    for name in spec.exported:
        if name not in exported:
            say(f"[Container] exported variable {name} was not set")
    return Build(phases=ended, exported=exported)


def _given(source: Path, host: Mapping[str, str]) -> dict[str, str]:
    """What every build finds: https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html ."""
    given = {**host, "CI": "true", "CODEBUILD_CI": "true", "CODEBUILD_SRC_DIR": str(source)}
    for needed in ("PATH", "HOME", "AWS_REGION"):
        if needed not in given:
            msg = f"the build's host has no {needed}; it has {sorted(host)}"
            raise BuildspecError(msg)
    return {"AWS_DEFAULT_REGION": given["AWS_REGION"], "CODEBUILD_START_TIME": str(int(time.time() * 1000)), **given}


def _shell(commands: Sequence[str], state: _State, say: Callable[[str], None], timeout_seconds: float) -> tuple[str, int]:
    """Run commands in one bash, and keep what it leaves behind in `state`.

    Returns:
        The command that failed, "" if none did, and its exit status.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-build-") as folder:
        left = Path(folder)
        with subprocess.Popen(
            [_bash(state), "--noprofile", "--norc", "-c", _SHELL, "bash", folder, *commands],
            cwd=state.folder,
            env=state.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            late = threading.Timer(timeout_seconds, _end, [process.pid])
            late.start()
            try:
                for line in process.stdout or ():
                    say(line.rstrip("\n"))
                status = process.wait()
            finally:
                late.cancel()
                # What a command has left running would keep the build's folder busy.
                _end(process.pid)
        reached = (left / "command").read_text(encoding="utf-8") if (left / "command").exists() else "0"
        command = commands[int(reached)]
        if (left / "environment").exists():
            pairs = (each.partition("=") for each in (left / "environment").read_text(encoding="utf-8").split("\0") if each)
            state.environment = {name: value for name, _, value in pairs if name not in {"_", "SHLVL", "OLDPWD", "PWD"}}
            state.folder = (left / "folder").read_text(encoding="utf-8").rstrip("\n")
        elif status == 0:
            msg = f"{command!r} has ended the shell without its EXIT trap, which this runner needs: set no such trap, use no exec"
            raise BuildspecError(msg)
        # Else it was killed, as when it took too long: what it had set is lost with it.
        return (command, status) if status else ("", 0)


def _bash(state: _State) -> str:
    found = shutil.which("bash", path=state.environment["PATH"])
    if found is None:
        msg = f"bash is not on the build's PATH, {state.environment['PATH']}"
        raise BuildspecError(msg)
    return found


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


# Reading


def _parse(text: str) -> _Buildspec:
    try:
        loaded: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f"the buildspec is no YAML: {error}"
        raise BuildspecError(msg) from error
    whole = _mapping(loaded, "the buildspec", {"version", "env", "phases"})
    if str(whole.get("version")) != "0.2":
        # 0.1 runs each command in a shell of its own, without the others' variables.
        msg = f"version is {whole.get('version')!r}: 0.2 is known"
        raise BuildspecError(msg)
    env = _mapping(whole.get("env", {}), "env", {"shell", "variables", "exported-variables"})
    if env.get("shell") != "bash":
        msg = f"env.shell is {env.get('shell')!r}: bash is known, and CodeBuild takes sh unless told"
        raise BuildspecError(msg)
    variables = _mapping(env.get("variables", {}), "env.variables", None)
    for name, value in variables.items():
        _check_name(name, "env.variables")
        if not isinstance(value, str):
            msg = f"env.variables.{name} is {value!r}: only strings are allowed; put it in quotes"
            raise BuildspecError(msg)
    exported = _list(env.get("exported-variables", []), "env.exported-variables")
    for name in exported:
        _check_name(name, "env.exported-variables")
    phases = _mapping(whole.get("phases"), "phases", set(PHASES))
    commands: dict[str, list[str]] = {}
    for name, phase in phases.items():
        commands[name] = _list(_mapping(phase, f"phases.{name}", {"commands"}).get("commands"), f"phases.{name}.commands")
        if not commands[name]:
            msg = f"phases.{name}.commands is empty: at least one command is needed"
            raise BuildspecError(msg)
    if not commands:
        msg = f"phases is empty: at least one of {PHASES} is needed"
        raise BuildspecError(msg)
    return _Buildspec(variables=cast("dict[str, str]", variables), exported=exported, phases=commands)


def _mapping(given: object, where: str, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(given, dict):
        msg = f"{where} is {given!r}: a mapping is needed"
        raise BuildspecError(msg)
    found = cast("dict[str, Any]", given)
    if known is not None and (strange := sorted(str(key) for key in found if key not in known)):
        msg = f"{where} has {strange}: this runner knows {sorted(known)}; teach it the rest, or leave it out"
        raise BuildspecError(msg)
    return found


def _list(given: object, where: str) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in cast("list[object]", given)):
        msg = f"{where} is {given!r}: a list of strings is needed; a command with a colon and a space needs quotes"
        raise BuildspecError(msg)
    return cast("list[str]", given)


def _check_name(name: str, where: str) -> None:
    if not _NAME.fullmatch(name) or name.startswith(_RESERVED):
        msg = f"{where} names {name!r}: letters, digits and underscores are allowed, not beginning with a digit or {_RESERVED}"
        raise BuildspecError(msg)
