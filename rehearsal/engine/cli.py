"""Drives the real command line, as a person or a workflow would: a project in a folder, a state, `pulumi up`.

What is not the user's way is in the environment alone: PATH finds the stand-in plugins, and the credentials are those of an
emulated account.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from rehearsal.engine.plugins import path_with
from rehearsal.program import ROOT, Call, Declared, Program, platform_folder

# What a program reads of the project; the rest of a checkout is of no interest to it.
_PARTS: Final = ("__main__.py", "components", "scaffold", "dist")
_PLATFORM_PARTS: Final = ("Pulumi.yaml", "services.py")
_LIMIT_SECONDS: Final = 300
ADMINISTRATOR: Final = "administrator"
"""The person who makes a stack's first `up`."""
DEPLOY: Final = "deploy"
PREVIEW: Final = "preview"
Role = str
"""Who runs the command line: one of the three."""
_SAME: Final = frozenset({"same", "read", "refresh"})


class EngineError(Exception):
    """The command line did not end well. The message is its own words."""

    def __init__(self, message: str, outcome: "Outcome") -> None:
        """Keep what is known of the run."""
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the engine does to one resource.

    Attributes:
        operation: `create`, `update`, `replace`, `delete`, `same`…
        urn: Whom.
        type: Its type token.
        keys: Properties that differ.
    """

    operation: str
    urn: str
    type: str
    keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Logical name."""
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run of the command line.

    Attributes:
        command: Its verb.
        stack: Whose.
        seconds: How long it took.
        code: How it ended.
        steps: What it did, or would do, without what stays as it is.
        kept: How many resources stay as they are.
        diagnostics: Errors and warnings, in its own words.
        output: All that it printed.
        caller: Who ran it: the ARN of the session, or the account whose root it was.
    """

    command: str
    stack: str
    seconds: float
    code: int
    steps: Sequence[Step]
    kept: int
    diagnostics: Sequence[str]
    output: str
    caller: str = ""

    def of(self, *operations: str) -> list[Step]:
        """Steps of some operations."""
        return [each for each in self.steps if each.operation in operations]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A run under way."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End the engine as a lost machine would: at once, and all that it has started."""
        os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(kw_only=True)
