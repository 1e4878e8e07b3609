"""Release, rollback by pin and hotfix: what production runs, and what it may run."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from slipway.github import GitHub
from slipway.gitrepo import Repo

from tests.rehearsal.githost_kit import REPOSITORY, STG_APP
from tests.scaffold_repository.kit import PLATFORM, Shop, digest, image, image_text, pin_text, shop, tag

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
    compare = f"https://github.com/example-org/cart/compare/{1:012x}...{2:012x}"
    row = f"| `cart` | `{tag(1)}` | `{tag(2)}` | [compare]({compare}) | `{digest(2)[:19]}` |  | +1 -1 lines |"
    assert row in pull["body"]
    assert f"| `pay` | `{tag(1)}` | `{tag(3)}` | [compare](" in pull["body"]
    whole = f"- `cart`: `{tag(2)}@{digest(2)}`\n- `pay`: `{tag(3)}@{digest(3)}`"
    assert f"<details><summary>Digests</summary>\n\n{whole}\n\n</details>" in pull["body"]
    assert f"+      - image: {PLATFORM.environments['prd'].registry}/{image('pay', 3)}" in pull["body"]
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
    assert f"| `cart` | `{tag(1)}` | none |  |  | removed |" in body
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
    assert f"| `cart` | `{tag(1)}` | `{tag(1)}` |  | `{digest(1)[:19]}` | pinned | no difference |" in body
    it.merge(int(done.outputs["pull-request"]))
    assert it.renders("prd", "cart") == image("cart", 1)
    pinned(it, "unpin", "--environment=prd", "--service=cart", "--reason=mended")
    assert it.renders("prd", "cart") == image("cart", 3)
    assert it.host.read(REPOSITORY, "master", PIN) == pin_text("cart", "prd").encode()
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
    assert text == pin_text("cart", "prd").removesuffix("images: []\n") + entry
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
    it.change("stg", {"apps/cart/overlays/stg/pin/kustomization.yaml": pin_text("cart", "stg") + "labels: []\n"})
    done = it.run("pin", "--environment=stg", "--service=cart", "--to=previous", "--reason=r")
    assert done.code == 1
    assert "the pin file of cart is not as the machines write it" in done.err


def test_a_service_pinned_in_stg_is_named_with_the_image_that_stg_does_not_run(it: Shop) -> None:
    it.write("stg", cart=2)
    pinned(it, "pin", "--environment=stg", "--service=cart", "--to=previous", "--reason=2 leaks")
    assert it.run("release").outputs["outcome"] == "opened"
    body = it.pulls()[0]["body"]
    assert f"> **`cart` is pinned in stg** at `{tag(1)}` (2 leaks). stg has run `{tag(2)}` and does not now" in body


def beneath_stg_s_pin(it: Shop) -> None:
    """Image 2 of cart is written on stg, where a pin has held image 1 all the time; pay's image 2 runs there."""
    pinned(it, "pin", "--environment=stg", "--service=cart", f"--to={tag(1)}", "--reason=load test")
    it.write("stg", cart=2, pay=2)


def test_what_stg_never_ran_is_not_released_and_lifting_its_pin_is_a_way_out(it: Shop) -> None:
    beneath_stg_s_pin(it)
    done = it.run("release")
    assert done.code == 1
    never = f"cart: {tag(2)} is written on stg but stg never ran it, which is pinned at {tag(1)} (load test)"
    assert f"1 services would run in prd what never ran in stg:\n  {never}\n" in done.err
    assert "pay" not in done.err
    assert it.pulls() == []
    pinned(it, "unpin", "--environment=stg", "--service=cart", "--reason=done")
    it.released()
    assert it.renders("prd", "cart") == it.renders("stg", "cart") == image("cart", 2)


def test_a_pin_in_prd_lets_the_release_pass_and_is_lifted_only_once_stg_ran_what_lies_beneath(it: Shop) -> None:
    beneath_stg_s_pin(it)
    pinned(it, "pin", "--environment=prd", "--service=cart", f"--to={tag(1)}", "--reason=as in stg")
    it.released()
    assert it.renders("prd", "cart") == image("cart", 1)
    assert it.renders("prd", "pay") == image("pay", 2)
    lift = ("unpin", "--environment=prd", "--service=cart", "--reason=done")
    refused = it.run(*lift)
    assert refused.code == 1
    assert f"Unpin cart in prd: beneath lies what stg never ran: cart ({tag(2)})" in refused.err
    pinned(it, "unpin", "--environment=stg", "--service=cart", "--reason=done")
    pinned(it, *lift)
    assert it.renders("prd", "cart") == image("cart", 2)


