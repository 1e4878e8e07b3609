"""What docs/decisions/0001-branches-per-environment.md says of leaving branches, and of platforms with fewer of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scaffold_repository.kit import BRANCHES, Shop, image, shop, tag


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Shop]:
    """A fresh repository."""
    with shop(tmp_path) as made:
        yield made


def brought(it: Shop, source: str, target: str) -> None:
    """All of a branch into the next, by a pull request that the rules let pass."""
    asked = {"head": source, "base": target, "title": f"{source} into {target}"}
    number = it.world.repo("POST", "/pulls", it.alice, asked).body["number"]
    assert it.verify(target, source).code == 0
    it.merge(number)


def test_pinned_everywhere_and_merged_one_branch_holds_what_each_environment_runs(it: Shop) -> None:
    it.write("dev", cart=5, pay=6)
    it.write("stg", cart=3, pay=4)
    run = {
        "dev": {"cart": 5, "pay": 6},
        "stg": {"cart": 3, "pay": 4},
        "prd": {"cart": 1, "pay": 1},
    }
    for environment, services in run.items():
        for service, number in services.items():
            done = it.run("pin", f"--environment={environment}", f"--service={service}", f"--to={tag(number)}", "--reason=Leave")
            assert done.outputs["outcome"] == "opened", done
            it.merge(int(done.outputs["pull-request"]))
    brought(it, "dev", "stg")
    brought(it, "stg", "master")
    for environment, services in run.items():
        for service, number in services.items():
            on_its_own, on_one = (it.renders(environment, service, branch) for branch in (BRANCHES[environment], "master"))
            assert (on_its_own, on_one) == (image(service, number), image(service, number))


def test_where_no_environment_takes_releases_there_is_nothing_to_do(it: Shop) -> None:
    place = it.clone / ".github" / "slipway" / "platform.json"
    told = json.loads(place.read_text(encoding="utf-8"))
    del told["environments"]["stg"]
    told["tracks"]["release"] |= {"branch": "master", "environments": ["prd"]}
    place.write_text(json.dumps(told), encoding="utf-8")
    for command in (["release"], ["released", f"--commit={it.host.head('example-org/gitops', 'master')}"]):
        done = it.run_alone(*command)
        assert (done.code, done.outputs["outcome"]) == (0, "skipped"), done
        assert done.out.startswith("nothing to do: no release leads from one environment of platform.json to another")
    assert it.run_alone("promote").out.startswith("skipped promotion dev → prd")
    told["environments"].pop("dev")
    told["tracks"].pop("develop")
    place.write_text(json.dumps(told), encoding="utf-8")
    assert it.run_alone("promote").out.startswith("nothing to do: no promotion leads")
