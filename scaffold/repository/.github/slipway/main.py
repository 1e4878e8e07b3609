"""The command line of this repository's workflows; `--help` tells.

The workflows call it with an App's token. A person may call it too, in a clone, with `--dry-run` or a token of their own:

    GITHUB_REPOSITORY=owner/name GITHUB_TOKEN=$(gh auth token) python .github/slipway/main.py release --dry-run
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The folder is run, not installed: its parent is put where Python looks, so that the modules are those of a package.
sys.path.insert(0, str(HERE.parent))

from slipway import flows, layout, pins, released  # noqa: E402 — see above
from slipway.github import GitHub  # noqa: E402 — see above
from slipway.gitrepo import Repo  # noqa: E402 — see above
from slipway.registry import READERS, Registries  # noqa: E402 — see above
from slipway.render import needs  # noqa: E402 — see above


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it did what was asked or there was nothing to do, 1 when it refuses."""
    asked = _parser().parse_args(arguments)
    try:
        return _run(asked)
    except layout.SlipwayError as error:
        _say_error(str(error))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slipway", description="Promotion, release, pins and checks of this repository.")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    parser.add_argument("--clone", type=Path, default=HERE.parent.parent, help="clone to work in (default: this one)")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("promote", "offer what people changed to the next environment"),
        ("release", "offer what was tried there"),
    ):
        step = commands.add_parser(name, help=what)
        step.add_argument("--from", dest="source", default="", help="environment (default: every one that leads on)")
        step.add_argument("--to", dest="target", default="", help="environment (default: every one that it leads to)")
        if name == "release":
            unhealthy = step.add_argument("--unhealthy", nargs="?", const="true", default="false", choices=["true", "false"])
            unhealthy.help = "also what Argo CD says is not Healthy where it comes from"
    for name, what in (("pin", "hold services at an image"), ("unpin", "let them run what was written last")):
        pin = commands.add_parser(name, help=what)
        pin.add_argument("--environment", required=True)
        pin.add_argument("--service", action="append", required=True, help="may be repeated, or a list with commas or spaces")
        pin.add_argument("--reason", required=True, help="one line, for those who find the pin")
        direct = pin.add_argument("--direct", nargs="?", const="true", default="false", choices=["true", "false"])
        direct.help = "commit to the environment's branch, without a pull request"
        to = pin.add_argument("--to", required=name == "pin", default="")
        to.help = "a tag, or `previous`" if name == "pin" else argparse.SUPPRESS  # taken and not used: one workflow calls both
    done = commands.add_parser("released", help="tag a release that has been merged, and write its note")
    done.add_argument("--commit", required=True, help="the merge commit; any other is passed over")
    check = commands.add_parser("verify", help="judge a pull request")
    check.add_argument("--base", required=True, help="branch that it goes to")
    check.add_argument("--head", required=True, help="its head commit")
    report = commands.add_parser("report", help="set the commit status that the branch's rules ask for")
    report.add_argument("--base", required=True, help="branch that the pull request goes to")
    report.add_argument("--head", required=True, help="its head commit")
    report.add_argument("--judged", required=True, help="what became of the job that judged it; `success` alone is one")
    # Also after the command, where people write it.
    for command in commands.choices.values():
        command.add_argument("--dry-run", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _run(asked: argparse.Namespace) -> int:
    if asked.command == "report":
        return _report(asked)
    platform = layout.load(HERE / "platform.json")
    repo = Repo(asked.clone, token=os.environ.get("GITHUB_TOKEN", ""), dry_run=asked.dry_run)
    repo.fetch()
    registries = Registries.here()
    if asked.command == "verify":
        return _verify(repo, platform, registries, base=asked.base, head=asked.head)
    github = _github(asked, "a token with contents and pull requests, both write")
    desk = flows.Desk(
        platform=platform,
        repo=repo,
        github=github,
        reader=replace(github, token=os.environ.get("APPLICATIONS_TOKEN") or github.token),
        registries=registries,
        now=now(),
        actor=os.environ.get("GITHUB_ACTOR", ""),
        run_url=_run_url(),
    )
    for outcome in _outcomes(desk, asked):
        print(outcome.text)
        _write_to("GITHUB_STEP_SUMMARY", f"## {outcome.text}\n\n{outcome.whole}\n")
        number = outcome.pull.number if outcome.pull else ""
        _write_to("GITHUB_OUTPUT", f"outcome={outcome.what}\nbranch={outcome.branch}\npull-request={number}\ntag={outcome.tag}\n")
    return 0


def _github(asked: argparse.Namespace, token: str) -> GitHub:
    return GitHub(
        api=os.environ.get("GITHUB_API_URL", "https://api.github.com"),
        repository=_needed("GITHUB_REPOSITORY", "owner/name of this repository"),
        token=_needed("GITHUB_TOKEN", token),
        dry_run=asked.dry_run,
    )


def _report(asked: argparse.Namespace) -> int:
    """Say what became of the judgement; a job that was cancelled or never ran has found nothing out."""
    fine = asked.judged == "success"
    context = f"verify {asked.base}"
    _github(asked, "a token with commit statuses, write").set_status(
        asked.head,
        context=context,
        state="success" if fine else "failure",
        description="May be merged" if fine else f"Judging ended with {asked.judged}: see the run",
        target_url=_run_url(),
    )
    print(f"{context}: {asked.judged}")
    return 0


def _outcomes(desk: flows.Desk, asked: argparse.Namespace) -> list[flows.Outcome]:
    ways = {"promote": desk.platform.promotions, "release": desk.platform.releases, "released": desk.platform.releases}
    if asked.command in ways and not ways[asked.command]:
        what = "promotion" if asked.command == "promote" else "release"
        said = f"nothing to do: no {what} leads from one environment of platform.json to another"
        return [flows.Outcome(what="skipped", text=said)]
    if asked.command == "promote":
        return [flows.promote(desk, step) for step in _steps(desk.platform.promotions, asked)]
    if asked.command == "release":
        return [flows.release(desk, step, unhealthy=asked.unhealthy == "true") for step in _steps(desk.platform.releases, asked)]
    if asked.command == "released":
        return [released.released(desk, step, asked.commit) for step in _leading_to(desk, asked.commit)]
    listed = " ".join(asked.service).replace(",", " ").split()
    if not listed:
        msg = "service is empty: one name or more is allowed. Name the services."
        raise layout.SlipwayError(msg)
    request = pins.Request(
        environment=desk.platform.environment(asked.environment),
        services=list(dict.fromkeys(listed)),
        reason=asked.reason,
        direct=asked.direct == "true",
    )
    return [pins.pin(desk, request, to=asked.to) if asked.command == "pin" else pins.unpin(desk, request)]


def _steps(steps: Sequence[layout.Step], asked: argparse.Namespace) -> list[layout.Step]:
    found = [step for step in steps if asked.source in {"", step.source.name} and asked.target in {"", step.target.name}]
    if not found:
        known = ", ".join(map(str, steps)) or "none"
        way = f"{asked.source or 'any'} → {asked.target or 'any'}"
        msg = f"there is no way to {asked.command} {way}: {known} is allowed. Name one of them."
        raise layout.SlipwayError(msg)
    return found


def _leading_to(desk: flows.Desk, commit: str) -> list[layout.Step]:
    """The releases whose target's branch had a commit as its tip."""
    found = [step for step in desk.platform.releases if desk.repo.in_history(commit, desk.repo.tip(step.target.branch))]
    if not found:
        known = ", ".join(step.target.branch for step in desk.platform.releases) or "none"
        msg = f"commit is {commit!r}: the whole id of one that was the tip of {known} is allowed. Name a release's merge commit."
        raise layout.SlipwayError(msg)
    return found


def _verify(repo: Repo, platform: layout.Platform, registries: Registries | None, *, base: str, head: str) -> int:
    try:
        from slipway import manifests, verify  # noqa: PLC0415 — they need more than Python
    except ModuleNotFoundError as error:
        raise needs(error) from None
    # Schemas are data, and the base's own: what it holds has been reviewed there. Code and platform.json are this checkout's.
    tip = repo.tip(base)
    definitions = manifests.Definitions.read(repo.texts(tip, repo.paths(tip, manifests.CRDS)))
    rules = verify.Rules(platform=platform, definitions=definitions, registries=registries)
    found = verify.verify(repo, rules, base=base, head=head)
    looked = f"images looked up: {found.images}" if registries else f"images not looked up: {READERS} is not set"
    print(f"services touched: {', '.join(found.services) or 'none'}; overlays rendered: {found.overlays}\n{looked}")
    for finding in found.findings:
        _say_error(f"{finding.path}: {finding.text}" if finding.path else finding.text, path=finding.path)
    return 1 if found.findings else 0


def _say_error(text: str, path: str = "") -> None:
    """To standard error; on GitHub as an annotation (docs: workflow commands)."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        print(text, file=sys.stderr)
    else:
        # Escaped and nothing else: what kustomize says of people's files could pass for a workflow command.
        place = f" file={_escaped(path).replace(',', '%2C').replace(':', '%3A')}" if path else ""
        print(f"::error{place}::{_escaped(text)}")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _needed(name: str, what: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        msg = f"{name} is not set: {what} is allowed. Set it in the environment."
        raise layout.SlipwayError(msg)
    return value


def now() -> datetime:
    """What branches are named by."""
    return datetime.now(UTC)


def _run_url() -> str:
    parts = [os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    return "{}/{}/actions/runs/{}".format(*parts) if all(parts) else ""


def _write_to(variable: str, text: str) -> None:
    """Append to one of the files that GitHub gives a step; elsewhere there is none."""
    if place := os.environ.get(variable):
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main())
