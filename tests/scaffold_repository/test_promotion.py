"""Promotion: what people change on dev is offered to stg, images are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.githost_kit import REPOSITORY
from tests.scaffold_repository.kit import Shop, image, image_text, service_files, shop

DEPLOYMENT = "apps/cart/base/deployment.yaml"


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Shop]:
    """A fresh repository."""
    with shop(tmp_path) as made:
        yield made


def changed_deployment(line: str = "  minReadySeconds: 7") -> dict[str, str | None]:
    return {DEPLOYMENT: service_files("cart")[DEPLOYMENT].replace("spec:\n  selector", f"spec:\n{line}\n  selector")}


def test_a_promotion_is_skipped_when_only_images_and_the_dev_overlay_changed(it: Shop) -> None:
    it.write("dev", cart=8, pay=8)
    it.change("dev", {"apps/cart/overlays/dev/patch.yaml": "# of dev alone\n"})
    done = it.run("promote")
    assert done.code == 0, done
    assert done.out.startswith("skipped promotion dev → stg")
    assert done.outputs["outcome"] == "skipped"
    assert it.pulls() == []


def test_a_change_of_the_base_is_offered_with_what_it_renders_to_on_stg(it: Shop) -> None:
    it.write("stg", cart=3)
    it.write("dev", cart=8)
    it.change("dev", changed_deployment())
    done = it.run("promote")
    assert done.outputs["outcome"] == "opened", done
    (pull,) = it.pulls()
    assert (pull["base"]["ref"], pull["title"], pull["user"]["login"]) == ("stg", "Promote dev to stg: cart", "promoter[bot]")
    assert pull["head"]["ref"] == f"promote/dev-{str(it.host.head(REPOSITORY, 'dev'))[:12]}"
    assert "+  minReadySeconds: 7" in pull["body"]
    assert "| `cart` |  | +1 -0 lines |" in pull["body"]
    # Neither the other service nor the image that dev runs has anything to do with stg.
    assert "pay" not in pull["body"]
    assert "newTag" not in pull["body"]
    it.merge(pull["number"])
    assert it.renders("stg", "cart") == image("cart", 3)
    assert it.run("promote").outputs["outcome"] == "skipped"


def test_the_one_pull_request_follows_people_and_not_images(it: Shop) -> None:
    it.change("dev", changed_deployment())
    number = int(it.run("promote").outputs["pull-request"])
    head = it.pulls()[0]["head"]["sha"]
    it.write("dev", cart=2)
    again = it.run("promote")
    assert (again.outputs["outcome"], it.pulls()[0]["head"]["sha"]) == ("unchanged", head)
    it.change("dev", {"apps/pay/base/extra.yaml": "# more\n"})
    after = it.run("promote")
    assert (after.outputs["outcome"], after.outputs["pull-request"]) == ("updated", str(number))
    (pull,) = it.pulls()
    assert pull["head"]["sha"] == it.host.head(REPOSITORY, "dev")
    assert pull["title"] == "Promote dev to stg: cart, pay"


def test_a_pull_request_is_closed_when_dev_takes_everything_back(it: Shop) -> None:
    it.change("dev", changed_deployment())
    it.run("promote")
    it.change("dev", {DEPLOYMENT: service_files("cart")[DEPLOYMENT]})
    done = it.run("promote")
    assert done.outputs["outcome"] == "closed", done
    assert it.pulls() == []
    assert it.host.head(REPOSITORY, done.outputs["branch"] or "none") is None
    assert it.pulls("closed")[0]["body"].startswith("Closed by the promote workflow")


def test_a_new_service_is_promoted_whole(it: Shop) -> None:
    it.change("dev", dict(service_files("mail", 0)))
    it.write("dev", mail=4)
    done = it.run("promote")
    body = it.pulls()[0]["body"]
    assert "| `mail` | new |" in body
    assert it.verify("stg", done.outputs["branch"]).code == 0
    it.merge(int(done.outputs["pull-request"]))
    it.write("stg", mail=5)
    assert it.renders("stg", "mail") == image("mail", 5)
    assert it.renders("dev", "mail") == image("mail", 4)


def test_what_is_written_for_a_service_that_goes_does_not_reach_one_that_comes(it: Shop) -> None:
    it.remove("dev", "cart")
    it.change("dev", dict(service_files("mail", 0)))
    it.write("stg", cart=2)
    done = it.run("promote")
    assert done.outputs["outcome"] == "opened", done
    it.write("stg", cart=3)  # the offered commit and the branch part: GitHub merges them, and looks for renames
    it.write("stg", pay=3)
    done = it.run("promote")
    assert it.verify("stg", done.outputs["branch"]).code == 0
    it.merge(int(done.outputs["pull-request"]))
    assert it.host.read(REPOSITORY, "stg", "apps/mail/base/image/kustomization.yaml") == image_text("mail", 0).encode()
    assert it.files("stg", "cart") == []


def test_files_that_git_takes_for_moved_ones_are_refused(it: Shop) -> None:
    """People copied a service's directory, and left what the machines' files say of the old one."""
    image_file = "apps/mail/base/image/kustomization.yaml"
    it.change("dev", {path.replace("apps/cart/", "apps/mail/"): text for path, text in service_files("cart").items()})
    it.remove("dev", "cart")
    it.write("stg", cart=2)
    done = it.run("promote")
    assert (done.code, it.pulls()) == (1, [])
    assert f"mixes what they hold:\n  {image_file}\nOnly what one" in done.err


def test_two_people_who_change_the_same_lines_are_told_which_and_nothing_is_opened(it: Shop) -> None:
    it.change("dev", changed_deployment("  minReadySeconds: 7"))
    it.change("stg", changed_deployment("  minReadySeconds: 8"))
    done = it.run("promote")
    assert done.code == 1
    assert f"change the same lines of 1 files:\n  {DEPLOYMENT}\n" in done.err
    assert it.pulls() == []


def test_a_service_removed_on_dev_goes_although_stg_wrote_and_pinned_it_meanwhile(it: Shop) -> None:
    it.write("stg", cart=2)
    assert it.run("pin", "--environment=stg", "--service=cart", "--to=previous", "--reason=slow").code == 0
    it.merge(it.pulls()[0]["number"])
    it.remove("dev", "cart")
    assert it.world.git("merge-tree", "--write-tree", "stg", "dev", cwd=it.host.path(REPOSITORY)).returncode == 1
    done = it.run("promote")
    assert done.outputs["outcome"] == "opened", done
    body = it.pulls()[0]["body"]
    assert "| `cart` | removed |" in body
    assert "- `apps/cart/base/image/kustomization.yaml`" in body
    assert "- `apps/cart/overlays/stg/pin/kustomization.yaml`" in body
    assert it.verify("stg", done.outputs["branch"]).code == 0
    it.merge(int(done.outputs["pull-request"]))
    assert it.files("stg", "cart") == []
    assert it.files("stg", "pay") != []
    # Once merged, the histories have met: nothing is left over.
    assert it.run("promote").outputs["outcome"] == "skipped"


def test_a_removal_is_offered_anew_when_stg_writes_once_more_before_the_merge(it: Shop) -> None:
    it.write("stg", cart=2)
    it.remove("dev", "cart")
    first = it.run("promote")
    it.write("stg", cart=3)
    refused = it.verify("stg", first.outputs["branch"])
    assert refused.code == 1
    assert "Run the promote or release workflow again" in refused.err
    again = it.run("promote")
    assert (again.outputs["outcome"], again.outputs["pull-request"]) == ("updated", first.outputs["pull-request"])
    it.merge(int(again.outputs["pull-request"]))
    assert it.files("stg", "cart") == []


def test_a_removal_does_not_win_over_what_a_person_changed(it: Shop) -> None:
    it.write("stg", cart=2)
    it.change("stg", changed_deployment())
    it.remove("dev", "cart")
    done = it.run("promote")
    assert done.code == 1
    assert DEPLOYMENT in done.err
    assert "base/image" not in done.err


def test_what_does_not_render_is_not_offered(it: Shop) -> None:
    it.change("dev", {"apps/cart/base/kustomization.yaml": "resources: [missing.yaml]\n"})
    done = it.run("promote")
    assert done.code == 1
    assert "apps/cart/overlays/stg does not render" in done.err
    assert "missing.yaml" in done.err
    assert it.pulls() == []


def test_a_change_of_a_shared_component_shows_at_every_service(it: Shop) -> None:
    label = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels:\n  - pairs: {team: %s}\n"
    shared = {"shared/kustomization.yaml": label % "one"}
    for service in ("cart", "pay"):
        path = f"apps/{service}/overlays/stg/kustomization.yaml"
        shared[path] = service_files(service)[path].replace("[pin]", "[pin, ../../../../shared]")
    it.change("dev", dict(shared))
    it.promoted()
    it.change("dev", {"shared/kustomization.yaml": label % "two"})
    it.run("promote")
    pull = it.pulls()[0]
    assert pull["title"] == "Promote dev to stg: shared files"
    assert pull["body"].count("+    team: two") == 2
    assert "- `shared/kustomization.yaml`" in pull["body"]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(it: Shop) -> None:
    it.change("dev", changed_deployment())
    for arguments in (["--dry-run", "promote"], ["promote", "--dry-run"]):
        done = it.run(*arguments)
        assert done.code == 0, done
        assert "would push" in done.out
        assert "would open a pull request" in done.out
        assert "+  minReadySeconds: 7" in done.out
    assert it.pulls() == []
    assert it.world.git("branch", "--list", "promote/*", cwd=it.host.path(REPOSITORY)).stdout == ""


def test_a_refusal_of_the_api_is_told_with_its_words(it: Shop) -> None:
    it.change("dev", changed_deployment())
    narrow = it.world.app_token(103, {"permissions": {"contents": "write"}})
    done = it.run("promote", token=narrow)
    assert done.code == 1
    assert "403" in done.err
    assert "pull requests, both write" in done.err
