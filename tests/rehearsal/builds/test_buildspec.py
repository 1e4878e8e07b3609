"""The runner against what CodeBuild's manual says of phases, shells and variables."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from components.pipeline import BUILDSPEC
from rehearsal.builds import Build, BuildspecError, Images, run_buildspec

BOTH_SHELLS: Final = pytest.mark.parametrize("shared_shell", [True, False], ids=["one shell", "a script each"])


def spec(exported: list[str] | None = None, variables: Mapping[str, str] | None = None, **phases: list[str]) -> str:
    """A buildspec."""
    env = {"shell": "bash", "exported-variables": exported or [], "variables": dict(variables or {})}
    return yaml.safe_dump({"version": 0.2, "env": env, "phases": {name: {"commands": each} for name, each in phases.items()}})


def run(text: str, folder: Path, *, shared_shell: bool = True, **variables: str) -> tuple[Build, list[str]]:
    """The build and its log."""
    lines: list[str] = []
    host = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "AWS_REGION": "eu-central-1"}
    build = run_buildspec(text, source=folder, variables=variables, host=host, say=lines.append, shared_shell=shared_shell)
    return build, lines


def printed(lines: list[str]) -> list[str]:
    """What commands have printed."""
    return [line for line in lines if not line.startswith("[Container]")]


def test_phases_run_in_their_order_whatever_the_files(tmp_path: Path) -> None:
    build, lines = run(spec(post_build=["echo 3"], build=["echo 2"], pre_build=["echo 1"], install=["echo 0"]), tmp_path)
    assert printed(lines) == ["0", "1", "2", "3"]
    assert [phase.name for phase in build.phases] == ["install", "pre_build", "build", "post_build"]
    assert build.succeeded


@BOTH_SHELLS
def test_exported_variables_and_the_folder_last_from_command_to_command_and_phase_to_phase(
    tmp_path: Path, shared_shell: bool
) -> None:
    (tmp_path / "sub").mkdir()
    text = spec(
        ["A", "UNSET"],
        pre_build=["export A=$(printf 'one\\ntwo = 2')", "cd sub"],
        build=['echo "$A in $(basename "$PWD")"', "export A=3"],
    )
    build, lines = run(text, tmp_path, shared_shell=shared_shell)
    assert printed(lines) == ["one", "two = 2 in sub"]
    assert build.exported == {"A": "3"}
    assert "[Container] exported variable UNSET was not set" in lines


def test_options_and_plain_variables_last_as_long_as_the_shell(tmp_path: Path) -> None:
    text = spec(build=["plain=here", 'echo "<${plain:-}>"'], post_build=['echo "<${plain:-}>"'])
    assert printed(run(text, tmp_path)[1]) == ["<here>", "<>"]
    assert printed(run(text, tmp_path, shared_shell=False)[1]) == ["<>", "<>"]


@BOTH_SHELLS
@pytest.mark.parametrize("options", ["true", "set -euo pipefail"])
def test_a_failed_command_ends_its_phase_and_post_build_hears_of_it(tmp_path: Path, options: str, shared_shell: bool) -> None:
    text = spec(
        ["A"],
        build=[options, "export A=kept", "(exit 7)", "echo never"],
        post_build=['echo "succeeding: $CODEBUILD_BUILD_SUCCEEDING"'],
    )
    build, lines = run(text, tmp_path, shared_shell=shared_shell)
    assert printed(lines) == ["succeeding: 0"]
    assert not build.succeeded
    assert (build.phases[0].failed, build.phases[0].status, build.phases[1].succeeded) == ("(exit 7)", 7, True)
    assert build.exported == {"A": "kept"}
    assert "[Container] Phase complete: BUILD State: FAILED" in lines


def test_after_a_failure_before_the_build_nothing_follows(tmp_path: Path) -> None:
    build, lines = run(spec(pre_build=["false"], build=["echo never"], post_build=["echo never"]), tmp_path)
    assert printed(lines) == []
    assert [phase.name for phase in build.phases] == ["pre_build"]


def test_pipefail_and_unset_variables_hold_within_a_shell(tmp_path: Path) -> None:
    for broken in ("false | cat", 'echo "$NOWHERE"'):
        build, _ = run(spec(build=["set -euo pipefail", broken, "echo never"]), tmp_path)
        assert build.phases[0].failed == broken


def test_a_variable_of_the_project_goes_before_the_buildspecs_own(tmp_path: Path) -> None:
    text = spec(variables={"A": "spec", "B": "spec"}, build=['echo "$A $B"'])
    assert printed(run(text, tmp_path, B="project")[1]) == ["spec project"]


def test_the_environment_is_what_was_given_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THIS_MACHINE", "x")
    _, lines = run(spec(build=["env | cut -d= -f1 | sort"]), tmp_path, OWN="1")
    told = {"AWS_DEFAULT_REGION", "AWS_REGION", "CI", "CODEBUILD_BUILD_SUCCEEDING", "CODEBUILD_CI", "CODEBUILD_SRC_DIR"}
    shells = {"PWD", "SHLVL", "_"}
    assert set(printed(lines)) == told | shells | {"CODEBUILD_START_TIME", "HOME", "OWN", "PATH"}


def test_output_arrives_line_by_line_with_errors_in_their_place(tmp_path: Path) -> None:
    _, lines = run(spec(build=["echo out; echo err >&2; printf unended"]), tmp_path)
    assert printed(lines) == ["out", "err", "unended"]


def test_what_a_build_leaves_running_ends_with_its_phase(tmp_path: Path) -> None:
    build, lines = run(spec(build=["sleep 600 >/dev/null 2>&1 & echo $!"], post_build=["true"]), tmp_path)
    assert build.succeeded
    stat = Path(f"/proc/{printed(lines)[0]}/stat")
    # Killed, or waiting for this machine's first process to take note.
    assert not stat.exists() or stat.read_text(encoding="utf-8").split()[2] == "Z"


def test_a_build_that_takes_too_long_is_ended_as_failed(tmp_path: Path) -> None:
    host = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AWS_REGION": "eu-central-1"}
    build = run_buildspec(
        spec(build=["sleep 600"]), source=tmp_path, variables={}, host=host, say=lambda _: None, timeout_seconds=0.2
    )
    assert (build.phases[0].failed, build.phases[0].status) == ("sleep 600", -9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 0.1\nphases: {}", "0.2 is known"),
        ("version: 0.2\nenv: {shell: bash}\nphases: {}", "phases is empty"),
        ("version: 0.2\nenv: {shell: bash}\nphases: {deploy: {commands: [ls]}}", "deploy"),
        ("version: 0.2\nenv: {shell: bash}\nphases: {build: {commands: []}}", "at least one command"),
        ("version: 0.2\nenv: {shell: bash}\nphases: {build: {commands: [echo a: b]}}", "needs quotes"),
        ("version: 0.2\nenv: {shell: bash}\nphases: {build: {commands: [ls], on-failure: CONTINUE}}", "on-failure"),
        ("version: 0.2\nenv: {shell: bash}\nphases: {build: {commands: [ls]}}\nartifacts: {}", "artifacts"),
        ("version: 0.2\nphases: {build: {commands: [ls]}}", "env.shell is None"),
        ("version: 0.2\nenv: {shell: bash, variables: {A: 1}}\nphases: {build: {commands: [ls]}}", "only strings"),
        ("version: 0.2\nenv: {shell: bash, variables: {CODEBUILD_X: a}}\nphases: {build: {commands: [ls]}}", "CODEBUILD_"),
        ("version: 0.2\nenv: {shell: bash, secrets-manager: {}}\nphases: {build: {commands: [ls]}}", "secrets-manager"),
        ("- version", "a mapping is needed"),
        ("{", "no YAML"),
    ],
)
def test_a_buildspec_that_is_not_known_through_and_through_is_not_run(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BuildspecError, match=said):
        run(text, tmp_path)


def test_a_command_that_ends_the_shell_behind_its_back_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildspecError, match="EXIT trap"):
        run(spec(build=["exec true"]), tmp_path)


# The project's own buildspec


def fake_tools(folder: Path, **scripts: str) -> dict[str, str]:
    """A host whose aws and docker do as told."""
    tools = folder / "tools"
    tools.mkdir()
    told = {"aws": "echo password", "docker": 'echo "docker $*" >&2; [ "$1" != inspect ] || echo "repo@sha256:12"', **scripts}
    for name, script in told.items():
        (tools / name).write_text(f'#!/bin/sh\n[ "$1" != login ] || cat >/dev/null\n{script}\n', encoding="utf-8")
        (tools / name).chmod(0o755)
    return {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder), "AWS_REGION": "eu-central-1"}


DECLARED: Final = {
    "REPOSITORY_URL": "111111111111.dkr.ecr.eu-central-1.amazonaws.com/develop/storefront",
    "DOCKERFILE": "Dockerfile",
    "CONTEXT": ".",
    "PLATFORM": "linux/arm64",
    "SOURCE_COMMIT": "0123456789abcdef0123456789abcdef01234567",
}


def build_ours(
    folder: Path, host: Mapping[str, str], variables: Mapping[str, str], *, shared_shell: bool
) -> tuple[Build, list[str]]:
    """Run components/buildspec.yml."""
    lines: list[str] = []
    text = BUILDSPEC.read_text(encoding="utf-8")
    return run_buildspec(text, source=folder, variables=variables, host=host, say=lines.append, shared_shell=shared_shell), lines


@BOTH_SHELLS
def test_our_buildspec_exports_tag_and_digest(tmp_path: Path, shared_shell: bool) -> None:
    build, lines = build_ours(tmp_path, fake_tools(tmp_path), DECLARED, shared_shell=shared_shell)
    assert build.succeeded, lines
    assert build.exported["IMAGE_DIGEST"] == "sha256:12"
    time, _, commit = build.exported["IMAGE_TAG"].partition("-")
    assert (len(time), time[8], time[-1], commit) == (16, "T", "Z", "0123456789ab")
    image = f"{DECLARED['REPOSITORY_URL']}:{build.exported['IMAGE_TAG']}"
    login, built, pushed, inspected = (line for line in lines if line.startswith("docker "))
    assert login == "docker login --username AWS --password-stdin 111111111111.dkr.ecr.eu-central-1.amazonaws.com"
    assert built == (
        f"docker build --platform linux/arm64 --file ./Dockerfile --tag {image} "
        f"--label org.opencontainers.image.revision={DECLARED['SOURCE_COMMIT']} ."
    )
    assert pushed == f"docker push {image}"
    assert inspected == f"docker inspect --format {{{{index .RepoDigests 0}}}} {image}"


@BOTH_SHELLS
@pytest.mark.parametrize(
    ("scripts", "phase"),
    [
        ({"aws": "echo denied >&2; exit 254"}, "pre_build"),
        ({"docker": '[ "$1" != login ]'}, "pre_build"),
        ({"docker": '[ "$1" != build ]'}, "build"),
        ({"docker": '[ "$1" != push ]'}, "post_build"),
        ({"docker": '[ "$1" != inspect ]'}, "post_build"),
    ],
)
def test_our_buildspec_fails_where_a_tool_fails(tmp_path: Path, scripts: dict[str, str], phase: str, shared_shell: bool) -> None:
    build, lines = build_ours(tmp_path, fake_tools(tmp_path, **scripts), DECLARED, shared_shell=shared_shell)
    assert not build.succeeded, lines
    assert next(each.name for each in build.phases if not each.succeeded) == phase


@BOTH_SHELLS
@pytest.mark.parametrize("missing", ["SOURCE_COMMIT", "REPOSITORY_URL", "PLATFORM"])
def test_our_buildspec_does_not_go_on_without_a_variable(tmp_path: Path, missing: str, shared_shell: bool) -> None:
    given = {name: value for name, value in DECLARED.items() if name != missing}
    build, lines = build_ours(tmp_path, fake_tools(tmp_path), given, shared_shell=shared_shell)
    assert not build.succeeded, lines


def test_a_failed_build_pushes_nothing(tmp_path: Path) -> None:
    host = fake_tools(tmp_path, docker='echo "docker $1" >&2; [ "$1" != build ]')
    _, lines = build_ours(tmp_path, host, DECLARED, shared_shell=True)
    assert [line for line in lines if line.startswith("docker ")] == ["docker login", "docker build"]


def test_the_builds_path_has_the_shim_first_and_then_this_environments_tools(tmp_path: Path) -> None:
    shims, tools, *_ = Images(tmp_path).environment()["PATH"].split(":")
    assert (Path(shims) / "docker").stat().st_mode & 0o111
    assert tools == str(Path(sys.executable).parent)
