"""The pace of commits: within GitHub's limits whatever comes, and never in the way of a single push."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from functions.gitops_writer.pace import Pace, Rate
from tests.functions.kit import Bench, ecr_event, image_file, written

WRITERS: Final = 2
MINUTE, HOUR = 60.0, 3600.0


def test_a_rest_allows_so_many_at_once_and_then_one_every_so_often() -> None:
    rate = Rate(burst=2, every_seconds=10)
    assert rate.wait(0) == 0
    rate.spend(0)
    assert rate.wait(0) == 0
    rate.spend(0)
    assert rate.wait(0) == 10
    assert rate.wait(4) == 6
    rate.spend(10)
    assert rate.wait(10) == 10
    assert rate.wait(20) == 0


@given(st.lists(st.floats(min_value=0, max_value=400), min_size=1, max_size=600))
def test_two_writers_that_commit_whenever_they_may_stay_within_githubs_limits(idle: list[float]) -> None:
    pace, now, asked = Pace(), 0.0, list[float]()
    for each in idle:
        now += each
        now += pace.wait(now)
        pace.asked(now)
        pace.made(now)
        asked.append(now)
    for seconds, limit in ((MINUTE, 80), (HOUR, 500)):
        most = max(sum(start <= each < start + seconds for each in asked) for start in asked)
        assert most * WRITERS <= limit


def test_an_hour_of_nothing_but_commits_stays_within_the_limits() -> None:
    pace, now, asked = Pace(), 0.0, list[float]()
    while now < HOUR:
        now += pace.wait(now)
        pace.asked(now)
        pace.made(now)
        asked.append(now)
    assert sum(each < MINUTE for each in asked) * WRITERS <= 80
    assert 400 < sum(each < HOUR for each in asked) * WRITERS <= 500


def test_a_single_push_is_never_held_up() -> None:
    pace, now = Pace(), 0.0
    for _ in range(200):
        assert pace.wait(now) == 0
        pace.asked(now)
        pace.made(now)
        now += 17.0


def test_a_third_commit_within_seconds_waits_and_takes_along_what_comes_meanwhile(dev: Bench) -> None:
    for service in ("shop", "cart"):
        dev.declare(service)
        dev.put({image_file(service): written(service, "20260101T000000Z-000000000000", "sha256:" + "0" * 64)})
    tags = [f"2026010{day}T000000Z-00000000000{day}" for day in range(2, 6)]
    for tag in tags[:2]:
        dev.push("shop", tag)
        dev.run(ecr_event("develop/shop", tag))
    assert dev.slept == []
    dev.push("shop", tags[2])
    dev.push("cart", tags[3])

    def sleep(seconds: float) -> None:
        dev.slept.append(seconds)
        dev.world.now += seconds
        dev.send(ecr_event("develop/cart", tags[3]))

    dev.writer.sleep = sleep
    dev.run(ecr_event("develop/shop", tags[2]))
    assert len(dev.slept) == 1
    assert 0 < dev.slept[0] <= 1.5
    assert len(dev.commits()) == 3
    assert tags[3] in dev.read(image_file("cart"))
    assert dev.metric("paced_seconds") == dev.slept[0]


def test_github_is_not_asked_again_before_the_time_that_it_named(dev: Bench) -> None:
    dev.declare("shop")
    tag = "20260102T000000Z-000000000002"
    dev.push("shop", tag)
    dev.writer.pace.hold(dev.world.now + 90)
    assert len(dev.run(ecr_event("develop/shop", tag))) == 1
    assert dev.host.requests == []
    assert dev.waiting() == (0, 1)
    dev.world.now += 90
    dev.run(ecr_event("develop/shop", tag))
    assert tag in dev.read(image_file("shop"))
