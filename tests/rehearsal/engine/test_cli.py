"""The driver of the command line, against one that does as it is told: writes a log of events, prints, ends or hangs."""

import json
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from rehearsal.engine import cli
from rehearsal.engine.cli import ADMINISTRATOR, Engine, EngineError, Running
from tests.conftest import EXAMPLE

# Reads beside itself what it is to do, by its verb.
PULUMI: Final = """#!{python} -ISE
import json, os, pathlib, signal, sys
here = pathlib.Path(sys.argv[0]).parent
asked = sys.argv[1:]
with (here / "asked").open("a") as log:
    log.write(json.dumps(asked) + "\\n")
given = here / (asked[0] if asked[0] != "stack" else asked[1])
told = json.loads(given.read_text()) if given.is_file() else {{}}
if told.get("events"):
    pathlib.Path(asked[asked.index("--event-log") + 1]).write_text(told["events"])
print(json.dumps(dict(os.environ)) if told.get("environment") else told.get("print", ""), flush=True)
if told.get("hang"):
    signal.pause()
sys.exit(told.get("code", 0))
"""
URN: Final = "urn:pulumi:dev::slipway::aws:sqs/queue:Queue::images"

Told = Callable[..., None]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """A driver of it, with an empty project."""
    folder = tmp_path / "bin"
    folder.mkdir()
    made = Engine(pulumi=folder / "pulumi", plugins=tmp_path / "plugins", folder=tmp_path / "engine", accounts={"dev": "1" * 12})
    made.pulumi.write_text(PULUMI.format(python=sys.executable), encoding="utf-8")
    made.pulumi.chmod(made.pulumi.stat().st_mode | stat.S_IXUSR)
    made.project("dev").mkdir(parents=True)
    return made


@pytest.fixture
def told(engine: Engine) -> Told:
    """Says what a verb does."""

    def tell(verb: str, events: Sequence[Mapping[str, Any]] = (), *, rest: str = "", **more: object) -> None:
        lines = "".join(f"{json.dumps(each)}\n" for each in events) + rest
        engine.pulumi.with_name(verb).write_text(json.dumps({**more, "events": lines}), encoding="utf-8")

    return tell


def asked(engine: Engine) -> list[list[str]]:
    """Every command so far."""
    return [json.loads(line) for line in engine.pulumi.with_name("asked").read_text(encoding="utf-8").splitlines()]


def before(operation: str, *diffs: str, urn: str = URN) -> dict[str, Any]:
    """The event before a step."""
    return {"resourcePreEvent": {"metadata": {"op": operation, "urn": urn, "type": "aws:sqs/queue:Queue", "diffs": list(diffs)}}}


def said(severity: str, message: str) -> dict[str, Any]:
    """What the engine says."""
    return {"diagnosticEvent": {"severity": severity, "urn": URN, "message": message}}


def test_an_outcome_is_what_the_log_of_events_tells(engine: Engine, told: Told) -> None:
    told(
        "up",
        [
            before("same"),
            before("read"),
            before("update", "visibilityTimeoutSeconds"),
            before("create", urn=f"{URN}-2"),
            # Of an `up`, the event after a step tells nothing new.
            {"resOutputsEvent": {"metadata": before("update")["resourcePreEvent"]["metadata"]}},
            said("info", "a word by the way"),
            said("warning", "using pulumi-resource-aws from $PATH at /somewhere"),
            said("warning", " a queue without letters \n"),
        ],
        print="Updating (dev)",
    )
    outcome = engine.up("dev", "--target", URN)
    assert [(each.operation, each.name, each.keys) for each in outcome.steps] == [
        ("update", "images", ("visibilityTimeoutSeconds",)),
        ("create", "images-2", ()),
    ]
    assert [each.name for each in outcome.of("create", "delete")] == ["images-2"]
    assert (outcome.command, outcome.stack, outcome.code, outcome.kept) == ("up", "dev", 0, 2)
    assert outcome.diagnostics == (f"warning: {URN}: a queue without letters",)
    assert outcome.output == "Updating (dev)\n"


def test_a_refreshs_steps_are_what_it_found_otherwise(engine: Engine, told: Told) -> None:
    found = [before(op, urn=f"{URN}-{op}")["resourcePreEvent"] for op in ("same", "update", "delete")]
    told("refresh", [before("refresh"), *({"resOutputsEvent": each} for each in found)])
    outcome = engine.refresh("dev")
    assert [each.name for each in outcome.steps] == ["images-update", "images-delete"]
    assert outcome.kept == 1


def test_a_log_that_was_cut_off_is_read_as_far_as_it_goes(engine: Engine, told: Told) -> None:
    told("preview", [before("create")], rest='{"resourcePreEvent": {"meta')
    assert len(engine.preview("dev").steps) == 1


def test_an_error_is_raised_in_the_engines_words_with_what_is_known_of_the_run(engine: Engine, told: Told) -> None:
    told("up", [before("create"), said("error", "AWS would refuse it")], code=255, print="much more")
    with pytest.raises(EngineError) as caught:
        engine.up("dev")
    assert str(caught.value) == f"pulumi up --yes --skip-preview of dev ended with 255:\nerror: {URN}: AWS would refuse it"
    assert [each.operation for each in caught.value.outcome.steps] == ["create"]
    assert engine.up("dev", check=False).code == 255


def test_an_error_without_a_log_is_told_by_what_was_printed(engine: Engine, told: Told) -> None:
    told("init", code=1, print="error: no such backend")
    with pytest.raises(EngineError, match=r"pulumi stack init dev of dev ended with 1:\nerror: no such backend"):
        engine.up("dev")