class Engine:
    """Copies of the project, with a state of their own.

    Attributes:
        pulumi: The command line.
        plugins: Folder of what the engine finds in front of all else.
        folder: Projects, state and logs; new and empty.
        accounts: Whose credentials each stack is run with.
        extra: More of the environment.
        identify: Gives credentials (environment variables) of a stack's role, and says who that is; without it every stack
            runs as its account's root.
    """

    pulumi: Path
    plugins: Path
    folder: Path
    accounts: Mapping[str, str]
    extra: Mapping[str, str] = field(default_factory=dict[str, str])
    identify: Callable[[str, Role], tuple[Mapping[str, str], str]] | None = None
    _grown: set[str] = field(default_factory=set[str])
    _known: set[str] = field(default_factory=set[str])

    def project(self, stack: str) -> Path:
        """Folder of a stack's checkout: each has its own, as in CI, so that several can be run side by side."""
        return self.folder / "projects" / stack

    def copy_project(self, source: Path = ROOT) -> None:
        """Take the program of a checkout and the services of the platform, for every stack."""
        for project in map(self.project, self.accounts):
            project.mkdir(parents=True)
            for found in (*(source / name for name in _PARTS), *(platform_folder() / name for name in _PLATFORM_PARTS)):
                name = found.name
                if found.is_dir():
                    shutil.copytree(found, project / name, ignore=shutil.ignore_patterns("__pycache__"))
                elif found.is_file():
                    shutil.copy(found, project / name)

    def configure(self, stack: str, overrides: Mapping[str, object]) -> None:
        """Write a stack's file: as in the checkout, but for some keys; None removes one."""
        path = self.project(stack) / f"Pulumi.{stack}.yaml"
        kept: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        given = (platform_folder() / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8")
        config: dict[str, Any] = yaml.safe_load(given).get("config", {})
        for key, value in overrides.items():
            if value is None:
                config.pop(key, None)
            else:
                config[key] = value
        path.write_text(yaml.safe_dump({**kept, "config": config}, sort_keys=False), encoding="utf-8")

    # The verbs

    def init(self, stack: str) -> None:
        """Make a stack, unless it is there."""
        if stack not in self._known:
            self.run("stack", "init", stack, stack=stack)
            self._known.add(stack)

    def up(self, stack: str, *options: str, **more: Any) -> Outcome:  # noqa: ANN401 — passed on
        """`pulumi up`, without the preview before it."""
        self.init(stack)
        outcome = self.run("up", "--yes", "--skip-preview", *options, stack=stack, **more)
        if not outcome.code:
            # The roles are there now.
            self._grown.add(stack)
        return outcome

    def preview(self, stack: str, *options: str, **more: Any) -> Outcome:  # noqa: ANN401 — passed on
        """`pulumi preview`."""
        self.init(stack)
        return self.run("preview", *options, stack=stack, **more)

    def refresh(self, stack: str, *options: str, **more: Any) -> Outcome:  # noqa: ANN401 — passed on
        """`pulumi refresh`."""
        return self.run("refresh", "--yes", "--skip-preview", *options, stack=stack, **more)

    def destroy(self, stack: str, *options: str, **more: Any) -> Outcome:  # noqa: ANN401 — passed on
        """`pulumi destroy`."""
        return self.run("destroy", "--yes", "--skip-preview", *options, stack=stack, **more)

    def run(
        self,
        *arguments: str,
        stack: str,
        account: str = "",
        role: Role = "",
        check: bool = True,
        begun: Callable[[Running], None] | None = None,
    ) -> Outcome:
        """Run the command line in the project.

        Args:
            arguments: Verb and options.
            stack: For whom.
            account: Root of which account runs it, instead of a role.
            role: As whom; unless given, previews as the preview role and all else as the deploy role. Until the stack's first
                `up` has ended well there are no such roles, and its administrator runs everything.
            check: Whether an error of its is raised.
            begun: Told of the process once it runs.

        Raises:
            EngineError: it ended with an error, or not in time.
        """
        log = Path(tempfile.mkdtemp(dir=self.folder)) / "events"
        events = ["--event-log", str(log)] if arguments[0] in {"up", "preview", "refresh", "destroy"} else []
        began = time.monotonic()
        credentials, caller = self._credentials(stack, account, role or self.role(stack, arguments[0]))
        process = subprocess.Popen(
            [
                self.pulumi,
                *arguments,
                *([] if arguments[:2] == ("stack", "init") else ["--stack", stack]),
                *events,
                "--non-interactive",
                "--color",
                "never",
            ],
            cwd=self.project(stack),
            env=self.environment(stack, credentials),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running = Running(process=process)
        if begun is not None:
            begun(running)
        try:
            printed, _ = process.communicate(timeout=_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            printed, _ = process.communicate()
            printed += f"\nended after {_LIMIT_SECONDS} s: it hangs".encode()
        outcome = replace(
            _outcome(
                arguments[0], stack, time.monotonic() - began, process.returncode, _events(log), printed.decode(errors="replace")
            ),
            caller=caller,
        )
        if check and outcome.code:
            said = "\n".join(outcome.diagnostics) or outcome.output
            msg = f"pulumi {' '.join(arguments)} of {stack} ended with {outcome.code}:\n{said}"
            raise EngineError(msg, outcome)
        return outcome

    def role(self, stack: str, command: str) -> Role:
        """As whom a command runs by itself."""
        if stack not in self._grown:
            return ADMINISTRATOR
        return PREVIEW if command == "preview" else DEPLOY

    def _credentials(self, stack: str, account: str, role: Role) -> tuple[Mapping[str, str], str]:
        if self.identify is not None and not account:
            return self.identify(stack, role)
        # The emulators take the account from the key.
        whose = account or self.accounts[stack]
        return {"AWS_ACCESS_KEY_ID": whose, "AWS_SECRET_ACCESS_KEY": "rehearsal"}, f"the root of account {whose}"

    def environment(self, stack: str, credentials: Mapping[str, str] | None = None) -> dict[str, str]:
        """What the command line gets: nothing of the caller's but what programs need to run."""
        return {
            "PATH": path_with(self.plugins, self.pulumi.parent),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.folder}",
            "PULUMI_CONFIG_PASSPHRASE": "rehearsal",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # For the log of events.
            "PULUMI_DEBUG_COMMANDS": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **(credentials if credentials is not None else self._credentials(stack, "", self.role(stack, ""))[0]),
            "GITHUB_TOKEN": "rehearsal",
            **self.extra,
        }

    # The state

    def export(self, stack: str) -> Mapping[str, Any]:
        """The stack's state, secrets shown."""
        printed = self.run("stack", "export", "--show-secrets", stack=stack).output
        return json.loads(printed)["deployment"]

    def program(self, stack: str) -> Program:
        """What stands in the state, in the shape in which an evaluated program is handed back."""
        found = [each for each in self.export(stack).get("resources", []) if each["type"] != "pulumi:pulumi:Stack"]
        return Program(
            stack=stack, resources=tuple(_declared(stack, each) for each in found), calls=tuple[Call](), exports={}, warnings=()
        )


def _declared(stack: str, each: Mapping[str, Any]) -> Declared:
    return Declared(
        stack=stack,
        type=each["type"],
        name=each["urn"].rpartition("::")[2],
        inputs=_shown(each.get("inputs", {})),
        custom=bool(each.get("custom")),
        parent=each.get("parent", ""),
        urn=each["urn"],
        id=each.get("id", ""),
        outputs=_shown(each.get("outputs", {})),
        protect=bool(each.get("protect")),
        retain_on_delete=bool(each.get("retainOnDelete")),
        dependencies=tuple(each.get("dependencies", ())),
        property_dependencies=each.get("propertyDependencies") or {},
        provider=each.get("provider", ""),
    )


def _shown(value: Any) -> Any:  # noqa: ANN401 — JSON
    """A state's value with its secrets, which an export shows as JSON in a string."""
    if isinstance(value, list):
        return [_shown(each) for each in value]  # pyright: ignore[reportUnknownVariableType] — JSON
    if isinstance(value, dict):
        if "plaintext" in value:
            return json.loads(value["plaintext"])  # pyright: ignore[reportUnknownArgumentType] — JSON
        return {key: _shown(each) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType] — JSON
    return value


def _events(log: Path) -> list[dict[str, Any]]:
    if not log.is_file():
        return []
    found: list[dict[str, Any]] = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            # A killed engine has written half of its last line.
            break
    return found


def _outcome(  # noqa: PLR0913, PLR0917 — what is known of a run, in the order of `Outcome`
    command: str, stack: str, seconds: float, code: int, events: Sequence[Mapping[str, Any]], output: str
) -> Outcome:
    steps: list[Step] = []
    kept, diagnostics = 0, list[str]()
    for event in events:
        if "resourcePreEvent" in event:
            told = event["resourcePreEvent"]["metadata"]
            if told["op"] in _SAME:
                kept += 1
                continue
            steps.append(Step(operation=told["op"], urn=told["urn"], type=told["type"], keys=tuple(told.get("diffs") or ())))
        elif "resOutputsEvent" in event and command == "refresh":
            told = event["resOutputsEvent"]["metadata"]
            if told["op"] in {"update", "delete"}:
                steps.append(Step(operation=told["op"], urn=told["urn"], type=told["type"], keys=tuple(told.get("diffs") or ())))
        elif "diagnosticEvent" in event:
            said = event["diagnosticEvent"]
            # That plugins come from PATH is what is meant here.
            if said.get("severity") in {"error", "warning"} and " from $PATH at " not in said["message"]:
                diagnostics.append(f"{said['severity']}: {said.get('urn', '')}: {said['message'].strip()}")
    return Outcome(
        command=command,
        stack=stack,
        seconds=seconds,
        code=code,
        steps=tuple(steps),
        kept=kept,
        diagnostics=tuple(diagnostics),
        output=output,
    )


__all__ = ["ADMINISTRATOR", "DEPLOY", "PREVIEW", "Engine", "EngineError", "Outcome", "Role", "Running", "Step"]
