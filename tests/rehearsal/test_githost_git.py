"""Real git clients against the host: tokens, rules, events."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from rehearsal.githost import GitHost, PushEvent
from tests.rehearsal.githost_kit import DEV_APP, IMAGE, PROMOTER_APP, REPOSITORY, STG_APP, World, protect, ruleset, world


@pytest.fixture
def it(tmp_path: Path) -> Iterator[World]:
    """A fresh host."""
    with world(tmp_path) as made:
        yield made


def test_a_person_clones_commits_and_pushes_with_a_token(it: World) -> None:
    copy = it.clone(it.host.add_user("alice"), "copy")
    it.change(copy, "README.md", "hello\n")
    done = it.git("push", "origin", "dev", cwd=copy)
    assert done.returncode == 0, done.stderr
    assert it.host.read(REPOSITORY, "dev", "README.md") == b"hello\n"


def test_a_pack_larger_than_gits_buffer_arrives_whole(it: World) -> None:
    copy = it.clone(it.host.add_user("alice"), "copy")
    # Over http.postBuffer (1 MiB) git sends the pack in chunks, and numbers do not compress to less than that.
    text = " ".join(str(number * number * 7919) for number in range(250_000))
    it.change(copy, "large.txt", text)
    done = it.git("-c", "http.postBuffer=65536", "push", "origin", "dev", cwd=copy)
    assert done.returncode == 0, done.stderr
    assert it.host.read(REPOSITORY, "dev", "large.txt") == text.encode()


@pytest.mark.parametrize("token", ["", "wrong"])
def test_no_one_clones_without_a_good_token(it: World, token: str) -> None:
    url = it.clone_url(token) if token else f"{it.host.url}/{REPOSITORY}.git"
    done = it.git("clone", url, "copy")
    assert done.returncode != 0
    assert "Authentication failed" in done.stderr or "could not read Username" in done.stderr


def test_a_token_that_reads_cannot_push(it: World) -> None:
    copy = it.clone(it.host.add_user("reader", role="read"), "copy")
    it.change(copy, "README.md", "hello\n")
    done = it.git("push", "origin", "dev", cwd=copy)
    assert done.returncode != 0
    assert f"Permission to {REPOSITORY}.git denied to reader" in done.stderr or "403" in done.stderr


def test_an_app_without_contents_permission_cannot_even_clone(it: World) -> None:
    token = it.app_token(PROMOTER_APP, {"permissions": {"pull_requests": "write"}})
    done = it.git("clone", it.clone_url(token), "copy")
    assert done.returncode != 0
    assert "403" in done.stderr


def test_an_app_does_not_find_a_repository_outside_its_installation(it: World) -> None:
    it.host.create_repository("example-org/secret", auto_init=True)
    url = it.clone_url(it.app_token(DEV_APP)).replace("gitops.git", "secret.git")
    done = it.git("clone", url, "copy")
    assert done.returncode != 0
    assert "not found" in done.stderr


def test_dev_app_pushes_past_the_rule_of_dev_and_not_of_stg(it: World) -> None:
    protect(it.host)
    copy = it.clone(it.app_token(DEV_APP), "copy")
    it.change(copy, IMAGE, "newTag: two\n")
    to_dev = it.git("push", "origin", "dev", cwd=copy)
    before = it.host.head(REPOSITORY, "stg")
    to_stg = it.git("push", "origin", "dev:stg", cwd=copy)
    assert to_dev.returncode == 0, to_dev.stderr
    assert to_stg.returncode != 0
    assert "GH013: Repository rule violations found for refs/heads/stg." in to_stg.stderr
    assert "Changes must be made through a pull request." in to_stg.stderr
    assert it.host.head(REPOSITORY, "stg") == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--force", "origin", "HEAD~1:refs/heads/dev"], "Cannot force-push to this branch"),
        (["origin", ":refs/heads/dev"], "Cannot delete this branch"),
    ],
)
def test_a_kept_branch_is_neither_rewound_nor_deleted_even_by_its_writer(it: World, arguments: list[str], said: str) -> None:
    protect(it.host)
    copy = it.clone(it.app_token(DEV_APP), "copy")
    before = it.host.head(REPOSITORY, "dev")
    done = it.git("push", *arguments, cwd=copy)
    assert done.returncode != 0
    assert said in done.stderr
    assert it.host.head(REPOSITORY, "dev") == before


def test_without_rules_a_branch_can_be_rewound_by_force(it: World) -> None:
    copy = it.clone(it.host.add_user("alice"), "copy")
    events: list[PushEvent] = []
    it.host.on_push(events.append)
    done = it.git("push", "--force", "origin", "HEAD~1:refs/heads/dev", cwd=copy)
    assert done.returncode == 0, done.stderr
    assert [event.forced for event in events] == [True]


def test_a_ruleset_covers_a_folder_of_branches_but_not_those_below(it: World) -> None:
    it.host.add_ruleset(REPOSITORY, ruleset("releases", "release/*", {"type": "creation"}))
    copy = it.clone(it.host.add_user("alice"), "copy")
    assert "creations being restricted" in it.git("push", "origin", "HEAD:refs/heads/release/1", cwd=copy).stderr
    assert it.git("push", "origin", "HEAD:refs/heads/release/1/fix", cwd=copy).returncode == 0
    assert it.git("push", "origin", "HEAD:refs/heads/other", cwd=copy).returncode == 0


def test_two_stars_cover_branches_at_any_depth_only_before_a_slash(it: World) -> None:
    it.host.add_ruleset(REPOSITORY, ruleset("any depth", "hotfix/**/*", {"type": "creation"}))
    it.host.add_ruleset(REPOSITORY, ruleset("one level", "topic/**", {"type": "creation"}))
    copy = it.clone(it.host.add_user("alice"), "copy")
    pushed = {
        name: it.git("push", "origin", f"HEAD:refs/heads/{name}", cwd=copy).returncode == 0
        for name in (
            "hotfix/a",
            "hotfix/b/c",
            "topic/a",
            "topic/b/c",
        )
    }
    assert pushed == {"hotfix/a": False, "hotfix/b/c": False, "topic/a": False, "topic/b/c": True}


def test_a_tag_under_a_rule_is_made_once_and_neither_moved_nor_deleted(it: World) -> None:
    rules = [{"type": "update"}, {"type": "deletion"}]
    names = {"ref_name": {"include": ["refs/tags/release-*"], "exclude": []}}
    it.host.add_ruleset(REPOSITORY, ruleset("tags", "", *rules) | {"target": "tag", "conditions": names})
    copy = it.clone(it.host.add_user("alice"), "copy")

    def push(*what: str) -> str:
        done = it.git("push", "-q", "--force", "origin", *what, cwd=copy)
        return done.stderr if done.returncode else ""

    def tag(name: str) -> None:
        assert it.git("tag", "--annotate", "--force", "--message=Release", name, cwd=copy).returncode == 0

    for name in ("release-1", "note-1"):
        tag(name)
        assert push(name) == ""
    it.change(copy, "notes.txt", "new")
    for name in ("release-1", "note-1"):
        tag(name)  # one commit further: no force is needed for it
    refused = push("release-1")
    assert "GH013: Repository rule violations found for refs/tags/release-1" in refused
    assert "Cannot update this protected ref." in refused
    assert "Cannot delete this tag" in push(":release-1")
    assert (push("note-1"), push(":note-1")) == ("", "")
    # A branch of such a name is none of its business.
    assert (push("HEAD:refs/heads/release-1"), push(":refs/heads/release-1")) == ("", "")


def test_a_tag_s_force_push_is_refused_where_only_that_is(it: World) -> None:
    names = {"ref_name": {"include": ["~ALL"], "exclude": []}}
    kept = ruleset("tags", "", {"type": "non_fast_forward"}) | {"target": "tag", "conditions": names}
    it.host.add_ruleset(REPOSITORY, kept)
    copy = it.clone(it.host.add_user("alice"), "copy")
    for commit, refused in (("HEAD~1", False), ("HEAD", False), ("HEAD~1", True)):
        assert it.git("tag", "--annotate", "--force", "--message=Release", "v1", commit, cwd=copy).returncode == 0
        done = it.git("push", "--force", "origin", "v1", cwd=copy)
        assert ("Cannot force-push to this tag" in done.stderr, done.returncode) == (refused, int(refused)), done.stderr
    assert "forced update" in it.git("push", "--force", "origin", "HEAD~1:refs/heads/dev", cwd=copy).stderr


def test_an_app_without_the_workflows_permission_brings_in_no_workflow(it: World) -> None:
    copy = it.clone(it.app_token(DEV_APP), "copy")
    it.change(copy, ".github/workflows/verify.yml", "on: push\n")
    done = it.git("push", "origin", "dev", cwd=copy)
    assert done.returncode != 0
    assert "without `workflows` permission" in done.stderr


def test_a_workflow_that_another_branch_holds_already_may_be_carried_on_by_an_app(it: World) -> None:
    it.host.put_file(REPOSITORY, "master", ".github/workflows/verify.yml", b"on: push\n", "Add checks")
    copy = it.clone(it.app_token(STG_APP), "copy", "stg")
    assert it.git("merge", "-q", "origin/master", cwd=copy).returncode == 0
    done = it.git("push", "origin", "stg", cwd=copy)
    assert done.returncode == 0, done.stderr


def test_every_way_of_moving_a_branch_is_heard(it: World) -> None:
    events: list[PushEvent] = []
    it.host.on_push(events.append)
    alice = it.host.add_user("alice")
    copy = it.clone(alice, "copy")
    it.change(copy, "by-git.txt", "1\n")
    assert it.git("push", "origin", "dev", cwd=copy).returncode == 0
    it.commit(it.app_token(DEV_APP), "dev", it.host.head(REPOSITORY, "dev"), {"by-api.txt": b"2\n"})
    it.host.put_file(REPOSITORY, "dev", "by-console.txt", b"3\n", "Console", author="bob")
    head = it.host.head(REPOSITORY, "dev")
    it.repo("POST", "/git/refs", alice, {"ref": "refs/heads/topic", "sha": head})
    it.repo("DELETE", "/git/refs/heads/topic", alice)
    told = [(event.pusher, event.branch, event.changed_paths) for event in events]
    assert told[:3] == [
        ("alice", "dev", ("by-git.txt",)),
        ("writer-dev[bot]", "dev", ("by-api.txt",)),
        ("bob", "dev", ("by-console.txt",)),
    ]
    assert [(event.before, event.after) for event in events[3:]] == [(None, head), (head, None)]
    assert all(one.after == other.before for one, other in pairwise(events[:3]))


def test_a_listener_that_fails_is_heard_of_when_the_host_is_left(tmp_path: Path) -> None:
    def fail(event: PushEvent) -> None:
        raise RuntimeError(event.branch)

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="master")), GitHost(tmp_path) as host:
        host.on_push(fail)
        host.create_repository("example-org/app", auto_init=True)


def test_of_many_pushes_at_once_to_one_branch_one_wins(it: World) -> None:
    token = it.host.add_user("alice")
    copies = [it.clone(token, f"copy-{number}") for number in range(4)]
    for number, copy in enumerate(copies):
        it.change(copy, f"{number}.txt", "x\n")

    def push(copy: Path) -> int:
        return it.git("push", "origin", "dev", cwd=copy).returncode

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(push, copies))
    assert sorted(code == 0 for code in codes) == [False, False, False, True]


def test_the_default_branch_is_what_a_plain_clone_gets(it: World) -> None:
    it.host.set_default_branch(REPOSITORY, "stg")
    it.git("clone", "-q", it.clone_url(it.host.add_user("alice")), "copy")
    assert it.git("branch", "--show-current", cwd=it.folder / "copy").stdout.strip() == "stg"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rules": [{"type": "merge_queue"}]}, "rule type is 'merge_queue'"),
        ({"rules": [{"type": "deletion", "parameters": {"x": 1}}]}, "parameter of deletion is 'x'"),
        ({"bypass_actors": [{"actor_id": 1, "actor_type": "DeployKey"}]}, "actor_type is 'DeployKey'"),
        ({"enforcement": "on"}, "enforcement is 'on'"),
        ({"target": "push"}, "target is 'push'"),
    ],
)
def test_a_rule_that_would_not_be_held_is_refused(it: World, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        it.host.add_ruleset(REPOSITORY, ruleset("wrong", "dev", {"type": "deletion"}) | wrong)
