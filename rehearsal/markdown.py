"""Markdown as GitHub shows it in pull requests and releases: tables, folded parts, diffs in colour.

What it says of HTML follows from where the text comes from: people's and machines' words in a repository. `<details>` and
`<summary>`, which the workflows write, are tags; all else shows as the text that it is. Links lead to http(s) alone, and
images are links: a report loads nothing.
"""

import re
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from html import escape, unescape
from typing import Any, Final, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.token import Token

_FOLD: Final = re.compile(r"(</?(?:details|summary)>)")
_WEB: Final = re.compile(r"https?://", re.IGNORECASE)
_Rule: TypeAlias = Callable[[Any, Sequence[Token], int, Any, MutableMapping[str, Any]], str]
_OPEN: Final = "open"


def html(text: str) -> str:
    """Markdown's HTML, safe to stand in a page.

    Lines break where they do in the text, as GitHub has it in comments, pull requests and releases:
    https://docs.github.com/en/get-started/writing-on-github/getting-started-with-writing-and-formatting-on-github/basic-writing-and-formatting-syntax#line-breaks
    """
    folds: list[str] = []
    made = _PARSER.render(text, {_OPEN: folds})
    return made + "".join(f"</{each}>" for each in reversed(folds))


def _block(_self: object, tokens: Sequence[Token], place: int, _options: object, env: MutableMapping[str, Any]) -> str:
    """HTML on lines of its own. Folded parts hold others; inside of a list or a quotation they could not be closed in order."""
    token = tokens[place]
    if token.level:
        return f"<p>{escape(token.content.strip())}</p>\n"
    folds: list[str] = env[_OPEN]
    made = "".join(_folded(each, folds) for each in _FOLD.split(token.content))
    # What follows is Markdown, which no summary holds.
    return made + (f"</{folds.pop()}>\n" if folds[-1:] == ["summary"] else "")


def _folded(part: str, folds: list[str]) -> str:
    """A tag that may stand where it does, or text; keeps account of what is open."""
    match part, folds[-1:]:
        case ("<details>", [] | ["details"]) | ("<summary>", ["details"]):
            folds.append(part[1:-1])
            return part
        case ("</details>", ["details"]) | ("</summary>", ["summary"]):
            folds.pop()
            return part
        case _:
            return escape(unescape(part)) if part.strip() else part


def _inline(_self: object, tokens: Sequence[Token], place: int, *_: object) -> str:
    return escape(tokens[place].content)


def _fence(_self: object, tokens: Sequence[Token], place: int, *_: object) -> str:
    token = tokens[place]
    if token.info.strip() != "diff":
        return f"<pre><code>{escape(token.content)}</code></pre>\n"
    return f'<pre class="diff"><code>{"".join(_diff(token.content.splitlines()))}</code></pre>\n'


def _diff(lines: Iterable[str]) -> Iterable[str]:
    """Each line in a box of its own, with what it is."""
    kinds = (("+++", "file"), ("---", "file"), ("@@", "hunk"), ("+", "added"), ("-", "removed"))
    for line in lines:
        kind = next((kind for start, kind in kinds if line.startswith(start)), "same")
        yield f'<span class="{kind}">{escape(line)}\n</span>'


def _parser() -> MarkdownIt:
    # https://github.github.com/gfm: what GitHub adds to CommonMark is tables and strikethrough, beside bare links and task lists.
    made = MarkdownIt("commonmark", {"html": True, "breaks": True}).enable(["table", "strikethrough"]).disable("image")
    made.validateLink = lambda url: _WEB.match(url) is not None
    rules: dict[str, _Rule] = {"html_block": _block, "html_inline": _inline, "fence": _fence}
    for name, rule in rules.items():
        made.add_render_rule(name, rule)
    return made


_PARSER: Final = _parser()

__all__ = ["html"]
