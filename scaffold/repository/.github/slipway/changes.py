"""Which images a change brings, and which of the applications' commits lie between them: for people, in Markdown."""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from slipway.github import Compared, GitHub
from slipway.images import State
from slipway.layout import TAG, Applications, Image

COMMITS_SHOWN: Final = 20
"""Commits of one service at most; the link has them all."""

_SUBJECT_LENGTH: Final = 120
_SHORT_DIGEST: Final = len("sha256:") + 12
_AT_ONCE: Final = 8
_BACKTICKS: Final = re.compile("`+")


@dataclass(frozen=True, kw_only=True)
class Move:
    """What one service runs before and after a change.

    Attributes:
        before: Before.
        after: After.
        link: Address of the application's commits between the two, or of the one commit where there was none before; "" where
            nothing moves, or the platform does not know the application.
        compared: What the API says of them; None where the token cannot read the application.
    """

    before: State
    after: State
    link: str = ""
    compared: Compared | None = None

    @property
    def fate(self) -> str:
        """What becomes of the service, beside its image."""
        if self.before.present == self.after.present:
            return "pinned" if self.after.pin else ""
        return "new" if self.after.present else "removed"

    @property
    def commits(self) -> str:
        """The link, for a table."""
        if not self.link:
            return ""
        plain = "compare" if self.before.running else "commit"
        return f"[{counted(self.compared.total) if self.compared else plain}]({self.link})"


def moves(
    before: Mapping[str, State],
    after: Mapping[str, State],
    services: Iterable[str],
    applications: Applications | None,
    reader: GitHub,
) -> dict[str, Move]:
    """What services run before and after, with the commits between where they can be had.

    Args:
        before: States before.
        after: States after.
        services: The services to tell of.
        applications: Where their applications are; None tells of no commits.
        reader: The API with a token that may read them, or may not.
    """

    def one(service: str) -> Move:
        old, new = before[service].running, after[service].running
        plain = Move(before=before[service], after=after[service])
        if applications is None or new is None or old == new or not TAG.fullmatch(new.tag):
            return plain
        if old is None or not TAG.fullmatch(old.tag):
            return Move(before=plain.before, after=plain.after, link=applications.commit(service, _commit(new)))
        first, last = _commit(old), _commit(new)
        return Move(
            before=plain.before,
            after=plain.after,
            link=applications.compare(service, first, last),
            compared=reader.compared(applications.name(service), first, last, most=COMMITS_SHOWN),
        )

    wanted = list(services)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(wanted, pool.map(one, wanted), strict=True))


def row(service: str, move: Move) -> str:
    """Its row: service, before, after, commits, digest, fate; more cells may follow."""
    digest = move.after.running.digest[:_SHORT_DIGEST] if move.after.running else ""
    cells = (f"`{service}`", shown(move.before.running), shown(move.after.running), move.commits, f"`{digest}`" if digest else "")
    return "| " + " | ".join((*cells, move.fate)) + " |"


def sections(found: Mapping[str, Move], applications: Applications | None) -> dict[str, str]:
    """What stands folded below the table: each service's commits, and the digests whole."""
    texts: dict[str, str] = {}
    for service, move in found.items():
        if applications and move.compared and move.compared.commits:
            lines = [
                f"- [`{each.sha[:7]}`]({applications.commit(service, each.sha)}) {literal(each.subject)}"
                for each in move.compared.commits
            ]
            rest = move.compared.total - len(lines)
            lines += [f"- [and {rest} more]({move.link})"] if rest > 0 else []
            texts[f"{service}: {counted(move.compared.total)}"] = "\n".join(lines)
    digests = [f"- `{service}`: `{image.tag}@{image.digest}`" for service, move in found.items() if (image := move.after.running)]
    return texts | ({"Digests": "\n".join(digests)} if digests else {})


def counted(commits: int) -> str:
    """A number of commits."""
    return f"{commits} commit{'' if commits == 1 else 's'}"


def shown(image: Image | None) -> str:
    """An image's tag in Markdown."""
    return f"`{image.tag}`" if image else "none"


def literal(text: str) -> str:
    """Others' text so that no part of it is Markdown, HTML, a mention or a link: code (spec.commonmark.org, Code spans)."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    if len(line) > _SUBJECT_LENGTH:
        line = line[: _SUBJECT_LENGTH - 1] + "…"
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(line)), default=0))
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{room}{line}{room}{fence}" if line else "(no subject)"


def _commit(image: Image) -> str:
    return image.tag.rpartition("-")[2]
