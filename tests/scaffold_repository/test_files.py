"""The files themselves: platform data, scripts, workflows, and how a body is cut."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from slipway import layout, main, owners
from slipway.changes import literal
from slipway.layout import Image, SlipwayError
from slipway.render import BODY_LENGTH, body

from functions.gitops_writer.manifests import read_pin, write_entry
from tests.scaffold_repository.kit import ROOT, SCAFFOLD, digest, pin_text, tag

SCRIPTS: Final = sorted((SCAFFOLD / ".github" / "slipway").glob("*.py"))
WORKFLOWS: Final = sorted((SCAFFOLD / ".github" / "workflows").glob("*.yml"))
PLATFORM: Final = SCAFFOLD / ".github" / "slipway" / "platform.json"


def workflow(path: Path) -> Any:  # noqa: ANN401 — YAML
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    # YAML 1.1 reads the key `on` as true.
    return found | {"on": found.get("on", found.get(True))}


# Platform


def test_the_ways_between_environments_follow_from_the_tracks() -> None:
    platform = layout.load(PLATFORM)
    assert [str(step) for step in platform.promotions] == ["dev → stg"]
    assert [str(step) for step in platform.releases] == ["stg → prd"]


def test_other_names_and_more_environments_are_data(tmp_path: Path) -> None:
    data = {
        "environments": {name: {"branch": f"env/{name}"} for name in ("live-us", "live-eu", "trial", "play")},
        "tracks": {
            "one": {"branch": "env/play", "overlay": "play", "environments": ["play"]},
            "two": {"branch": "env/trial", "overlay": None, "environments": ["trial", "live-us", "live-eu"]},
        },
    }
    place = tmp_path / "platform.json"
    place.write_text(json.dumps(data), encoding="utf-8")
    platform = layout.load(place)
    assert [str(step) for step in platform.promotions] == ["play → trial"]
    assert [str(step) for step in platform.releases] == ["trial → live-us", "trial → live-eu"]
    assert platform.owner("apps/a/base/image/kustomization.yaml") == "env/trial"
    assert platform.owner("apps/a/overlays/play/image/kustomization.yaml") == "env/play"
    assert platform.owner("apps/a/overlays/live-us/pin/kustomization.yaml") == "env/live-us"
    assert platform.owner("apps/a/base/kustomization.yaml") is None
    trial, europe = platform.environment("trial"), platform.environment("live-eu")
    assert platform.concerns("apps/a/overlays/live-us/kustomization.yaml", trial)
    assert not platform.concerns("apps/a/overlays/live-us/kustomization.yaml", europe)
    assert not platform.concerns("apps/a/overlays/play/kustomization.yaml", trial)
    assert platform.concerns("apps/a/base/deployment.yaml", europe)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"environments": ["dev", "qa"]}, "a track names environment 'qa'"),
        ({"environments": []}, "no track runs in dev"),
        ({"overlay": None}, "of 2 tracks exactly one"),
    ],
)
def test_a_platform_that_does_not_hold_together_is_refused(tmp_path: Path, change: Mapping[str, Any], said: str) -> None:
    data = json.loads(PLATFORM.read_text(encoding="utf-8"))
    data["tracks"]["develop"] |= change
    place = tmp_path / "platform.json"
    place.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SlipwayError, match=said):
        layout.load(place)


def test_two_environments_on_one_branch_are_refused(tmp_path: Path) -> None:
    data = json.loads(PLATFORM.read_text(encoding="utf-8"))
    data["environments"]["prd"]["branch"] = "stg"
    place = tmp_path / "platform.json"
    place.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(
        SlipwayError, match=r"prd has branch 'stg', which stg reads: a branch of its own .* Give one of them another"
    ):
        layout.load(place)


def test_an_application_s_repository_has_its_name_unless_the_platform_has_another(tmp_path: Path) -> None:
    data = json.loads(PLATFORM.read_text(encoding="utf-8"))
    data["applications"] |= {"host": "https://git.example.com/", "repositories": {"cart": "shop-cart"}}
    place = tmp_path / "platform.json"
    place.write_text(json.dumps(data), encoding="utf-8")
    found = layout.load(place).applications
    assert found is not None
    assert found.compare("cart", "a", "b") == "https://git.example.com/example-org/shop-cart/compare/a...b"
    assert found.commit("pay](x) y", "a") == "https://git.example.com/example-org/pay%5D%28x%29%20y/commit/a"
    del data["applications"]
    place.write_text(json.dumps(data), encoding="utf-8")
    assert layout.load(place).applications is None


# Machine-written files


@pytest.mark.parametrize(
    "text",
    [
        f'images:\n  - name: a\n    newTag: "{tag(1)}"\n    digest: {digest(1)}\n',
        f"images: # newTag: other\n- name: a\n  digest: '{digest(1)}'\n  newTag: {tag(1)} # newest\n",
        f'images: [{{name: a, newTag: "{tag(1)}", digest: "{digest(1)}"}}]\n',
        f'images:\r\n  - name: a\r\n    newTag: "{tag(1)}"\r\n    digest: {digest(1)}\r\n',
    ],
    ids=["as written", "other order and quotes", "flow", "CRLF"],
)
def test_an_image_is_read_whatever_the_files_style(text: str) -> None:
    assert layout.image_in(text) == Image(tag=tag(1), digest=digest(1))


@pytest.mark.parametrize("text", [None, "", pin_text("cart", "prd"), f'images:\n  - name: a\n    newTag: "{tag(1)}"\n'])
def test_a_file_without_image_or_digest_names_none(text: str | None) -> None:
    assert layout.image_in(text) is None


@given(st.text(min_size=1, max_size=80))
def test_any_reason_survives_as_a_comment_and_lifting_restores_the_file(reason: str) -> None:
    try:
        line = layout.cleaned_reason(reason)
    except SlipwayError:
        return
    text = layout.pinned(pin_text("cart", "prd"), "cart", Image(tag=tag(1), digest=digest(1)), line)
    assert yaml.safe_load(text)["images"] == [{"name": "cart", "newTag": tag(1), "digest": digest(1)}]
    assert layout.reason_in(text) == line
    assert layout.image_in(text) == Image(tag=tag(1), digest=digest(1))
    assert layout.lifted(text, "cart") == pin_text("cart", "prd")


def test_what_scaffold_and_writer_write_is_read_and_pinned() -> None:
    places = [place for kind in ("image", "pin") for place in (SCAFFOLD.parent / "apps").rglob(f"{kind}/kustomization.yaml")]
    assert len(places) > 1
    for place in places:
        text = place.read_text(encoding="utf-8").replace("$service", "cart")
        assert layout.names_nothing(text), place
        assert layout.image_in(text) is None
        written = write_entry(text, "cart", tag=tag(1), digest=digest(1))
        assert layout.image_in(written) == Image(tag=tag(1), digest=digest(1))
        pin = layout.pinned(text, "cart", Image(tag=tag(2), digest=digest(2)), "why")
        entry = read_pin(pin, "cart")
        assert (entry.tag, entry.digest) == (tag(2), digest(2))
        assert layout.lifted(pin, "cart") == text


# Bodies


@given(st.text(max_size=200), st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=9000)))
def test_a_body_always_fits(intro: str, diffs: dict[str, str]) -> None:
    limit = 1300
    made = body(intro, diffs, limit=limit, whole_at="https://example.com/run")
    assert len(made.encode()) <= limit
    if any(diff and diff not in made for diff in diffs.values()):
        assert "**Cut**" in made


def test_what_is_cut_is_named_and_what_fits_is_whole() -> None:
    diffs = {"small": "+one", "large": "\n".join(f"+line {number}" for number in range(20_000)), "last": "+two"}
    made = body("Hello\n", diffs, whole_at="https://example.com/run")
    assert BODY_LENGTH - 700 < len(made.encode()) <= BODY_LENGTH
    assert "+one" in made
    assert "Not or not wholly shown: `large`, `last`." in made
    assert "[workflow run](https://example.com/run)" in made
    assert made.count("```") % 2 == 0


def test_no_manifest_ends_the_fence_around_it() -> None:
    made = body("", {"cart": "+  note: |\n+    ```\n+    ````\n"})
    assert "\n`````diff\n" in made


def test_what_is_folded_is_shown_whole_or_named() -> None:
    folded = {"cart: 2 commits": "- one\n- two", "Digests": "x" * 2000}
    made = body("Hello\n", {"cart": "+one"}, folded, limit=1500)
    assert "<summary>cart: 2 commits</summary>\n\n- one\n- two\n\n</details>" in made
    assert "xxx" not in made
    assert "Not or not wholly shown: `Digests`." in made
    assert "+one" in made


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Mend <b>@all</b> #1", "`Mend <b>@all</b> #1`"),
        ("Use `x`", "`` Use `x` ``"),
        ("``", "``` `` ```"),
        ("a\r\x00b\u2028c", "`a b c`"),
        (" ", "(no subject)"),
        ("y" * 200, f"`{'y' * 119}…`"),
    ],
)
def test_the_words_of_others_are_shown_as_they_are(text: str, made: str) -> None:
    assert literal(text) == made


@given(st.text(max_size=200))
def test_no_words_of_others_end_the_code_that_they_stand_in(text: str) -> None:
    made = literal(text)
    fence = re.match("`*", made)
    assert fence is not None
    assert "\n" not in made
    inner = made[len(fence[0]) : len(made) - len(fence[0])]
    assert not fence[0] or (made.endswith(fence[0]) and fence[0] not in re.findall("`+", inner))


# Scripts


# What requirements.txt brings, and the module that needs it: loaded where it is needed, not by `released` and `report`.
BEYOND_PYTHON: Final = {
    "kustomizations.py": {"yaml"},
    "manifests.py": {"jsonschema", "kubernetes_validate", "yaml"},
    "registry.py": {"boto3", "botocore"},
}


def test_the_scripts_need_nothing_but_python_and_three_of_them_what_is_locked() -> None:
    for script in SCRIPTS:
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            beyond = {name.split(".")[0] for name in names} - {*sys.stdlib_module_names, "slipway"}
            assert beyond <= BEYOND_PYTHON.get(script.name, set()), script.name
    # In a Python that has none of it.
    code = f"import sys; sys.path.insert(0, {str(SCAFFOLD / '.github')!r}); import slipway.main; print(slipway.main.HERE.name)"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 — ours
    assert done.stdout == "slipway\n", done.stderr


def test_what_is_locked_is_what_is_tested() -> None:
    locked, ours = (
        dict(re.findall(r"^([\w.-]+)==([\w.]+) ", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in (SCAFFOLD / ".github" / "slipway" / "requirements.txt", ROOT / "requirements-dev.txt")
    )
    assert locked.keys() >= {"boto3", "jsonschema", "kubernetes-validate", "pyyaml"}
    assert {name: ours.get(name) for name in locked} == locked


def test_no_environment_or_branch_is_named_in_the_scripts() -> None:
    platform = layout.load(PLATFORM)
    names = {*platform.environments, *(each.branch for each in platform.environments.values())}
    for script in SCRIPTS:
        words = set(re.findall(r"\w+", script.read_text(encoding="utf-8")))
        assert not names & words, script.name


def test_there_are_few_files_for_each_is_a_commit() -> None:
    files = [path for path in SCAFFOLD.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) <= 28


# Workflows


def test_actions_are_pinned_by_commit_with_their_version_beside_it() -> None:
    uses = [line for path in WORKFLOWS for line in path.read_text(encoding="utf-8").splitlines() if re.search(r"\buses:", line)]
    assert uses
    for line in uses:
        assert re.fullmatch(r"\s+(- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


DEFAULT: Final = "${{ github.event.repository.default_branch }}"
PROMOTER, VERIFY = "slipway-promoter", "slipway-verify"


def jobs() -> Mapping[str, Any]:
    """Every job by workflow and name."""
    return {f"{path.stem} {name}": job for path in WORKFLOWS for name, job in workflow(path)["jobs"].items()}


def texts(value: object) -> str:
    return yaml.safe_dump(value)


def test_workflows_start_where_the_platform_says() -> None:
    found = {path.stem: workflow(path)["on"] for path in WORKFLOWS}
    assert sorted(found) == ["moved", "pin", "promote", "release", "released", "verify"]
    platform = layout.load(PLATFORM)
    sources, targets = [step.source.branch for step in platform.promotions], [step.target.branch for step in platform.releases]
    assert found["moved"] == {"push": {"branches": [*sources, *targets]}}
    after = {"workflows": ["moved"], "types": ["completed"]}
    assert found["promote"]["workflow_run"] == {**after, "branches": sources}
    assert found["released"] == {"workflow_run": {**after, "branches": targets}}
    assert list(found["release"]) == list(found["pin"]) == ["workflow_dispatch"]
    # A pull request whose base is changed is another one: it must be judged anew.
    assert "edited" in found["verify"]["pull_request_target"]["types"]


def test_what_holds_a_secret_a_token_or_an_identity_runs_what_the_default_branch_has() -> None:
    for path in WORKFLOWS:
        if path.stem == "moved":
            # The one that runs as a pushed branch has it: it holds nothing and takes nothing.
            assert "permissions: {}" in texts(workflow(path)["jobs"])
            assert not re.search(r"uses|secrets|environment|\$\{\{", texts(workflow(path)["jobs"]))
        else:
            # Each of these events runs the default branch's file, or is started by hand on a ref that the environment refuses.
            assert set(workflow(path)["on"]) <= {"workflow_dispatch", "workflow_run", "pull_request_target"}, path.stem
    for name, job in jobs().items():
        for step in job["steps"]:
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["ref"] == DEFAULT, name
                assert step["with"]["persist-credentials"] is False, name


def test_a_job_with_a_secret_is_of_the_environment_that_holds_it() -> None:
    for name, job in jobs().items():
        wanted = {"verify judge": VERIFY, "moved moved": None}.get(name, PROMOTER)
        assert job.get("environment") == wanted, name
        assert ("secrets." in texts(job)) <= (wanted == PROMOTER), name


EXPECTED: Final = {
    "moved moved": {},
    "promote promote": {"contents": "read"},
    "release release": {"contents": "read", "id-token": "write"},
    "released released": {"contents": "write", "pull-requests": "read"},
    "pin pin": {"contents": "read", "id-token": "write"},
    "verify judge": {"contents": "read", "id-token": "write"},
    "verify report": {"contents": "read"},
}
RENDERING: Final = frozenset({"promote promote", "release release", "pin pin", "verify judge"})


@pytest.mark.parametrize("name", EXPECTED)
def test_a_job_holds_few_permissions_and_does_nothing_but_call_the_scripts(name: str) -> None:
    path = next(path for path in WORKFLOWS if path.stem == name.split(maxsplit=1)[0])
    found, job = workflow(path), jobs()[name]
    assert set(EXPECTED) == set(jobs())
    assert found["permissions"] == {}
    assert found["concurrency"]["group"]
    assert job["permissions"] == EXPECTED[name]
    *before, run = [step["run"] for step in job["steps"] if "run" in step]
    assert not any("${{" in each for each in (*before, run))
    # What renders needs more than Python: by hash, and no code of a package's runs at its installation.
    assert [("--require-hashes" in each, "--only-binary :all:" in each) for each in before] == (
        [(True, True)] if name in RENDERING else []
    )
    if name == "moved moved":
        return
    words = shlex.split(run.replace("\\\n", " "))
    assert words[:2] == ["$RUNNER_TEMP/tools/bin/python" if before else "python3", ".github/slipway/main.py"]
    # With --help the parser accepts the command; unknown options it would refuse before.
    options = [word.split("=")[0] for word in words[3:]]
    command = "pin" if words[2] == "$ACTION" else words[2]
    known = subprocess.run(  # noqa: S603 — our own file
        [sys.executable, main.__file__, command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert set(options) <= set(re.findall(r"--[a-z-]+", known))


def test_the_verdict_is_told_by_the_app_whose_key_no_pushed_workflow_reads() -> None:
    report = workflow(SCAFFOLD / ".github" / "workflows" / "verify.yml")["jobs"]["report"]
    assert (report["needs"], report["if"]) == ("judge", "always()")
    (asked,) = [step["with"] for step in report["steps"] if "create-github-app-token@" in step.get("uses", "")]
    assert {key: level for key, level in asked.items() if key.startswith("permission-")} == {"permission-statuses": "write"}


def test_zizmor_finds_nothing() -> None:
    done = subprocess.run(  # noqa: S603 — our own files
        [Path(sys.executable).parent / "zizmor", "--offline", "--no-progress", "--persona=pedantic", *WORKFLOWS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_path_has_an_owner() -> None:
    assert owners.faults((SCAFFOLD / ".github" / "CODEOWNERS").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is gone"),
        ("", "has no line for *"),
        ("/.github/ @a/b\n", "has no line for *"),
        ("* @a/b\n/apps/cart/\n", "line 2: /apps/cart/ would have no owner"),
        ("* @a/b\n/.github/ # @a/b\n", "line 2: /.github/ would have no owner"),
        ("* @promoter[bot]\n", "line 1: '@promoter[bot]' is no owner"),
        ("* @a/b\n/apps/ @a/b cart-team\n", "line 2: 'cart-team' is no owner"),
        ("* @a/b\n!/apps/ @a/b\n", "line 2: GitHub cannot read the pattern '!/apps/'"),
        ("* @a/b\n/apps/[ab]/ @a/b\n", "line 2: GitHub cannot read the pattern"),
        ("* @a/b\n" + "#" * 3_000_000, "GitHub reads none of a file of 3 MB"),
        ("* @a/b someone@example.com # why\n\n/apps/cart/ @alice\n", ""),
    ],
)
def test_no_path_is_left_without_people(text: str | None, said: str) -> None:
    found = "\n".join(owners.faults(text))
    assert said in found
    assert bool(said) == bool(found)
