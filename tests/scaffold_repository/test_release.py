"""Release, rollback by pin and hotfix: what production runs, and what it may run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway.gitrepo import Repo

from tests.rehearsal.githost_kit import REPOSITORY, STG_APP
from tests.scaffold_repository.kit import Shop, digest, image, image_text, pin_text, shop, tag

PIN = "apps/cart/overlays/prd/pin/kustomization.yaml"


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Shop]:
    """A fresh repository, in which image 1 of each service has run everywhere."""
    with shop(tmp_path) as made:
        yield made


def pinned(it: Shop, *arguments: str) -> None:
    """Pin or unpin, and merge."""
    done = it.run(*arguments)
    assert done.outputs.get("outcome") == "opened", done
    it.merge(int(done.outputs["pull-request"]))


def test_a_release_brings_the_very_images_that_stg_ran(it: Shop) -> None:
    it.write("stg", cart=2)
    it.write("stg", pay=3)
    done = it.run("release")
    (pull,) = it.pulls()
    assert (pull["base"]["ref"], pull["title"]) == ("master", "Release to prd: cart, pay")
    assert pull["head"]["ref"] == done.outputs["branch"]
    assert pull["head"]["sha"] == it.host.head(REPOSITORY, "stg")
    assert f"| `cart` | `{tag(1)}` | `{tag(2)}` | `{digest(2)}` |  | +1 -1 lines |" in pull["body"]
    assert f"| `pay` | `{tag(1)}` | `{tag(3)}` | `{digest(3)}` |" in pull["body"]
    assert f"+      - image: registry.example/release/{image('pay', 3)}" in pull["body"]
    it.merge(pull["number"])
    assert it.renders("prd", "cart") == it.renders("stg", "cart") == image("cart", 2)
    assert it.renders("prd", "pay") == image("pay", 3)
    assert it.run("release").outputs["outcome"] == "skipped"


def test_later_builds_do_not_move_what_was_reviewed(it: Shop) -> None:
    it.write("stg", cart=2)
    first = it.run("release")
    assert it.run("release").outputs == {**first.outputs, "outcome": "unchanged"}
    it.write("stg", cart=3)
    it.merge(int(first.outputs["pull-request"]))
    assert it.renders("prd", "cart") == image("cart", 2)


def test_a_second_release_names_the_one_that_is_open(it: Shop) -> None:
    it.write("stg", cart=2)
    first = it.run("release")
    it.write("stg", cart=3)
    it.run("release")
    newest, older = it.pulls()
    assert older["number"] == int(first.outputs["pull-request"])
    assert f"**Another release is open**: #{older['number']}" in newest["body"]


def test_a_removed_service_is_released_although_prd_pinned_it(it: Shop) -> None:
    it.write("stg", cart=2)
    it.released()
    pinned(it, "pin", "--environment=prd", "--service=cart", "--to=previous", "--reason=errors")
    it.remove("dev", "cart")
    it.promoted()
    done = it.run("release")
    body = it.pulls()[0]["body"]
    assert f"| `cart` | `{tag(1)}` | none |  | removed |" in body
    assert f"- `{PIN}`" in body
    assert it.verify("master", done.outputs["branch"]).code == 0
    it.merge(int(done.outputs["pull-request"]))
    assert it.files("master", "cart") == []
    assert it.run("release").outputs["outcome"] == "skipped"


def test_a_pin_sticks_while_newer_images_and_releases_pass_beneath_until_it_is_lifted(it: Shop) -> None:
    it.write("stg", cart=2)
    it.released()
    pinned(it, "pin", "--environment=prd", "--service=cart", "--to=previous", "--reason=500s at checkout")
    assert it.renders("prd", "cart") == image("cart", 1)
    it.write("stg", cart=3)
    assert it.renders("stg", "cart") == image("cart", 3)
    done = it.run("release")
    body = it.pulls()[0]["body"]
    assert f"> **`cart` is pinned in prd** at `{tag(1)}` (500s at checkout). The pin stays" in body
    assert f"| `cart` | `{tag(1)}` | `{tag(1)}` | `{digest(1)}` | pinned | no difference |" in body
    it.merge(int(done.outputs["pull-request"]))
    assert it.renders("prd", "cart") == image("cart", 1)
    pinned(it, "unpin", "--environment=prd", "--service=cart", "--reason=mended")
    assert it.renders("prd", "cart") == image("cart", 3)
    assert it.host.read(REPOSITORY, "master", PIN) == pin_text().encode()
    it.write("stg", cart=4)
    it.released()
    assert it.renders("prd", "cart") == image("cart", 4)


def test_previous_goes_further_back_each_time(it: Shop) -> None:
    for number in (2, 3):
        it.write("stg", cart=number)
        it.released()
    for number in (2, 1):
        pinned(it, "pin", "--environment=prd", "--service=cart", "--to=previous", "--reason=bad")
        assert it.renders("prd", "cart") == image("cart", number)
    done = it.run("pin", "--environment=prd", "--service=cart", "--to=previous", "--reason=bad")
    assert done.code == 1
    assert "cart ran no image in prd before the present one" in done.err


def test_several_services_are_pinned_by_one_commit_with_the_reason_in_each_file(it: Shop) -> None:
    it.write("stg", cart=2, pay=2)
    it.released()
    done = it.run("pin", "--environment=prd", "--service=cart, pay", "--to=previous", "--reason=Both  fail:\n'#1'")
    (pull,) = it.pulls()
    assert pull["title"] == "Pin cart, pay in prd"
    assert pull["body"].startswith("Both fail: '#1' Asked for by @alice.")
    files = it.world.repo("GET", f"/pulls/{pull['number']}/files", it.alice).body
    assert [each["filename"] for each in files] == [PIN, PIN.replace("cart", "pay")]
    it.merge(int(done.outputs["pull-request"]))
    text = (it.host.read(REPOSITORY, "master", PIN) or b"").decode()
    entry = f"images:\n  # Pinned: Both fail: '#1'\n  - name: cart\n    newTag: \"{tag(1)}\"\n    digest: {digest(1)}\n"
    assert text == pin_text().removesuffix("images: []\n") + entry
    assert it.renders("prd", "pay") == image("pay", 1)


def test_a_hotfix_is_a_pin_at_an_image_that_only_stg_has_run(it: Shop) -> None:
    it.write("stg", cart=2, pay=2)
    pinned(it, "pin", "--environment=prd", "--service=cart", f"--to={tag(2)}", "--reason=hotfix")
    assert it.renders("prd", "cart") == image("cart", 2)
    assert it.renders("prd", "pay") == image("pay", 1)
    # With the next release the image lies beneath as well, and lifting the pin changes nothing.
    it.released()
    pinned(it, "unpin", "--environment=prd", "--service=cart", "--reason=released")
    assert it.renders("prd", "cart") == image("cart", 2)


def test_a_pin_that_must_not_be_is_refused(it: Shop) -> None:
    it.write("dev", cart=5)
    pinned(it, "pin", "--environment=stg", "--service=cart", f"--to={tag(1)}", "--reason=hold")
    it.write("stg", cart=6)
    it.write("stg", cart=7)
    pinned(it, "unpin", "--environment=stg", "--service=cart", "--reason=done")
    never = "but it never ran in prd or stg: one that did is allowed, the newest are"
    for what, arguments, said in (
        ("an unknown tag", [f"--to={tag(9)}"], f"cart: tag is '{tag(9)}', {never} {tag(7)}, {tag(1)}. Name one"),
        ("an image of dev", [f"--to={tag(5)}"], never),
        ("one that passed beneath a pin of stg", [f"--to={tag(6)}"], never),
        ("an unknown service", ["--service=ship"], "no pin file of ship for prd: one of cart, pay is allowed"),
        ("no reason", ["--reason= \n "], "reason has 0 characters: 1 to 300 are allowed"),
        ("an unknown environment", ["--environment=live"], "environment is 'live': one of dev, stg, prd is allowed"),
        ("nothing older", ["--to=previous"], "cart ran no image in prd before the present one"),
    ):
        # Of an option given twice the last counts, but services add up.
        done = it.run("pin", "--environment=prd", "--service=cart", f"--to={tag(7)}", "--reason=r", *arguments)
        assert (done.code, said in done.err) == (1, True), (what, done)
    assert it.run("pin", "--environment=prd", "--service= , ", "--to=previous", "--reason=r").err.startswith("service is empty")
    assert it.pulls() == []


def test_a_direct_pin_needs_a_token_that_the_branch_lets_pass(it: Shop) -> None:
    it.write("stg", cart=2)
    asked = ("pin", "--environment=stg", "--service=cart", f"--to={tag(1)}", "--reason=fire", "--direct")
    refused = it.run(*asked)
    assert refused.code == 1
    assert "Changes must be made through a pull request" in refused.err
    writer = it.world.app_token(STG_APP)
    done = it.run(*asked, token=writer)
    assert done.outputs["outcome"] == "committed", done
    assert it.renders("stg", "cart") == image("cart", 1)
    assert it.run(*asked, token=writer).outputs["outcome"] == "unchanged"
    it.write("stg", cart=3)
    assert it.renders("stg", "cart") == image("cart", 1)


def test_a_branch_that_moves_meanwhile_is_read_again(it: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    it.write("stg", cart=2)
    push, raced = Repo.push, list[str]()

    def race(repo: Repo, commit: str, branch: str, *, expected: str | None) -> None:
        if not raced:
            raced.append(branch)
            it.write("stg", pay=2)
        push(repo, commit, branch, expected=expected)

    monkeypatch.setattr(Repo, "push", race)
    asked = ("pin", "--environment=stg", "--service=cart", f"--to={tag(1)}", "--reason=fire", "--direct")
    done = it.run(*asked, token=it.world.app_token(STG_APP))
    assert done.outputs["outcome"] == "committed", done
    assert raced == ["stg"]
    assert it.host.read(REPOSITORY, "stg", "apps/pay/base/image/kustomization.yaml") == image_text("pay", 2).encode()
    assert it.renders("stg", "cart") == image("cart", 1)


def test_a_pin_file_that_people_changed_is_not_overwritten(it: Shop) -> None:
    it.write("stg", cart=2)
    it.change("stg", {"apps/cart/overlays/stg/pin/kustomization.yaml": pin_text() + "labels: []\n"})
    done = it.run("pin", "--environment=stg", "--service=cart", "--to=previous", "--reason=r")
    assert done.code == 1
    assert "the pin file of cart is not as the machines write it" in done.err


def test_a_service_pinned_in_stg_is_named_with_the_image_that_stg_does_not_run(it: Shop) -> None:
    it.write("stg", cart=2)
    pinned(it, "pin", "--environment=stg", "--service=cart", "--to=previous", "--reason=2 leaks")
    it.run("release")
    body = it.pulls()[0]["body"]
    assert f"> **`cart` is pinned in stg** at `{tag(1)}` (2 leaks). stg does not run `{tag(2)}`" in body
