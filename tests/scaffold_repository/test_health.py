"""A release of what Argo CD says is not Healthy where it comes from: refused, unless that is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from slipway import health

from components.argocd import health_reports
from rehearsal.stage import parse_stack
from tests.rehearsal.githost_kit import PROMOTER_APP, REPOSITORY, key
from tests.scaffold_repository.kit import Shop, service_files, shop

READER: Final = 104
STATES: Final = {"Healthy": "success", "Progressing": "pending", "Suspended": "pending", "Deleted": "success"}


@dataclass(frozen=True)
class Says:
    """Argo CD of every cluster, as far as it can be heard at the Git host: it sets statuses as the App that it reads with."""

    shop: Shop

    def __call__(self, service: str, word: str, *, place: str = "stg/blue", commit: str = "", description: str = "") -> str:
        """Say how a service is on a commit (else the source's tip), a minute after what was said last; when that was."""
        world = self.shop.world
        world.now += 60
        now = datetime.fromtimestamp(world.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {
            "state": STATES.get(word, "failure"),
            "context": prefix(*place.split("/")) + service,
            "description": description or f"{word} since {now}",
        }
        commit = commit or str(self.shop.host.head(REPOSITORY, "stg"))
        answer = world.repo("POST", f"/statuses/{commit}", world.app_token(READER), status)
        assert answer.status == 201, answer
        return now


@cache
def prefix(stack: str, colour: str) -> str:
    """What the program makes the contexts of a cluster begin with."""
    told = health_reports(parse_stack(stack, {}), colour)
    assert told is not None
    return told.prefix


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Shop]:
    """A fresh repository, in which image 1 of each service has run everywhere, and what Argo CD reads with."""
    with shop(tmp_path) as made:
        made.host.add_app(
            READER,
            "reader",
            key(str(READER)).public_pem,
            installation_id=READER + 1000,
            permissions={"contents": "read", "statuses": "write"},
            repositories=[REPOSITORY],
        )
        yield made


@pytest.fixture
def says(it: Shop) -> Says:
    """Argo CD."""
    return Says(it)


def branches(it: Shop) -> list[str]:
    """Every branch, for what a refusal must leave alone."""
    done = it.world.git("for-each-ref", "--format=%(refname) %(objectname)", cwd=it.host.path(REPOSITORY))
    return done.stdout.splitlines()


@pytest.mark.parametrize("word", ["Degraded", "Missing", "Unknown", "Progressing", "Suspended"])
def test_what_is_known_not_to_be_healthy_is_not_released(it: Shop, says: Says, word: str) -> None:
    it.write("stg", cart=2, pay=2)
    says("pay", "Healthy")
    since, before = says("cart", word), branches(it)
    done = it.run("release")
    assert (done.code, it.pulls(), branches(it)) == (1, [], before)
    assert "1 services are known not to be Healthy in stg:" in done.err
    assert f"  cart: stg/blue: {word} since {since}\n" in done.err
    assert "  pay:" not in done.err
    assert "run the workflow again with unhealthy" in done.err


def test_one_colour_that_is_not_well_is_enough(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    since = says("cart", "Degraded", place="stg/green")
    says("cart", "Healthy")
    done = it.run("release")
    assert done.code == 1
    assert f"cart: stg/green: Degraded since {since}" in done.err
    assert "stg/blue" not in done.err


def test_what_is_healthy_is_released_and_the_body_says_nothing_of_it(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    for service in ("cart", "pay"):
        says(service, "Healthy")
    it.released()
    assert "health" not in it.pulls("closed")[0]["body"].lower()


def test_where_nothing_is_known_of_any_service_a_release_goes_on_and_says_nothing_of_it(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    # Of another environment, and by others.
    says("cart", "Degraded", place="dev/blue")
    head = it.host.head(REPOSITORY, "stg")
    it.world.repo("POST", f"/statuses/{head}", it.alice, {"state": "failure", "context": "health of cart"})
    it.released()
    assert "health" not in it.pulls("closed")[0]["body"].lower()


def test_of_what_nothing_is_known_a_release_goes_on_and_says_so(it: Shop, says: Says) -> None:
    it.write("stg", cart=2, pay=2)
    says("pay", "Healthy")
    it.released()
    assert "Of 2 services, the health of 1 in stg is not known: `cart`." in it.pulls("closed")[0]["body"]


def test_a_service_that_is_well_again_on_the_same_commit_is_released(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("cart", "Degraded")
    assert it.run("release").code == 1
    says("cart", "Healthy")
    it.released()


def test_what_was_said_of_an_older_commit_is_past_once_a_newer_one_is_said_to_be_well(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("cart", "Degraded")
    it.write("stg", cart=3)
    says("cart", "Healthy")
    it.released()


def test_what_is_said_last_counts_whichever_commit_it_is_said_of(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    older = str(it.host.head(REPOSITORY, "stg"))
    it.write("stg", cart=3)
    says("cart", "Healthy")
    says("cart", "Degraded", commit=older)
    assert it.run("release").code == 1


def test_a_service_that_was_synced_long_ago_is_found(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("cart", "Degraded")
    for number in range(health.PAGE + 1):
        it.host.put_file(REPOSITORY, "stg", "README.md", f"{number}\n".encode(), "Change the text")
    assert "cart: stg/blue: Degraded" in it.run("release").err


def test_a_colour_that_stays_behind_is_looked_for_as_far_back_as_it_is(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("cart", "Degraded", place="stg/green")
    for number in range(health.PAGE + 1):
        it.host.put_file(REPOSITORY, "stg", "README.md", f"{number}\n".encode(), "Change the text")
    it.write("stg", cart=3, pay=3)
    says("cart", "Healthy")
    says("pay", "Healthy", place="stg/green")
    assert "cart: stg/green: Degraded" in it.run("release").err


def test_of_two_commits_at_once_the_newer_one_counts(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    older = str(it.host.head(REPOSITORY, "stg"))
    it.write("stg", cart=3)
    says("cart", "Healthy")
    it.world.now -= 60
    says("cart", "Degraded", commit=older)
    it.released()


def test_with_the_flag_it_is_released_all_the_same_and_the_body_names_it(it: Shop, says: Says) -> None:
    it.write("stg", cart=2, pay=2)
    since = says("cart", "Degraded")
    says("pay", "Healthy")
    done = it.run("release", "--unhealthy=true")
    (pull,) = it.pulls()
    said = (
        f"**`cart` is not Healthy in stg** (`stg/blue`: `Degraded` since {since}). It is released all the same, as @alice asked."
    )
    assert f"> {said}" in pull["body"]
    assert "`pay` is not Healthy" not in pull["body"]
    assert it.verify("master", done.outputs["branch"]).code == 0
    assert it.run("release", "--unhealthy=false").outputs["outcome"] == "unchanged"


def test_the_flag_alone_means_yes_and_nothing_else_is_taken_for_it(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("cart", "Degraded")
    with pytest.raises(SystemExit):
        it.run("release", "--unhealthy=perhaps")
    assert it.run("release", "--unhealthy=false").code == 1
    assert it.run("release", "--unhealthy").outputs["outcome"] == "opened"


def test_a_service_that_the_release_does_not_change_does_not_hold_it_up(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("pay", "Degraded")
    says("cart", "Healthy")
    it.released()


def test_a_service_that_a_shared_file_changes_holds_it_up(it: Shop, says: Says) -> None:
    shared = {
        "components/labels/kustomization.yaml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nlabels: []\n"
    }
    overlay = "apps/pay/overlays/prd/kustomization.yaml"
    text = service_files("pay")[overlay]
    it.change("dev", {**shared, overlay: text.replace("components: [pin]", "components: [pin, ../../../../components/labels]")})
    it.promoted()
    it.released()
    it.change("dev", {path: text.replace("[]", "[{pairs: {team: shop}}]") for path, text in shared.items()})
    it.promoted()
    says("cart", "Degraded")
    says("pay", "Degraded")
    done = it.run("release")
    assert (done.code, "  pay: stg/blue: Degraded" in done.err, "cart" in done.err) == (1, True, False)


def test_a_service_that_the_release_removes_does_not_hold_it_up(it: Shop, says: Says) -> None:
    it.write("stg", pay=2)
    says("cart", "Degraded")
    it.remove("dev", "cart")
    it.promoted()
    it.released()
    assert it.files("master", "cart") == []


def test_a_cluster_that_was_taken_away_has_said_so(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("cart", "Degraded", place="stg/green")
    says("cart", "Deleted", place="stg/green")
    says("cart", "Healthy")
    it.released()


def test_what_is_said_of_a_cluster_that_was_lost_is_taken_back_by_hand(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("cart", "Degraded", place="stg/green")
    assert it.run("release").code == 1
    it.world.now += 60
    head = it.host.head(REPOSITORY, "stg")
    by_hand = {"state": "success", "context": "health stg/green/cart"}
    assert it.world.repo("POST", f"/statuses/{head}", it.alice, by_hand).status == 201
    it.released()


def test_what_a_status_says_is_no_markdown_in_the_body(it: Shop, says: Says) -> None:
    it.write("stg", cart=2)
    says("cart", "Degraded", description="@everyone `x`\n<img src=x>")
    it.run("release", "--unhealthy")
    body = it.pulls()[0]["body"]
    assert "`stg/blue`: ``@everyone `x` <img src=x>`` since 20" in body


def test_a_token_that_may_not_read_statuses_is_refused_with_what_it_lacks(it: Shop) -> None:
    it.write("stg", cart=2)
    narrow = it.world.app_token(PROMOTER_APP, {"permissions": {"contents": "write", "pull_requests": "write"}})
    done = it.run("release", token=narrow)
    assert (done.code, it.pulls()) == (1, [])
    assert "Resource not accessible by integration. The token needs commit statuses, read" in done.err
