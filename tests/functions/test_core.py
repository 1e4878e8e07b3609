"""The core by itself: order, duplicates, replays, refusals and marks."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.gitops_writer import core, manifests
from functions.gitops_writer.core import Blob, Found, Image, Message, Reason, Snapshot, Tag
from functions.gitops_writer.settings import Layout
from tests.functions.kit import ecr_event

START = datetime(2026, 1, 1, tzinfo=UTC)
LAYOUT = Layout(root="apps/{service}", own_overlay="dev")
DIGEST = "sha256:" + "a" * 64
EMPTY = "kind: Component\nimages: []\n"


def a_tag(minute: int, commit: str = "abcdefabcdef") -> Tag:
    return Tag(START + timedelta(minutes=minute), commit)


def digest_of(service: str, tag: Tag) -> str:
    return "sha256:" + f"{service}{tag}".encode().hex().zfill(64)[-64:]


def held(service: str, tag: Tag) -> Found:
    return Found(digest=digest_of(service, tag), pushed_at=tag.time + timedelta(seconds=30))


def message(number: int, service: str, tag: Tag) -> Message:
    return Message(id=str(number), handle="", body=json.dumps(ecr_event(f"develop/{service}", str(tag))))


def snapshot(*services: str, text: str = EMPTY) -> Snapshot:
    return Snapshot(
        branch="dev",
        head="0" * 40,
        files={LAYOUT.image(service): Blob(text=text) for service in services},
        directories=frozenset(LAYOUT.directory(service) for service in services),
    )


def apply(batch: Sequence[Message], before: Snapshot, declared: Sequence[str]) -> tuple[Snapshot, int, list[Reason]]:
    """One invocation, were there only the core: branch after it, commits made, what became of the messages."""
    events, outcomes = core.read_events(batch, "develop/")
    images, chosen, more = core.elect(events, declared, held)
    plan = core.plan(images, before, layout=LAYOUT, environments=["dev"], scaffold=None)
    after = before.changed({path: text for files in plan.changes.values() for path, text in files.items()})
    reasons = [each.reason for each in (*outcomes, *more)]
    reasons += [plan.outcomes[service].reason for service, group in chosen.items() for _ in group]
    return after, bool(plan.changes), reasons


# Property tests

SERVICES = ("storefront", "invoices", "search")
EVENTS = st.tuples(st.sampled_from(SERVICES), st.builds(a_tag, st.integers(0, 30), st.sampled_from(["a" * 12, "b" * 12])))
HISTORIES = st.lists(st.lists(EVENTS, max_size=8), max_size=12)


@settings(max_examples=40, deadline=None)
@given(HISTORIES)
def test_any_history_ends_in_the_newest_image_of_each_service(history: list[list[tuple[str, Tag]]]) -> None:
    state = snapshot(*SERVICES)
    newest: dict[str, Tag] = {}
    for batch in history:
        messages = [message(number, *event) for number, event in enumerate(batch)]
        state, _, reasons = apply(messages, state, SERVICES)
        assert len(reasons) == len(messages)
        for service, tag in batch:
            newest[service] = max(tag, newest.get(service, tag))
        for service in SERVICES:
            entry = manifests.read_entry(state.files[LAYOUT.image(service)].text, service)
            expected = newest.get(service)
            assert entry.tag == (str(expected) if expected else None)
            assert entry.digest == (digest_of(service, expected) if expected else None)


@settings(max_examples=40, deadline=None)
@given(HISTORIES, st.randoms())
def test_a_replay_in_any_order_and_grouping_makes_no_second_commit(history: list[list[tuple[str, Tag]]], random: object) -> None:
    state = snapshot(*SERVICES)
    for batch in history:
        state, _, _ = apply([message(number, *event) for number, event in enumerate(batch)], state, SERVICES)
    again = [message(number, *event) for number, event in enumerate(event for batch in history for event in batch)]
    random.shuffle(again)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue] — hypothesis hands out a Random
    for start in range(0, len(again), 5):
        after, commits, reasons = apply(again[start : start + 5], state, SERVICES)
        assert not commits
        assert after == state
        assert set(reasons) <= {Reason.CURRENT, Reason.OLDER, Reason.SUPERSEDED}


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_message_whatever_it_holds_is_lost_or_fatal(body: bytes | str) -> None:
    text = body if isinstance(body, str) else body.decode(errors="replace")
    events, outcomes = core.read_events([Message(id="one", handle="", body=text)], "develop/")
    assert len(events) + len(outcomes) == 1


@given(st.text())
def test_a_tag_reads_as_it_is_written_or_not_at_all(text: str) -> None:
    tag = core.parse_tag(text)
    assert tag is None or str(tag) == text


# Events


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (ecr_event("develop/shop", None), Reason.UNTAGGED),
        (ecr_event("develop/shop", "latest"), Reason.MALFORMED),
        (ecr_event("develop/shop", "20261301T000000Z-abcdefabcdef"), Reason.MALFORMED),
        (ecr_event("develop/shop", "20260101T000000Z-abcdefabcde"), Reason.MALFORMED),
        (ecr_event("develop/shop", "20260101T000000Z-ABCDEFABCDEF"), Reason.MALFORMED),
        (ecr_event("develop/shop", "2026111T000000Z-abcdefabcdef"), Reason.MALFORMED),
        (ecr_event("develop/shop", "20260101T00000Z-abcdefabcdef"), Reason.MALFORMED),
        (ecr_event("develop/shop", "20260101T000000-abcdefabcdef"), Reason.MALFORMED),
        (ecr_event("develop/shop", "v20260101T000000Z-abcdefabcdef"), Reason.MALFORMED),
        (ecr_event("develop/shop", "slipway-keep-dev"), Reason.MARK),
        (ecr_event("release/shop", "20260101T000000Z-abcdefabcdef"), Reason.FOREIGN),
        (ecr_event("develop/", "20260101T000000Z-abcdefabcdef"), Reason.FOREIGN),
        (ecr_event("develop/shop", "20260101T000000Z-abcdefabcdef", result="FAILURE"), Reason.FOREIGN),
        ({**ecr_event("develop/shop", "20260101T000000Z-abcdefabcdef"), "detail-type": "ECR Replication Action"}, Reason.FOREIGN),
        ({"detail": "none"}, Reason.FAILED),
        (["no", "object"], Reason.FAILED),
        ("no json", Reason.FAILED),
    ],
)
def test_what_is_no_image_of_this_track_leaves_with_its_reason(event: object, reason: Reason) -> None:
    body = event if isinstance(event, str) else json.dumps(event)
    events, outcomes = core.read_events([Message(id="one", handle="", body=body)], "develop/")
    assert events == []
    assert [(each.reason, each.message, bool(each.detail)) for each in outcomes] == [(reason, "one", True)]


def test_a_tag_over_five_minutes_ahead_of_its_push_is_refused_and_the_next_newest_is_taken() -> None:
    pushed = START + timedelta(minutes=10)
    events, _ = core.read_events([message(n, "shop", a_tag(minute)) for n, minute in enumerate((15, 16, 3))], "develop/")
    facts = {a_tag(minute): Found(digest=DIGEST, pushed_at=pushed) for minute in (15, 16, 3)}
    images, chosen, outcomes = core.elect(events, ["shop"], lambda _, tag: facts[tag])
    assert images["shop"].tag == a_tag(15)
    assert [each.message for each in chosen["shop"]] == ["0"]
    assert {each.message: each.reason for each in outcomes} == {"1": Reason.FUTURE, "2": Reason.SUPERSEDED}


def nothing(_service: str, _tag: Tag) -> None:
    """A registry that is empty."""


def test_an_image_that_the_registry_does_not_hold_is_not_written() -> None:
    events, _ = core.read_events([message(1, "shop", a_tag(1)), message(2, "other", a_tag(1))], "develop/")
    images, _, outcomes = core.elect(events, ["shop"], nothing)
    assert images == {}
    assert {each.service: each.reason for each in outcomes} == {"shop": Reason.GONE, "other": Reason.UNDECLARED}


def test_the_sweep_takes_the_newest_eligible_of_all_images() -> None:
    pushed = START + timedelta(minutes=10)
    images = [
        Found(digest=DIGEST, pushed_at=pushed, tags=(str(a_tag(1)), "slipway-keep-dev")),
        Found(digest=DIGEST, pushed_at=pushed, tags=("latest", str(a_tag(9)))),
        Found(digest=DIGEST, pushed_at=pushed, tags=(str(a_tag(60)),)),
    ]
    image, refused = core.newest("shop", images)
    assert image is not None
    assert image.tag == a_tag(9)
    assert [each.reason for each in refused] == [Reason.FUTURE]
    assert core.newest("shop", []) == (None, [])


# Plans


def image(minute: int) -> Image:
    return Image(service="shop", tag=a_tag(minute), digest=DIGEST, pushed_at=START)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (snapshot("other"), "not_promoted"),
        (Snapshot(branch="dev", head="", directories=frozenset({"apps/shop"})), "missing"),
        (snapshot("shop", text="images: [\n"), "no YAML"),
        (snapshot("shop", text="images:\n  - name: shop\n  - name: shop\n"), "2 entries"),
        (snapshot("shop", text="images:\n  - name: web\n"), "no entry"),
        (snapshot("shop", text="kind: Component\n"), "no list"),
        (snapshot("shop", text="images: []\n#" + "x" * 1024 * 1024), "1048588 characters"),
    ],
)
def test_one_service_at_fault_does_not_hold_back_another(before: Snapshot, said: str) -> None:
    whole = Snapshot(
        branch="dev",
        head=before.head,
        files={**before.files, LAYOUT.image("good"): Blob(text=EMPTY)},
        directories=before.directories | {"apps/good"},
    )
    images = {"shop": image(1), "good": Image(service="good", tag=a_tag(1), digest=DIGEST, pushed_at=START)}
    plan = core.plan(images, whole, layout=LAYOUT, environments=["dev"], scaffold=None)
    assert list(plan.changes) == ["good"]
    outcome = plan.outcomes["shop"]
    assert said in f"{outcome.reason} {outcome.detail}"


def test_a_service_that_people_deleted_is_not_scaffolded_again() -> None:
    before = Snapshot(branch="dev", head="", removed=frozenset({"apps/shop"}))
    plan = core.plan({"shop": image(1)}, before, layout=LAYOUT, environments=[], scaffold=lambda _: {LAYOUT.image("shop"): EMPTY})
    assert plan.changes == {}
    assert plan.outcomes["shop"].reason is Reason.REMOVED


def test_a_pinned_service_goes_on_receiving_images_beneath_its_pin() -> None:
    pin = "kind: Component\nimages:\n  - name: shop\n    newTag: old\n"
    before = snapshot("shop")
    before = Snapshot(
        branch="dev", head="", files={**before.files, LAYOUT.pin("shop", "dev"): Blob(text=pin)}, directories=before.directories
    )
    plan = core.plan({"shop": image(1)}, before, layout=LAYOUT, environments=["dev"], scaffold=None)
    assert plan.outcomes["shop"].pinned == ("dev",)
    assert list(plan.changes["shop"]) == [LAYOUT.image("shop")]


# Marks


def test_the_mark_follows_the_pin_before_the_image_beneath_it() -> None:
    files = {
        LAYOUT.pin("shop", "stg"): f"images:\n  - name: shop\n    newTag: {a_tag(1)}\n    digest: {DIGEST}\n",
        LAYOUT.base_image("shop"): f"images:\n  - name: shop\n    newTag: {a_tag(2)}\n",
    }
    pinned = Snapshot(branch="stg", head="", files={path: Blob(text=text) for path, text in files.items()})
    assert core.reference(pinned, "shop", LAYOUT, "stg").entry.digest == DIGEST
    lifted = pinned.changed({LAYOUT.pin("shop", "stg"): "images: []\n"})
    assert core.reference(lifted, "shop", LAYOUT, "stg").entry.tag == str(a_tag(2))
    broken = pinned.changed({LAYOUT.pin("shop", "stg"): "images: [\n"})
    assert not core.reference(broken, "shop", LAYOUT, "stg").known


def test_marks_move_with_references_and_stay_where_a_file_cannot_be_read() -> None:
    other = "sha256:" + "b" * 64
    images = [
        Found(digest=DIGEST, pushed_at=START, tags=(str(a_tag(1)), "slipway-keep-stg", "slipway-keep-qa", "slipway-keep-prd")),
        Found(digest=other, pushed_at=START, tags=(str(a_tag(2)),)),
    ]
    entry = manifests.Entry
    references = {
        "stg": core.Reference(entry=entry(tag=str(a_tag(2)), digest=other)),
        "prd": core.Reference(entry=entry(), known=False),
        "qa": core.Reference(entry=entry()),
        "eu": core.Reference(entry=entry(tag=str(a_tag(1)))),
        "us": core.Reference(entry=entry(tag="gone", digest="sha256:" + "c" * 64)),
    }
    todo, missing = core.marks("shop", images, references)
    assert {(each.name, each.digest) for each in todo} == {
        ("slipway-keep-stg", other),
        ("slipway-keep-eu", DIGEST),
    }
    assert [each.tag for each in missing] == ["gone"]


def test_a_mark_whose_environment_references_nothing_stays_where_it_is() -> None:
    images = [Found(digest=DIGEST, pushed_at=START, tags=(str(a_tag(1)), "slipway-keep-stg"))]
    assert core.marks("shop", images, {"stg": core.Reference(entry=manifests.Entry())}) == ([], [])
