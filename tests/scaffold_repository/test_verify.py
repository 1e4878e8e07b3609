"""What a pull request must hold before it may be merged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.githost_kit import REPOSITORY
from tests.scaffold_repository.kit import Shop, digest, image_text, pin_text, service_files, shop, tag

BASE_IMAGE = "apps/cart/base/image/kustomization.yaml"
DEV_IMAGE = "apps/cart/overlays/dev/image/kustomization.yaml"
PRD_PIN = "apps/cart/overlays/prd/pin/kustomization.yaml"
DEPLOYMENT = "apps/cart/base/deployment.yaml"


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Shop]:
    """A fresh repository, in which image 1 of each service has run everywhere."""
    with shop(tmp_path) as made:
        yield made


def pinned(number: int, service: str = "cart", sha: str = "") -> str:
    entry = f'images:\n  # Pinned: r\n  - name: {service}\n    newTag: "{tag(number)}"\n    digest: {sha or digest(number)}\n'
    return pin_text(service, "prd").removesuffix("images: []\n") + entry


def test_every_overlay_of_a_touched_service_is_rendered_and_of_no_other(it: Shop) -> None:
    it.change("topic", {DEPLOYMENT: service_files("cart")[DEPLOYMENT] + "# more\n"}, base="dev")
    done = it.verify("dev", "topic")
    assert done.code == 0, done
    assert done.out.splitlines()[0] == "services touched: cart; overlays rendered: 3"


def test_a_text_outside_the_services_renders_nothing(it: Shop) -> None:
    it.change("topic", {"README.md": "# hello\n"}, base="dev")
    assert it.verify("dev", "topic").out.splitlines()[0] == "services touched: none; overlays rendered: 0"


def test_each_overlay_that_does_not_render_is_named_with_kustomizes_words(it: Shop) -> None:
    it.change("topic", {"apps/cart/overlays/prd/kustomization.yaml": "resources: [../../nowhere]\n"}, base="dev")
    done = it.verify("dev", "topic")
    assert done.code == 1
    assert done.err.startswith("apps/cart/overlays/prd/kustomization.yaml: does not render: error: accumulating resources")
    assert "overlays/dev" not in done.err


def test_on_github_a_finding_is_an_annotation_at_its_file_and_nothing_passes_for_a_command(it: Shop) -> None:
    it.change("topic", {"apps/cart/overlays/prd/kustomization.yaml": "resources: ['::add-mask::x']\n"}, base="dev")
    done = it.run("verify", "--base=dev", f"--head={it.host.head(REPOSITORY, 'topic')}", GITHUB_ACTIONS="true")
    lines = done.out.splitlines()
    assert lines[-1].startswith("::error file=apps/cart/overlays/prd/kustomization.yaml::")
    assert len(lines) == 3
    assert done.err == ""


def test_no_token_is_within_reach_of_what_is_rendered(it: Shop, tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "kubectl").write_text("#!/bin/sh\n/usr/bin/env >&2\nexit 1\n", encoding="utf-8")
    (fake / "kubectl").chmod(0o700)
    it.change("topic", {DEPLOYMENT: "{}"}, base="dev")
    path = f"{fake}:{it.environment()['PATH']}"
    done = it.run("verify", "--base=dev", f"--head={it.host.head(REPOSITORY, 'topic')}", PATH=path)
    assert "HTTPS_PROXY=http://127.0.0.1:9" in done.err
    assert "TOKEN" not in done.err
    assert str(fake) not in done.err


@pytest.mark.parametrize("path", [BASE_IMAGE, DEV_IMAGE])
def test_an_image_that_a_person_wrote_is_flagged(it: Shop, path: str) -> None:
    it.change("topic", {path: image_text("cart", 7, "dev" if path == DEV_IMAGE else "")}, base="dev")
    done = it.verify("dev", "topic")
    assert done.code == 1
    assert done.err.startswith(f"{path}: is written")


def test_an_image_taken_back_by_hand_is_flagged_where_it_is_written(it: Shop) -> None:
    it.write("stg", cart=2)
    it.change("topic", {BASE_IMAGE: image_text("cart", 1)}, base="stg")
    done = it.verify("stg", "topic")
    assert done.code == 1
    assert f"{BASE_IMAGE}: is written by machine, by commits on this branch" in done.err


def test_what_the_writer_wrote_may_be_carried_to_another_branch(it: Shop) -> None:
    it.write("stg", cart=2)
    it.write("stg", cart=3)
    head = it.host.head(REPOSITORY, "stg") or ""
    it.write("stg", cart=4)
    done = it.verify("dev", head)
    assert done.code == 0, done


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (pinned(9), f"pins {tag(9)}@{digest(9)}, which never ran"),
        (pinned(1, sha=digest(2)), "which never ran"),
        (pinned(1, service="pay"), "is not as the pin workflow writes it"),
        (pinned(1) + "labels: []\n", "is not as the pin workflow writes it"),
        (pinned(1).replace("held at", "kept at"), "is not as the pin workflow writes it"),
    ],
    ids=["never ran", "another digest", "another service", "more than a pin", "another head"],
)
def test_a_pin_that_the_workflow_would_not_write_is_flagged(it: Shop, text: str, said: str) -> None:
    it.change("topic", {PRD_PIN: text}, base="master")
    done = it.verify("master", "topic")
    assert done.code == 1
    assert said in done.err


def test_a_pin_of_production_alone_may_come_from_anywhere(it: Shop) -> None:
    it.change("topic", {PRD_PIN: pinned(1)}, base="master")
    done = it.verify("master", "topic")
    assert done.code == 0, done


def test_a_pin_on_another_environments_branch_is_flagged(it: Shop) -> None:
    it.change("topic", {PRD_PIN: pinned(1)}, base="dev")
    done = it.verify("dev", "topic")
    assert done.code == 1
    assert f"{PRD_PIN}: is written on branch master only" in done.err


@pytest.mark.parametrize("more", [{}, {PRD_PIN: pinned(1)}], ids=["a change", "a change beside a pin"])
def test_production_takes_nothing_that_stg_never_was(it: Shop, more: dict[str, str]) -> None:
    it.change("topic", {"apps/cart/overlays/prd/extra.yaml": "# extra\n", **more}, base="master")
    done = it.verify("master", "topic")
    assert done.code == 1
    assert "was never the tip of stg" in done.err


def test_what_stg_never_ran_reaches_production_neither_by_a_release_nor_by_a_pin_s_lifting(it: Shop) -> None:
    for environment in ("stg", "prd"):
        done = it.run("pin", f"--environment={environment}", "--service=cart", f"--to={tag(1)}", "--reason=r")
        it.merge(int(done.outputs["pull-request"]))
    it.write("stg", cart=2)
    tip = it.host.head(REPOSITORY, "stg") or ""
    assert it.verify("master", tip).code == 0
    it.change("lifted", {PRD_PIN: pin_text("cart", "prd")}, base="master")
    assert it.verify("master", "lifted").code == 0
    it.merge(it.world.repo("POST", "/pulls", it.alice, {"title": "Lift", "head": "lifted", "base": "master"}).body["number"])
    by_release = it.verify("master", tip)
    assert by_release.code == 1
    assert by_release.err == (
        f"{PRD_PIN}: cart would run {tag(2)}@{digest(2)}, which never ran in stg: only what did is allowed in prd. Let stg run "
        "it first, or pin the service at an image that ran.\n"
    )
    # Released beneath a pin, and the pin then lifted by hand.
    it.change("held", {PRD_PIN: pinned(1)}, base="master")
    it.merge(it.world.repo("POST", "/pulls", it.alice, {"title": "Hold", "head": "held", "base": "master"}).body["number"])
    it.released()
    it.change("lifted-again", {PRD_PIN: pin_text("cart", "prd")}, base="master")
    assert it.verify("master", "lifted-again").err == by_release.err


def test_a_pin_of_what_never_ran_is_flagged_once(it: Shop) -> None:
    it.change("topic", {PRD_PIN: pinned(9)}, base="master")
    assert len(it.verify("master", "topic").err.splitlines()) == 1


def test_what_was_merged_into_stg_is_not_what_stg_was(it: Shop) -> None:
    it.write("stg", cart=2)
    feature = it.change("dev", {DEPLOYMENT: service_files("cart")[DEPLOYMENT] + "# more\n"})
    it.promoted()
    # An ancestor of stg's tip: but with it, production would render what stg never did.
    assert it.verify("master", feature).code == 1
    assert it.verify("master", "stg").code == 0


def test_a_resolution_of_a_removal_is_made_again_and_must_be_the_same(it: Shop) -> None:
    it.write("stg", cart=2)
    it.released()
    done = it.run("pin", "--environment=prd", "--service=cart", f"--to={tag(1)}", "--reason=r")
    it.merge(int(done.outputs["pull-request"]))
    it.remove("dev", "cart")
    it.promoted()
    release = it.run("release").outputs["branch"]
    assert it.verify("master", release).code == 0
    it.change("other", {"apps/pay/overlays/prd/extra.yaml": "# extra\n"}, base=release)
    repository = it.host.path(REPOSITORY)
    parents = it.world.git("log", "-1", "--format=-p %P", release, cwd=repository).stdout.replace(" ", " -p ").split()[1:]
    forged = it.world.git("commit-tree", "other^{tree}", *parents, "-m", "Merge stg into master", cwd=repository).stdout.strip()
    it.host.create_branch(REPOSITORY, "release/forged", source=forged)
    done = it.verify("master", "release/forged")
    assert done.code == 1
    assert "was never the tip of stg" in done.err


def test_a_service_comes_with_empty_image_files_and_without_pins(it: Shop) -> None:
    it.change("topic", dict(service_files("mail", 0)), base="dev")
    assert it.verify("dev", "topic").code == 0
    image, pin = BASE_IMAGE.replace("cart", "mail"), PRD_PIN.replace("cart", "mail")
    it.change("topic", {image: image_text("mail", 7), pin: pinned(7, service="mail")})
    done = it.verify("dev", "topic")
    assert done.code == 1
    # With it dev would run an image that the develop registry does not have under that tag.
    overlay = "apps/mail/overlays/dev/kustomization.yaml"
    assert sorted(line.split(":")[0] for line in done.err.splitlines()) == [image, overlay, pin]


def test_what_the_workflows_offer_passes(it: Shop) -> None:
    it.write("stg", cart=2, pay=2)
    release = it.run("release").outputs
    assert it.verify("master", release["branch"]).out.splitlines()[0] == "services touched: cart, pay; overlays rendered: 6"
    it.merge(int(release["pull-request"]))
    pin = it.run("pin", "--environment=prd", "--service=cart,pay", "--to=previous", "--reason=both").outputs
    # Only production's overlays can change by its pins.
    assert it.verify("master", pin["branch"]).out.splitlines()[0] == "services touched: cart, pay; overlays rendered: 2"


def test_the_scripts_run_as_the_workflow_writes_it(it: Shop) -> None:
    it.change("topic", {DEPLOYMENT: service_files("cart")[DEPLOYMENT] + "# more\n"}, base="dev")
    done = it.run_alone("verify", "--base=dev", f"--head={it.host.head(REPOSITORY, 'topic')}")
    assert (done.code, done.out.splitlines()[0]) == (0, "services touched: cart; overlays rendered: 3")


def test_an_unknown_base_is_told(it: Shop) -> None:
    done = it.verify("nowhere", "dev")
    assert done.code == 1
    assert "branch 'nowhere' does not exist" in done.err
