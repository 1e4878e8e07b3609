"""components/catalogue.py: what AWS, DNS, GitHub or Kubernetes would refuse stops before any resource."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.catalogue import HIGHEST_PRIORITY, LOWEST_SERVICE_PRIORITY, Declaration
from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.program import ProgramError, evaluate


def declared(*calls: tuple[str, dict[str, Any]]) -> Callable[[Platform], None]:
    """A catalogue of `calls`: name and arguments."""

    def services(platform: Platform) -> None:
        for name, arguments in calls:
            given: dict[str, Any] = {"repository": "shop", "port": 8080, **arguments}
            Service(name, ServiceArgs(platform=platform, **given))

    return services


WRONG: list[tuple[str, Callable[[Platform], None], str]] = [
    ("capitals in a name", declared(("Shop", {})), r"service name 'Shop': lower-case letters.* Rename"),
    ("an underscore in a name", declared(("my_shop", {})), r"service name 'my_shop'"),
    ("a name that ends in a hyphen", declared(("shop-", {})), r"service name 'shop-'"),
    ("a digit first", declared(("1shop", {})), r"service name '1shop'"),
    ("an empty name", declared(("", {})), r"service name ''"),
    ("a name too long", declared(("s" * 41, {})), r"it has 41 characters, at most 40 are allowed"),
    ("a platform namespace", declared(("argocd", {})), r"'argocd' is a namespace of the platform"),
    ("a kube- namespace", declared(("kube-shop", {})), r"'kube-shop' is a namespace of the platform"),
    ("a name of Argo CD's", declared(("argocd-ui", {})), r"'argocd-ui' names target groups of Argo CD's UI: .* Rename"),
    ("the same name twice", declared(("shop", {}), ("shop", {"host": "b"})), r"'shop' is declared twice"),
    (
        "the same host twice",
        declared(("shop", {}), ("cart", {"host": "shop"})),
        r"'cart' has host 'shop', which service 'shop' has",
    ),
    ("Argo CD's host", declared(("shop", {"host": "argocd-blue"})), r"which Argo CD's webhook has"),
    ("a host of two labels", declared(("shop", {"host": "www.shop"})), r"has host 'www.shop': .* one DNS label"),
    ("a host too long", declared(("shop", {"host": "h" * 64})), r"it has 64 characters, at most 63"),
    ("a host with an underscore", declared(("shop", {"host": "my_shop"})), r"has host 'my_shop'"),
    ("a host for a worker", declared(("shop", {"port": None, "host": "shop"})), r"'shop' has host 'shop' but no port"),
    ("a smoke test of a worker", declared(("shop", {"port": None, "smoke_test": True})), r"'shop' has a smoke test but no port"),
    ("a port out of range", declared(("shop", {"port": 70000})), r"port 70000: 1024 to 65535"),
    ("a privileged port", declared(("shop", {"port": 80})), r"port 80: 1024 to 65535"),
    ("a repository with a slash", declared(("shop", {"repository": "org/shop"})), r"repository 'org/shop'"),
    ("a health path without a slash", declared(("shop", {"health_path": "healthz"})), r"health path 'healthz'"),
    ("a priority out of range", declared(("shop", {"priority": 7})), r"priority 7: 1000 to 50000"),
    (
        "the same priority twice",
        declared(("shop", {"priority": 2000}), ("cart", {"priority": 2000})),
        r"'cart' has listener priority 2000, which 'shop' has: .* Set priority=1000",
    ),
    (
        "more services than a load balancer holds",
        declared(*((f"shop-{n}", {"priority": 2000 + n}) for n in range(100))),
        r"100 public services in 1 colours need 101 target groups: one load balancer holds 100, which is 99 services here",
    ),
]


@pytest.mark.parametrize(("catalogue", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_service_that_would_be_refused_stops_before_any_resource(catalogue: Callable[[Platform], None], message: str) -> None:
    with pytest.raises(ProgramError) as caught:
        evaluate("dev", catalogue=catalogue)
    assert caught.value.registered == ()
    assert re.search(message, str(caught.value)), str(caught.value)


def test_two_colours_halve_what_a_load_balancer_holds() -> None:
    clusters = {
        "blue": {"version": "1.34", "weight": 50, "endpoint": {"private": True}},
        "green": {"version": "1.35", "weight": 50, "endpoint": {"private": True}},
    }
    fifty = declared(*((f"shop-{n}", {"priority": 2000 + n}) for n in range(50)))
    with pytest.raises(ProgramError, match="50 public services in 2 colours need 102 target groups"):
        evaluate("dev", catalogue=fifty, config={"slipway:clusters": clusters})


def test_workers_and_internal_services_take_no_place_on_the_load_balancer() -> None:
    workers = declared(*((f"work-{n}", {"port": None}) for n in range(60)), *((f"in-{n}", {"public": False}) for n in range(60)))
    program = evaluate("prd", catalogue=workers)
    assert len(program.of("slipway:service:Service")) == 120
    assert program.of("slipway:edge:Route") == program.of("slipway:edge:Route")[:1]


@given(st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True))
def test_a_priority_follows_from_the_name_alone_and_lies_in_the_range_of_services(name: str) -> None:
    one = Declaration(name=name, repository="one", port=8080, label=name, health_path="/")
    two = Declaration(name=name, repository="two", port=9090, label="other", health_path="/x")
    assert one.listener_priority == two.listener_priority
    assert LOWEST_SERVICE_PRIORITY <= one.listener_priority <= HIGHEST_PRIORITY
