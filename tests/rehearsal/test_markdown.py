"""rehearsal/markdown.py: GitHub's Markdown in a page of ours, and nothing of anybody's HTML but folds."""

from html.parser import HTMLParser
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rehearsal.markdown import html

VOID: Final = {"br", "hr"}
# What CommonMark and tables need, and folds: https://spec.commonmark.org/0.31.2/
TAGS: Final = {
    *(*VOID, "a", "blockquote", "code", "del", "em", "li", "ol", "p", "pre", "s", "span", "strong", "ul"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "tbody", "td", "th", "thead", "tr", "details", "summary"),
}
ATTRIBUTES: Final = {
    "a": {"href", "title"},
    "ol": {"start"},
    "pre": {"class"},
    "span": {"class"},
    "td": {"style"},
    "th": {"style"},
}
ALIGNED: Final = {"text-align:left", "text-align:right", "text-align:center"}


class Reader(HTMLParser):
    """Reads HTML as a browser does, and stops at any tag, attribute or address that has no business in a report."""

    def __init__(self) -> None:
        """Begin with nothing open."""
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Only these, with these attributes."""
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES.get(tag, set()), (tag, name)
            assert name != "href" or str(value).lower().startswith(("http://", "https://")), value
            assert name != "style" or value in ALIGNED, value
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """What was opened last is closed first."""
        if tag in VOID:
            return
        assert self.open[-1:] == [tag], (tag, self.open)
        self.open.pop()

    def handle_comment(self, data: str) -> None:
        """No comment."""
        pytest.fail(data)

    def handle_decl(self, decl: str) -> None:
        """No declaration."""
        pytest.fail(decl)

    def handle_pi(self, data: str) -> None:
        """No instruction."""
        pytest.fail(data)

    def unknown_decl(self, data: str) -> None:
        """No other declaration."""
        pytest.fail(data)


def read(text: str) -> str:
    """The HTML of a Markdown text, once it is sure that it is harmless and closes what it opens."""
    made = html(text)
    reader = Reader()
    reader.feed(made)
    reader.close()
    assert not reader.open, reader.open
    return made


PIECES: Final = st.sampled_from(
    [
        *("<details>", "</details>", "<summary>", "</summary>", "<details open>", "<script>", "</script>", "<b", "<style>"),
        *(
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<?x",
            "?>",
            "<!X>",
            "</td></table>",
            "<pre>",
            "<textarea>",
            "<img src=x onerror=y>",
        ),
        *("[a](javascript:x)", "[a](https://example.com)", "![a](http://example.com/x.png)", "<https://example.com>"),
        *("\n", "\n\n", "\n- ", "\n> ", "\n    ", "\n```diff\n+a\n```\n", "\n```\n", "\n~~~\n", "\n[a]: data:x\n", "\n# "),
        *("\n| a | b |\n| --- | :-: |\n| ", "| ", "`", "**", "~~", "&lt;", "&", '"', "text", " ", "\n1. ", "\n***\n"),
    ]
)


@given(st.lists(PIECES | st.text(max_size=6), max_size=30).map("".join))
@example("- <details>\n\n</details>\n\n</details>")
@example("<details><summary>a\n\n<script>alert(1)</script>\n\n</summary></details>")
@example("> <details>\n\n</details>")
def test_whatever_a_body_holds_it_brings_no_tags_but_folds_and_closes_what_it_opens(text: str) -> None:
    read(text)


def test_a_body_of_the_workflows_shows_as_a_table_folds_and_coloured_diffs() -> None:
    made = read(
        "Brings `stg` to `master`.\nMerge it.\n\n> **Pinned**\n\n"
        "| service | now |\n| --- | --- |\n| `cart` | [2](https://x.y) |\n\n"
        "<details><summary>cart: 1 & more</summary>\n\n- one\n\n</details>\n\n"
        "<details><summary>cart: +1 -1 lines</summary>\n\n"
        "````diff\n--- before\n+++ after\n@@ -1,2 +1,2 @@\n same\n-a: <1>\n+a: 2\n````\n\n</details>\n"
    )
    for part in (
        "<p>Brings <code>stg</code> to <code>master</code>.<br />\nMerge it.</p>",
        "<blockquote>\n<p><strong>Pinned</strong></p>\n</blockquote>",
        '<td><code>cart</code></td>\n<td><a href="https://x.y">2</a></td>',
        "<details><summary>cart: 1 &amp; more</summary>\n<ul>\n<li>one</li>\n</ul>\n</details>",
        "<details><summary>cart: +1 -1 lines</summary>\n",
        '<span class="file">--- before\n</span><span class="file">+++ after\n</span><span class="hunk">@@ -1,2 +1,2 @@\n</span>',
        '<span class="same"> same\n</span><span class="removed">-a: &lt;1&gt;\n</span><span class="added">+a: 2\n</span>',
    ):
        assert part in made, made


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a <img src=x onerror=y> b", "<p>a &lt;img src=x onerror=y&gt; b</p>\n"),
        ("<details open onclick=x>\n\na", "&lt;details open onclick=x&gt;\n<p>a</p>\n"),
        ("</details></td>", "&lt;/details&gt;&lt;/td&gt;"),
        ("[a](javascript:x)", "<p>[a](javascript:x)</p>\n"),
        ("[a](../secrets.md) [b](mailto:a@b.c)", "<p>[a](../secrets.md) [b](mailto:a@b.c)</p>\n"),
        ("![a](https://example.com/x.png)", '<p>!<a href="https://example.com/x.png">a</a></p>\n'),
        ("<details>\n\na", "<details>\n<p>a</p>\n</details>"),
        ("```yaml\na: <b>\n```", "<pre><code>a: &lt;b&gt;\n</code></pre>\n"),
    ],
)
def test_what_is_no_fold_shows_as_the_text_that_it_is(text: str, shown: str) -> None:
    assert read(text) == shown
