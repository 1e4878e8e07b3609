"""components/catalogue.py: what AWS, DNS, GitHub or Kubernetes would refuse stops before any resource."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.catalogue import HIGHEST_PRIORITY, LOWEST_SERVICE_PRIORITY, CatalogueError, Declaration
from components.platform import Platform, load_services
from components.service import Service, ServiceArgs
from rehearsal.program import ProgramError, evaluate, read_services


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
    ("a host too long", declared(("shop", {"host": "h" * 64})), r"has 64 characters, and a part of a host name at most 63"),
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


WRONG_TYPES: list[tuple[str, object, str]] = [
    ("public", "no", r"public: got 'no' \(text\); write True or False, without quotes"),
    ("public", 0, r"public: got 0; write True or False"),
    ("public", None, r"public: got None; write True or False"),
    ("smoke_test", "false", r"smoke_test: got 'false' \(text\); write True or False"),
    ("protect_repository", 1, r"protect_repository: got 1; write True or False"),
    ("port", "8080", r"port: got '8080' \(text\); give the container's port as a whole number, without quotes"),
    ("port", 8080.5, r"port: got 8080\.5; give the container's port as a whole number"),
    ("port", True, r"port: got True; give the container's port as a whole number"),
    ("priority", "2000", r"priority: got '2000' \(text\); give a listener priority as a whole number"),
    ("build_timeout_minutes", 1, r"build_timeout_minutes: got 1; CodeBuild takes whole minutes from 5 to 2160"),
    ("build_timeout_minutes", 2161, r"build_timeout_minutes: got 2161; CodeBuild takes"),
    ("build_timeout_minutes", "30", r"build_timeout_minutes: got '30' \(text\); CodeBuild takes"),
    ("build_timeout_minutes", None, r"build_timeout_minutes: got None; CodeBuild takes"),
    ("context", "../..", r"context: got '\.\./\.\.' \(text\); give a path inside the repository"),
    ("context", "/src", r"context: got '/src' \(text\); give a path inside the repository"),
    ("context", "a//b", r"context: got 'a//b' \(text\); give a path inside"),
    ("context", "", r"context: got '' \(text\); give a path inside"),
    ("context", "a\nb", r"context: got 'a\\nb' \(text\); leave out"),
    ("dockerfile", "..", r"dockerfile: got '\.\.' \(text\); give a path inside"),
    ("dockerfile", "$(id)", r"dockerfile: got '\$\(id\)' \(text\); give a path inside"),
    ("dockerfile", ".", r"dockerfile: got '\.' \(text\); name a file"),
    ("dockerfile", None, r"dockerfile: got None; give text in quotes"),
    ("repository", None, r"repository: got None; give text in quotes"),
    ("repository", ["shop"], r"repository: got \['shop'\] \(list\); give text in quotes"),
    ("repository", " shop", r"repository: got ' shop' \(text\); leave out the spaces"),
    ("host", True, r"host: got True; give text in quotes"),
    ("health_path", 1, r"health_path: got 1; give text in quotes"),
    ("permissions", "s3:GetObject", r"permissions: got 's3:GetObject', which is not a list of statements"),
    ("permissions", {"Effect": "Allow"}, r"permissions: got one statement by itself\. Put it into a list"),
    ("permissions", ["s3:GetObject"], r"permissions: statement 1 is 's3:GetObject', which is not a statement"),
    ("permissions", None, r"permissions: got None, which is not a list of statements"),
    (
        "permissions",
        [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::carts/*"]}],
        r"permissions: statement 1: .*s3:\*.*",
    ),
    (
        "permissions",
        [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["*"]}],
        r"permissions: statement 1: .*Resource.*",
    ),
    (
        "permissions",
        [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::carts/*"]}],
        r"permissions: statement 1: .*Action.*",
    ),
    (
        "permissions",
        [{"Effect": "Allow", "NotAction": ["s3:GetObject"], "Resource": ["arn:aws:s3:::carts/*"]}],
        r"permissions: statement 1: NotAction is not taken.*",
    ),
]


@pytest.mark.parametrize(("argument", "value", "message"), WRONG_TYPES, ids=[f"{case[0]}={case[1]!r}" for case in WRONG_TYPES])
def test_an_argument_of_the_wrong_type_is_refused_by_name_with_its_line(argument: str, value: object, message: str) -> None:
    with pytest.raises(ProgramError) as caught:
        evaluate("dev", catalogue=declared(("shop", {argument: value})))
    assert caught.value.registered == ()
    assert re.fullmatch(rf"test_catalogue\.py, line \d+: service 'shop': {message}.*", str(caught.value)), str(caught.value)


def test_a_host_may_begin_with_a_digit() -> None:
    program = evaluate("dev", catalogue=declared(("shop", {"host": "3d"})))
    assert "3d.dev.example.com" in str(program.one("lb/listenerRule:ListenerRule", "shop").inputs)


def test_an_output_is_no_argument() -> None:
    def services(platform: Platform) -> None:
        Service("shop", ServiceArgs(platform=platform, repository=pulumi.Output.from_input("shop"), port=8080))  # pyright: ignore[reportArgumentType] — the mistake

    with pytest.raises(ProgramError, match="repository: got an Output, whose value is known only during the update; give text"):
        evaluate("dev", catalogue=services)


@pytest.mark.parametrize("name", [None, 7, b"shop"])
def test_a_name_that_is_no_text_is_refused_with_its_line(name: object) -> None:
    def services(platform: Platform) -> None:
        Service(name, ServiceArgs(platform=platform, repository="shop", port=8080))  # pyright: ignore[reportArgumentType] — the mistake

    with pytest.raises(
        ProgramError, match=r"^test_catalogue\.py, line \d+: Service name: got .*; give the service's name as text"
    ):
        evaluate("dev", catalogue=services)


@pytest.mark.parametrize("name", ["no", "on", "off", "yes", "y", "n", "null", "true", "false"])
def test_a_name_that_yaml_reads_as_something_else_is_refused(name: str) -> None:
    with pytest.raises(ProgramError, match=f"service name '{name}': YAML reads this word as"):
        evaluate("dev", catalogue=declared((name, {})))


def test_several_wrong_arguments_are_told_together() -> None:
    with pytest.raises(ProgramError) as caught:
        evaluate("dev", catalogue=declared(("shop", {"public": "no", "port": "8080"})))
    assert len(str(caught.value).splitlines()) == 2


MISTAKES: list[tuple[str, str, str]] = [
    (
        "a misspelt argument",
        'Service("shop", ServiceArgs(platform=platform, repository="shop", prot=8080))',
        "ServiceArgs has no argument prot. Did you mean port?",
    ),
    (
        "an argument of nothing known",
        'Service("shop", ServiceArgs(platform=platform, repository="shop", zzz=1))',
        "ServiceArgs has no argument zzz. Known arguments are repository,",
    ),
    (
        "an argument of the call",
        'Service("shop", ServiceArgs(platform=platform, repository="shop"), replicas=2)',
        "Service has no argument replicas.",
    ),
    (
        "a missing argument",
        'Service("shop", ServiceArgs(platform=platform))',
        "ServiceArgs also needs repository. Add it to the call.",
    ),
    ("an unknown name", "Servce()", "NameError: name 'Servce' is not defined. Correct the code there."),
    ("a division by zero", "1 / 0", "ZeroDivisionError: division by zero. Correct the code there."),
]


@pytest.mark.parametrize(("line", "message"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_mistake_in_services_py_is_told_with_file_and_line(line: str, message: str, tmp_path: Path) -> None:
    head = "from components.platform import Platform\nfrom components.service import Service, ServiceArgs\n\n\n"
    (tmp_path / "services.py").write_text(f"{head}def services(platform: Platform) -> None:\n    {line}\n", encoding="utf-8")
    with pytest.raises(ProgramError) as caught:
        evaluate("dev", catalogue=read_services(tmp_path))
    assert caught.value.registered == ()
    assert str(caught.value).startswith(f"services.py, line 6: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def services(platform:\n", "services.py, line 1: '(' was never closed"),
        ("import nothing_of_that_name\n", "services.py, line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("SERVICES = []\n", "it has no function services(platform). Write one"),
    ],
)
def test_a_services_py_that_cannot_be_read_is_told_in_a_sentence(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "services", raising=False)
    with pytest.raises(CatalogueError) as caught:
        load_services()
    monkeypatch.delitem(sys.modules, "services", raising=False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
