"""benchmarks/gitops.py: every figure comes to its end, and the page says how they grow."""

from pathlib import Path

import pytest

from benchmarks import gitops
from benchmarks.gitops import Figure, grows, limit_of, measure, page


def figure(services: int, seconds: float, what: str = "promotion, one service", fault: str = "") -> Figure:
    return Figure(what=what, services=services, commits=services * 25, seconds=seconds, fault=fault)


@pytest.mark.parametrize(
    ("points", "exponent"),
    [
        ([(25, 1.0), (50, 2.0)], 1.0),
        ([(25, 9.0), (50, 1.0), (100, 4.0)], 2.0),
        ([(25, 1.0), (200, 8.0)], 1.0),
        ([(25, 1.0)], None),
        ([(25, 0.0), (50, 1.0)], None),
    ],
)
def test_growth_is_the_exponent_between_the_last_two_sizes(points: list[tuple[int, float]], exponent: float | None) -> None:
    assert grows(points) == (None if exponent is None else pytest.approx(exponent))


def test_a_limit_holds_for_promotion_and_verify_alone_and_for_the_largest_size() -> None:
    assert limit_of("promotion, one service") == limit_of("verify of that release, all services") == 60
    assert limit_of("release, one service") is limit_of("checkout with the whole history") is None
    text = page([figure(100, 61), figure(200, 59)], "said")
    assert "<td>61.00<td>59.00  x 1.0<td>n^-0.0<td>✓ 60 s" in text
    assert "✗ 60 s" in page([figure(100, 1), figure(200, 61)], "said")
    assert "60 s" not in page([figure(25, 61), figure(50, 61)], "said").partition("<svg")[0]


def test_what_failed_is_shown_as_that_and_ends_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(services: int) -> list[Figure]:
        return [figure(services, 1.0, fault="no <way>")]

    monkeypatch.setattr(gitops, "measure", fails)
    monkeypatch.setattr("sys.argv", ["bench-gitops", "--sizes", "1", "2", f"--page={tmp_path / 'page.html'}"])
    assert gitops.main() == 1
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<td>failed") == 2


def test_every_figure_comes_to_its_end_on_a_small_repository() -> None:
    found = measure(2)
    assert [each.fault for each in found] == [""] * 10
    assert {(each.services, each.commits) for each in found} == {(2, found[0].commits)}
    assert all(each.seconds > 0 for each in found)
