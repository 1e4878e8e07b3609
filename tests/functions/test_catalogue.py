"""The catalogue's entries: what may become a manifest, and when they are read."""

import json
import re
from typing import Any

import pytest
from botocore.stub import Stubber

from functions.gitops_writer.catalogue import Catalogue, EntryError, parse
from tests.functions.kit import entry, own


def test_an_entry_as_the_components_make_it_is_read_whole() -> None:
    service = parse(json.dumps(entry("shop")))
    assert (service.name, service.port, service.health_path) == ("shop", 8080, "/healthz")
    assert list(service.images) == ["dev", "stg", "prd"]
    worker = parse(json.dumps(entry("shop", port=None, health_path=None, hosts={})))
    assert (worker.port, worker.health_path, worker.hosts) == (None, "", {})
    tested = parse(json.dumps(entry("shop", released=["prd"], smoke_test=True)))
    assert (tested.released, tested.smoke_test) == ({"prd"}, True)


def test_an_entry_from_before_releases_and_smoke_tests_is_read_as_without_them() -> None:
    service = parse(json.dumps(entry("shop")))
    assert (service.released, service.smoke_test) == (frozenset(), False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"service": "Shop"}, "service is 'Shop'"),
        ({"namespace": "a: b"}, "namespace is"),
        ({"port": "8080"}, "port is '8080'"),
        ({"port": True}, "port is True"),
        ({"health_path": '/a"b'}, "health_path is"),
        ({"health_path": None}, "health_path is None"),
        ({"images": {}}, "images is {}"),
        ({"images": {"dev": "registry/shop:latest\nx: y"}}, "images.dev is"),
        ({"images": {"../../x": "registry.example/shop"}}, "images.../../x is"),
        ({"hosts": {"dev": "localhost"}}, "hosts.dev is"),
        ({"port": None, "health_path": None}, "hosts are given without a port"),
        ({"released": ["live"]}, "released is ['live']"),
        ({"released": "prd"}, "released is 'prd'"),
        ({"smoke_test": "yes"}, "smoke_test is 'yes'"),
        ({"port": None, "health_path": None, "hosts": {}, "smoke_test": True}, "smoke_test is true without a port"),
    ],
)
def test_a_value_that_manifests_cannot_carry_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(EntryError, match=re.escape(said)):
        parse(json.dumps(entry("shop", **change)))


def stubbed(*pages: list[tuple[str, str]]) -> tuple[Any, Stubber]:
    client = own("ssm")
    stub = Stubber(client)
    for number, page in enumerate(pages):
        parameters = [{"Name": f"/slipway/develop/services/{name}", "Value": value} for name, value in page]
        following = {"NextToken": str(number + 1)} if number + 1 < len(pages) else {}
        given = {"NextToken": str(number)} if number else {}
        asked = {"Path": "/slipway/develop/services/", "Recursive": False} | given
        stub.add_response("get_parameters_by_path", {"Parameters": parameters, **following}, asked)
    stub.activate()
    return client, stub


def test_all_pages_are_read_and_a_broken_entry_spoils_no_other() -> None:
    client, stub = stubbed([("shop", json.dumps(entry("shop"))), ("broken", "{")], [("other", json.dumps(entry("shop")))])
    catalogue = Catalogue(client=client, path="/slipway/develop/services/")
    catalogue.refresh()
    stub.assert_no_pending_responses()
    assert catalogue.names == {"shop", "broken", "other"}
    assert catalogue.service("shop").name == "shop"
    with pytest.raises(EntryError, match="services/broken"):
        catalogue.service("broken")
    with pytest.raises(EntryError, match="names 'shop'"):
        catalogue.service("other")


def test_it_is_read_again_for_a_service_it_does_not_know_and_when_it_is_old() -> None:
    now = [0.0]
    one, two = ("shop", json.dumps(entry("shop"))), ("new", json.dumps(entry("new")))
    client, stub = stubbed([one])
    catalogue = Catalogue(client=client, path="/slipway/develop/services/", clock=lambda: now[0])
    assert catalogue.covering(["shop"]) == {"shop"}
    assert catalogue.covering(["shop"]) == {"shop"}
    stub.assert_no_pending_responses()
    catalogue.client, stub = stubbed([one, two])
    assert catalogue.covering(["new"]) == {"shop", "new"}
    stub.assert_no_pending_responses()
    now[0] = 301.0
    catalogue.client, stub = stubbed([one])
    assert catalogue.covering([]) == {"shop"}
    stub.assert_no_pending_responses()