def test_a_stack_is_made_once_and_commands_ask_nobody(engine: Engine) -> None:
    engine.up("dev")
    engine.preview("dev")
    (init, up, preview) = asked(engine)
    assert init[:3] == ["stack", "init", "dev"]
    assert (up[:3], preview[0]) == (["up", "--yes", "--skip-preview"], "preview")
    for each in (init, up, preview):
        assert "--non-interactive" in each
    assert up[up.index("--stack") + 1] == "dev"


def test_the_command_line_gets_nothing_of_the_callers_but_path(
    engine: Engine, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "PULUMI_ACCESS_TOKEN", "KUBECONFIG", "GITHUB_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, "somebody's")
    monkeypatch.setenv("PATH", "/usr/bin")
    engine.extra = {"SLIPWAY_EXTRA": "1"}
    told("up", environment=True)
    got = json.loads(engine.up("dev").output)
    assert "somebody's" not in got.values()
    # What the interpreter sets for itself aside.
    assert set(got) - {"LC_CTYPE"} == set(engine.environment("dev"))
    assert got["PATH"].split(":") == [str(engine.plugins), str(engine.pulumi.parent), "/usr/bin"]
    assert (got["AWS_ACCESS_KEY_ID"], got["SLIPWAY_EXTRA"], got["HOME"]) == ("1" * 12, "1", str(engine.folder))
    assert json.loads(engine.up("dev", account="2" * 12).output)["AWS_ACCESS_KEY_ID"] == "2" * 12


def test_an_administrator_runs_a_stack_until_its_first_up_has_ended_well_and_its_roles_afterwards(
    engine: Engine, told: Told
) -> None:
    engine.identify = lambda stack, role: ({"AWS_ACCESS_KEY_ID": f"{stack} {role}"}, f"{role} of {stack}")
    told("up", code=1)
    callers = [engine.preview("dev").caller, engine.up("dev", check=False).caller, engine.refresh("dev").caller]
    told("up", environment=True)
    first = engine.up("dev")
    callers.append(first.caller)
    assert callers == ["administrator of dev"] * 4
    assert json.loads(first.output)["AWS_ACCESS_KEY_ID"] == "dev administrator"
    runs = [engine.preview("dev"), engine.up("dev"), engine.refresh("dev"), engine.destroy("dev")]
    assert [each.caller for each in runs] == ["preview of dev", *["deploy of dev"] * 3]
    assert engine.run("refresh", "--preview-only", stack="dev").caller == "deploy of dev"
    assert engine.destroy("dev", role=ADMINISTRATOR).caller == "administrator of dev"
    # The root of an account, whatever the roles.
    assert engine.up("dev", account="2" * 12).caller == f"the root of account {'2' * 12}"


def test_a_command_that_hangs_is_ended_and_says_so(engine: Engine, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.init("dev")
    monkeypatch.setattr(cli, "_LIMIT_SECONDS", 0.3)
    told("up", hang=True)
    with pytest.raises(EngineError, match=r"ended with -9:\n(.*\n)*ended after 0\.3 s: it hangs"):
        engine.up("dev")


def test_a_run_can_be_killed_while_it_is_under_way(engine: Engine, told: Told) -> None:
    told("up", [before("create")], hang=True)
    seen: list[int] = []

    def lost(running: Running) -> None:
        seen.append(running.process.pid)
        running.kill()

    assert engine.up("dev", begun=lost, check=False).code == -9
    assert len(seen) == 1


def test_a_stacks_file_is_the_checkouts_but_for_what_is_set_or_taken_out(engine: Engine) -> None:
    ours = yaml.safe_load((EXAMPLE / "Pulumi.dev.yaml").read_text(encoding="utf-8"))["config"]
    path = engine.project("dev") / "Pulumi.dev.yaml"
    path.write_text("encryptionsalt: v1:kept\nconfig: {old: 1}\n", encoding="utf-8")
    engine.configure("dev", {"slipway:colour": "blue", next(iter(ours)): None})
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert written["encryptionsalt"] == "v1:kept"
    assert written["config"] == {**dict(list(ours.items())[1:]), "slipway:colour": "blue"}


def test_a_program_is_copied_without_what_python_leaves_in_it(engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / "checkout"
    for each in ("components/__pycache__/a.pyc", "components/a.py", "tests/b.py", "__main__.py"):
        (source / each).parent.mkdir(parents=True, exist_ok=True)
        (source / each).touch()
    engine.project("dev").rmdir()
    engine.copy_project(source)
    copied = {each.relative_to(engine.project("dev")).as_posix() for each in engine.project("dev").rglob("*") if each.is_file()}
    assert copied == {"components/a.py", "__main__.py", "Pulumi.yaml", "services.py"}


def test_a_state_is_handed_back_as_declared_with_its_secrets_shown(engine: Engine, told: Told) -> None:
    key = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": '{"a":"key"}'}
    resources = [
        {"urn": "urn:pulumi:dev::slipway::pulumi:pulumi:Stack::dev", "type": "pulumi:pulumi:Stack"},
        {
            "urn": URN,
            "type": "aws:sqs/queue:Queue",
            "custom": True,
            "id": "https://queue",
            "inputs": {"name": "images", "tags": [key]},
            "outputs": {"arn": "arn"},
            "dependencies": ["urn"],
            "protect": True,
        },
    ]
    told("export", print=json.dumps({"deployment": {"resources": resources}}))
    (queue,) = engine.program("dev").resources
    assert (queue.name, queue.id, queue.type) == ("images", "https://queue", "aws:sqs/queue:Queue")
    assert (queue.custom, queue.protect, queue.retain_on_delete, tuple(queue.dependencies)) == (True, True, False, ("urn",))
    assert queue.inputs == {"name": "images", "tags": [{"a": "key"}]}
    assert "--show-secrets" in asked(engine)[-1]
