"""CODEOWNERS: every path has people who must approve it. Pure: no Git, no network.

GitHub takes the file from the branch that a pull request goes to, passes over a line that it cannot read, and asks nobody where a
line names no owner. So a line that does either would take a path's owners away in silence.
https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
"""

import re
from typing import Final

PATH: Final = ".github/CODEOWNERS"
"""The first place where GitHub looks, so that a file in another place counts for nothing."""

_EVERYTHING: Final = "*"
# A user, a team or an address. An App's login ends in `[bot]`: GitHub takes no App as an owner, and passes over the line.
_OWNER: Final = re.compile(
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:/[A-Za-z0-9][A-Za-z0-9_-]*)?|[^@\s\[\]]+@[^@\s\[\]]+\.[^@\s\[\]]+"
)
# What gitignore has and CODEOWNERS has not (the same page: CODEOWNERS syntax).
_UNREAD: Final = re.compile(r"^!|^\\#|\[|\]")
# The same page: CODEOWNERS file size.
_LARGEST: Final = 3_000_000


def faults(text: str | None) -> list[str]:
    """What is wrong with the file as it would be after a merge; None stands for no file."""
    if text is None:
        return ["is gone: each path needs owners who are people. Restore it."]
    if len(text.encode()) >= _LARGEST:
        return [f"has {len(text.encode())} bytes, and GitHub reads none of a file of 3 MB or more. Shorten it."]
    found: list[str] = []
    everything = False
    for number, line in enumerate(text.splitlines(), 1):
        pattern, *owners = line.split("#", 1)[0].split() or [""]
        if not pattern:
            continue
        if _UNREAD.search(pattern):
            found.append(
                f"line {number}: GitHub cannot read the pattern {pattern!r} and passes over the line. Write it without !, \\# "
                "and [ ]."
            )
        elif not owners:
            found.append(
                f"line {number}: {pattern} would have no owner. Name a person or a team behind it, or take the line out."
            )
        found += [
            f"line {number}: {owner!r} is no owner, and GitHub passes over the line. Name @user, @organization/team or an "
            "e-mail address; Apps cannot be owners."
            for owner in owners
            if not _OWNER.fullmatch(owner)
        ]
        everything = everything or (pattern == _EVERYTHING and bool(owners))
    if not everything:
        found.append(
            f"has no line for {_EVERYTHING}: a path that no other line names would have no owner. Add one, with a person or "
            "a team."
        )
    return found