def test_an_image_that_stg_ran_before_its_tip_moved_on_is_released(it: Shop) -> None:
    it.write("stg", cart=2)
    branch = it.run("release").outputs["branch"]
    it.write("stg", cart=3)
    assert it.verify("master", branch).code == 0


# What a release says of the applications


def application(it: Shop, subjects: Sequence[str]) -> list[str]:
    """The repository of cart with a commit for each subject; their ids."""
    it.host.create_repository("example-org/cart", auto_init=True)
    return [it.host.put_file("example-org/cart", "master", "code", str(n).encode(), each) for n, each in enumerate(subjects)]


def built(it: Shop, number: int, commit: str) -> str:
    """The writer's commit of an image that was built from a commit; its tag."""
    name = f"{tag(number)[:16]}-{commit[:12]}"
    text = image_text("cart", number).replace(tag(number), name).encode()
    done = it.world.commit(
        it.world.app_token(STG_APP), "stg", it.host.head(REPOSITORY, "stg"), {"apps/cart/base/image/kustomization.yaml": text}
    )
    assert "errors" not in done, done
    return name


def test_the_application_s_commits_are_listed_as_they_are_where_the_token_may_read_them(it: Shop) -> None:
    hostile = "Mend `it` for @everyone </details> | [x](http://example.com) <img src=x>\n\n# and more"
    commits = application(it, ["First", "Second", hostile])
    built(it, 2, commits[0])
    it.released()
    built(it, 3, commits[2])
    it.run("release", APPLICATIONS_TOKEN=it.alice)
    body = it.pulls()[0]["body"]
    host = "https://github.com/example-org/cart"
    assert f"| [2 commits]({host}/compare/{commits[0][:12]}...{commits[2][:12]}) |" in body
    quoted = "``Mend `it` for @everyone </details> | [x](http://example.com) <img src=x>``"
    lines = [
        f"- [`{commits[1][:7]}`]({host}/commit/{commits[1]}) `Second`",
        f"- [`{commits[2][:7]}`]({host}/commit/{commits[2]}) {quoted}",
    ]
    assert "<details><summary>cart: 2 commits</summary>\n\n" + "\n".join(lines) + "\n\n</details>" in body
    assert "and more" not in body


def test_at_most_twenty_commits_are_listed_and_the_rest_is_counted(it: Shop) -> None:
    commits = application(it, [f"Change {number}" for number in range(24)])
    built(it, 2, commits[0])
    it.released()
    built(it, 3, commits[-1])
    it.run("release", APPLICATIONS_TOKEN=it.alice)
    body = it.pulls()[0]["body"]
    assert re.findall(r"`Change (\d+)`", body) == [str(number) for number in range(1, 21)]
    assert "\n- [and 3 more](https://github.com/example-org/cart/compare/" in body
    assert "[23 commits](" in body


def test_an_application_that_the_token_may_not_read_gets_its_link_alone(it: Shop) -> None:
    commits = application(it, ["First", "Secret"])
    built(it, 2, commits[0])
    it.released()
    built(it, 3, commits[1])
    assert it.run("release").outputs["outcome"] == "opened"
    body = it.pulls()[0]["body"]
    assert "[compare](https://github.com/example-org/cart/compare/" in body
    assert "Secret" not in body


# What a release leaves behind


def merged(it: Shop) -> str:
    """Release and merge; the merge commit."""
    return it.merge(int(it.run("release").outputs["pull-request"]))


def releases(it: Shop) -> list[str]:
    return [each["tag_name"] for each in it.world.repo("GET", "/releases", it.alice).body]


def git(it: Shop, *arguments: str) -> str:
    done = it.world.git(*arguments, cwd=it.host.path(REPOSITORY))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_merged_release_gets_an_annotated_tag_and_a_note_once(it: Shop) -> None:
    it.write("stg", cart=2)
    commit = merged(it)
    done = it.run("released", f"--commit={commit}")
    assert done.outputs["outcome"] == "released", done
    name = done.outputs["tag"]
    at = f"{datetime.fromtimestamp(int(git(it, 'log', '-1', '--format=%ct', commit)), UTC):%Y%m%dT%H%M%SZ}"
    assert name == f"release-{at}"
    assert git(it, "cat-file", "-t", name) == "tag"
    assert git(it, "rev-parse", f"{name}^{{commit}}") == commit
    note = it.world.repo("GET", f"/releases/tags/{name}", it.alice).body
    assert note["name"] == "Release to prd: cart"
    number = it.pulls("closed")[0]["number"]
    assert f"[#{number}]({it.host.url}/{REPOSITORY}/pull/{number}), approved by `bob`, merged by `alice`." in note["body"]
    assert f"| `cart` | `{tag(1)}` | `{tag(2)}` | [compare](https://github.com/example-org/cart/compare/" in note["body"]
    assert f"- `cart`: `{tag(2)}@{digest(2)}`" in note["body"]
    assert "pay" not in note["body"]
    before = git(it, "rev-parse", name)
    again = it.run("released", f"--commit={commit}")
    assert (again.outputs["outcome"], releases(it), git(it, "rev-parse", name)) == ("unchanged", [name], before)


