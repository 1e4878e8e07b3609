"""rehearsal/progress.py and rehearsal/report.py: what a person sees of a play, also of one that fails."""

import threading
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from rehearsal.progress import Page, Progress, Step
from rehearsal.report import STAND_INS, Findings, write_report


def logged() -> tuple[Progress, StringIO]:
    out = StringIO()
    return Progress(Console(file=out, width=160, force_terminal=False, highlight=False)), out


def test_each_step_is_a_line_where_no_terminal_is() -> None:
    progress, out = logged()
    with progress, progress.step("dev", "It [builds]") as step:
        step.produced = "an image"
    assert out.getvalue().startswith("✓ dev It [builds]: an image (")


def test_a_step_that_fails_says_why_and_is_marked() -> None:
    progress, out = logged()

    def play() -> None:
        with progress, progress.step("stg", "It breaks"):
            msg = "no luck\nwith details"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="no luck"):
        play()
    assert progress.steps[0].failed
    assert out.getvalue().startswith("✗ stg It breaks: no luck (")


def test_the_table_names_every_step_what_it_produced_and_how_long_it_took() -> None:
    progress, out = logged()
    progress.steps = [
        Step(environment="dev", title="One", produced="a", began=10.0, seconds=1.0),
        Step(environment="", title="Two", produced="b", began=10.9, seconds=0.35, failed=True),
    ]
    Console(file=out, width=160).print(progress.table())
    text = out.getvalue()
    for part in ("dev", "One", "1.00", "Two", "0.35", "✓", "✗", "in all", "1.25"):
        assert part in text


def test_steps_that_run_side_by_side_each_keep_their_lines() -> None:
    progress, out = logged()
    turn = threading.Barrier(2)

    def play(name: str) -> None:
        with progress.step(name, f"It plays {name}"):
            turn.wait(timeout=10)
            progress.say(f"said by {name}")
            turn.wait(timeout=10)

    lanes = [threading.Thread(target=play, args=(name,)) for name in ("dev", "stg")]
    with progress:
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    assert {step.environment: step.log for step in progress.steps} == {"dev": ["said by dev"], "stg": ["said by stg"]}
    assert len(out.getvalue().splitlines()) == 2


def test_the_page_shows_steps_findings_and_all_that_no_emulator_does(tmp_path: Path) -> None:
    pull = Page(
        title="Release <to> prd",
        mark="#7",
        state="Open",
        by="promoter[bot]",
        text="| a |\n| --- |\n| `b` |\n\n<script>\n",
        target="master",
        source="release/1",
    )
    note = Page(title="Release 1", mark="release-1", state="Release", by="bob", text="**what**")
    details: dict[str, str | Page] = {"Body": "<script> | a |", "Pull request": pull, "Note": note}
    step = Step(environment="prd", title="A <b>bold</b> step", produced="x", log=["a line"], details=details)
    findings = Findings(
        made={"prd": Counter({"aws:sqs/queue:Queue": 3})},
        imagined=[("eks:index:Cluster", 1, "no emulator runs it")],
        left=[("aws:lb/loadBalancer:LoadBalancer", "accessLogs", "moto drops it")],
        passages=[("arn:aws:sts::1:assumed-role/x/y", "ecr:BatchGetImage", "develop/shop", "no grant")],
        heard=[("argocd-blue.example.com", "POST", "/api/webhook", 200, 4)],
        history="* abc first",
    )
    page = tmp_path / "out" / "page.html"
    write_report(page, [step], findings, "it <failed>")
    text = page.read_text(encoding="utf-8")
    for part in ("a line", "eks:index:Cluster", "accessLogs", "no grant", "argocd-blue.example.com", "abc first", *STAND_INS):
        assert part.replace("'", "&#39;") in text, part
    assert "<script>" not in text
    assert "<pre>&lt;script&gt; | a |</pre>" in text
    for part in (
        "<h4>Release &lt;to&gt; prd <span>#7</span></h4>",
        "<b>promoter[bot]</b> wants to merge into <code>master</code> from <code>release/1</code>",
        "<td><code>b</code></td>",
        "<h4>Release 1 <span>release-1</span></h4>",
        "<b>bob</b> released this",
        "<strong>what</strong>",
    ):
        assert part in text, part
    assert "A &lt;b&gt;bold&lt;/b&gt; step" in text
    assert "it &lt;failed&gt;" in text
