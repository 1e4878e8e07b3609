"""What kustomize makes of overlays, how two renderings differ, and how a pull request shows it."""

import difflib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

from slipway.gitrepo import Repo
from slipway.layout import Environment, Platform, SlipwayError, overlay_of, service_of


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What an overlay renders to; `fault` holds kustomize's words where it does not, and both are empty without one."""

    text: str = ""
    fault: str = ""


_ALONE: Final = {
    # kustomize looks for git and helm here. What kustomizations.py should ever let through finds neither, and no way out: port 9
    # discards (Go's net/http: ProxyFromEnvironment).
    "PATH": "",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    # Each process lives for a moment and many run at once: one processor for each, and no collection of what ends with it anyway,
    # up to a bound. A third of the time goes with it. (Go: A Guide to the Garbage Collector.)
    "GOMAXPROCS": "1",
    "GOGC": "off",
    "GOMEMLIMIT": "512MiB",
}
"""The whole environment of a rendering."""


@contextmanager
def exported(repo: Repo, tree: str) -> Generator[Path]:
    """A tree's files in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        # kustomize names a folder by its real path, wherever links lead.
        place = Path(folder).resolve()
        repo.export(tree, place)
        yield place


def render(folder: Path, overlays: Iterable[str]) -> dict[str, Rendered]:
    """Render overlays of an exported tree, as many at once as there are processors."""
    wanted = list(overlays)
    one = partial(_rendered, _kustomize(), folder)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(wanted, pool.map(one, wanted), strict=True))


def _kustomizations() -> ModuleType:
    try:
        from slipway import kustomizations  # noqa: PLC0415 — it needs more than Python, and not every command renders
    except ModuleNotFoundError as error:
        raise needs(error) from None
    return kustomizations


def needs(error: ModuleNotFoundError) -> SlipwayError:
    """What to say where a package is missing."""
    return SlipwayError(
        f"{error.name} is not installed: this command needs what .github/slipway/requirements.txt names. Install it: "
        "python3 -m pip install --require-hashes -r .github/slipway/requirements.txt"
    )


def _kustomize() -> Sequence[str]:
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    if kustomize := shutil.which("kustomize"):
        return [kustomize, "build"]
    msg = "neither kubectl nor kustomize is on PATH: one of them must be, to render overlays. Install one."
    raise SlipwayError(msg)


def _rendered(command: Sequence[str], folder: Path, overlay: str) -> Rendered:
    if not (folder / overlay).is_dir():
        return Rendered()
    if fault := _kustomizations().fault(folder, overlay):
        return Rendered(fault=fault)
    done = subprocess.run(
        [*command, overlay],
        cwd=folder,
        # What people wrote is rendered: no token is within its reach, no program, and no host.
        env=_ALONE,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        return Rendered(fault=done.stderr.replace(f"{folder}/", "").strip() or f"kustomize ended with {done.returncode}")
    return Rendered(text=done.stdout)


def touched(platform: Platform, changed: Iterable[str], services: Iterable[str], environment: Environment) -> list[str]:
    """The services whose rendering in an environment a change can reach, of those that exist before or after it.

    A file that belongs to no service, such as a shared component, may reach all of them; workflows and texts reach none.
    """
    known, found = set(services), set[str]()
    for path in changed:
        service = service_of(path)
        if service is None:
            if not path.startswith(".github/") and not path.endswith(".md"):
                return sorted(known)
        elif overlay_of(path) not in platform.environments.keys() - {environment.name}:
            found.add(service)
    return sorted(found & known)


def differences(repo: Repo, before: str, after: str, overlays: Mapping[str, str]) -> dict[str, str]:
    """Unified diff of what overlays render to, between two trees, by service; "" where nothing changes.

    Args:
        repo: Where the trees are.
        before: A tree.
        after: Another.
        overlays: Folder of the overlay by service.

    Raises:
        SlipwayError: an overlay of `after` does not render.
    """
    with exported(repo, before) as old_folder, exported(repo, after) as new_folder:
        old, new = render(old_folder, overlays.values()), render(new_folder, overlays.values())
    faults = [f"{overlay} does not render: {each.fault}" for overlay, each in new.items() if each.fault]
    if faults:
        faults.append("Only what renders can go on. Mend it on the branch that it comes from.")
        raise SlipwayError("\n".join(faults))
    return {service: _diff(old[overlay].text, new[overlay].text) for service, overlay in overlays.items()}


def _diff(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "before", "after", lineterm="")
    return "\n".join(lines)


# Pull requests' bodies

BODY_LENGTH: Final = 65_536
"""Characters that GitHub takes in a body, as its API says when it refuses more. Counted in bytes, which are never fewer."""

_ROOM_FOR_NOTE: Final = 600
_LEAST_WORTH_SHOWING: Final = 500


def body(
    intro: str,
    diffs: Mapping[str, str],
    folded: Mapping[str, str] | None = None,
    *,
    limit: int = BODY_LENGTH,
    whole_at: str = "",
) -> str:
    """A pull request's body: what it is, what is folded, then the diff of each service, cut where GitHub would refuse it.

    Args:
        intro: Markdown.
        diffs: Unified diff by service; services without one are left out.
        folded: Markdown by title, each shown whole or not at all.
        limit: Bytes at most.
        whole_at: Where the whole text is, for the note.
    """
    room = limit - _ROOM_FOR_NOTE
    text = _cut(intro, room)
    short = [] if text == intro else ["the list above"]
    for title, more in (folded or {}).items():
        section = f"\n<details><summary>{title}</summary>\n\n{more}\n\n</details>\n"
        if _size(section) > room - _size(text):
            short.append(f"`{title}`")
        else:
            text += section
    for service, diff in diffs.items():
        if not diff:
            continue
        left = room - _size(text)
        section = _section(service, diff)
        if _size(section) > left:
            short.append(f"`{service}`")
            frame = _size(_section(service, "", diff))
            section = _section(service, _cut(diff, left - frame), diff) if left - frame > _LEAST_WORTH_SHOWING else ""
        text += section
    if short:
        names = ", ".join(short[:10]) + (f" and {len(short) - 10} more" if len(short) > 10 else "")  # noqa: PLR2004 — enough names
        where = f" The whole is in the [workflow run]({whole_at})." if whole_at else ""
        text += f"\n> **Cut**: GitHub takes {BODY_LENGTH} characters. Not or not wholly shown: {names}.{where}\n"
    return _cut(text, limit)


def _section(service: str, shown: str, whole: str = "") -> str:
    # A fence longer than any within, so that no manifest ends it.
    runs = re.findall(r"`+", whole or shown)
    fence = "`" * max(3, *(len(run) + 1 for run in runs), 3)
    return f"\n<details><summary>{service}: {counted(whole or shown)}</summary>\n\n{fence}diff\n{shown}\n{fence}\n\n</details>\n"


def counted(diff: str) -> str:
    """Lines that a diff adds and removes, or that there is none."""
    lines = diff.splitlines()[2:]
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    return f"+{added} -{removed} lines" if diff else "no difference"


def _cut(text: str, size: int) -> str:
    """Whole lines of a text, as many as `size` bytes hold."""
    raw = text.encode()
    if len(raw) <= size:
        return text
    return raw[: max(size, 0)].rpartition(b"\n")[0].decode("utf-8", "ignore")


def _size(text: str) -> int:
    return len(text.encode())