def test_a_note_that_a_broken_run_left_out_is_written_by_the_next(it: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    it.write("stg", cart=2)
    commit = merged(it)
    with monkeypatch.context() as broken:
        broken.setattr(GitHub, "publish", None)
        with pytest.raises(TypeError):
            it.run("released", f"--commit={commit}")
    tags = git(it, "tag").split()
    assert (len(tags), releases(it)) == (1, [])
    assert it.run("released", f"--commit={commit}").outputs["outcome"] == "released"
    assert (git(it, "tag").split(), releases(it)) == (tags, tags)


def test_only_the_merge_of_a_release_leaves_something_behind(it: Shop) -> None:
    it.write("stg", cart=2)
    release = it.run("release")
    # A pin whose branch is called as a release's is none.
    pin = it.run("pin", "--environment=prd", "--service=pay", f"--to={tag(1)}", "--reason=r")
    it.host.create_branch(REPOSITORY, "release/pin", source=pin.outputs["branch"])
    asked = {"title": "Release", "head": "release/pin", "base": "master"}
    a_pin_s = it.merge(it.world.repo("POST", "/pulls", it.alice, asked).body["number"])
    a_release_s = it.merge(int(release.outputs["pull-request"]))
    for commit in (a_pin_s, git(it, "rev-parse", "master~2")):
        done = it.run("released", f"--commit={commit}")
        assert (done.code, done.outputs["outcome"]) == (0, "skipped"), done
        assert "is no merge of a release stg → prd" in done.out
    elsewhere = it.run("released", f"--commit={it.host.head(REPOSITORY, 'stg')}")
    assert (elsewhere.code, "the whole id of one that was the tip of master is allowed" in elsewhere.err) == (1, True)
    assert git(it, "tag") == ""
    assert it.run("released", f"--commit={a_release_s}").outputs["outcome"] == "released"


def test_a_release_that_resolved_a_removal_is_one_as_well(it: Shop) -> None:
    it.write("stg", cart=2)
    it.released()
    pinned(it, "pin", "--environment=prd", "--service=cart", "--to=previous", "--reason=errors")
    it.remove("dev", "cart")
    it.promoted()
    done = it.run("released", f"--commit={merged(it)}")
    assert done.outputs["outcome"] == "released", done
    note = it.world.repo("GET", f"/releases/tags/{done.outputs['tag']}", it.alice).body["body"]
    assert f"| `cart` | `{tag(1)}` | none |  |  | removed |" in note


def test_an_approval_that_was_taken_back_is_not_told(it: Shop) -> None:
    it.write("stg", cart=2)
    number = it.run("release").outputs["pull-request"]
    verdicts = (("carol", "APPROVE", "COMMENT"), ("dave", "COMMENT"), ("erin", "APPROVE", "REQUEST_CHANGES"))
    for who, *events in verdicts:
        token = it.host.add_user(who)
        for event in events:
            it.world.repo("POST", f"/pulls/{number}/reviews", token, {"event": event})
    commit = it.merge(int(number))
    note = it.run("released", f"--commit={commit}").summary
    assert "approved by `carol`, `bob`, merged" in note


def test_a_tag_on_another_commit_is_not_moved(it: Shop) -> None:
    it.write("stg", cart=2)
    commit = merged(it)
    at = f"{datetime.fromtimestamp(int(git(it, 'log', '-1', '--format=%ct', commit)), UTC):%Y%m%dT%H%M%SZ}"
    git(it, "tag", f"release-{at}", "stg")
    done = it.run("released", f"--commit={commit}")
    assert done.code == 1
    assert f"tag release-{at} lies on {it.host.head(REPOSITORY, 'stg')}: {commit} is allowed" in done.err
    assert releases(it) == []


def test_a_dry_run_leaves_nothing_behind(it: Shop) -> None:
    it.write("stg", cart=2)
    done = it.run("released", "--dry-run", f"--commit={merged(it)}")
    assert done.code == 0, done
    assert "dry run: would tag" in done.out
    assert "dry run: would make the release" in done.out
    assert (git(it, "tag"), releases(it)) == ("", [])
