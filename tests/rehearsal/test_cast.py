"""rehearsal/cast.py: which services a play follows, and the application repositories that fit them."""

from pathlib import Path

import pytest

from rehearsal.cast import Part, appended, application_files, choose, read_cast
from rehearsal.program import ProgramError, evaluate, read_services
from tests.test_another_company import COMPANY

WEB = Part(name="shop", repository="one", port=9000, public=True, label="shop")
INSIDE = Part(name="prices", repository="one", port=9001)
WORKER, OTHER = Part(name="mill", repository="one"), Part(name="till", repository="two")


def test_one_of_each_kind_is_chosen_apart_where_that_is_possible() -> None:
    cast = choose([INSIDE, WEB, WORKER, OTHER])
    assert (cast.service, cast.worker, cast.added) == (WEB, OTHER, [])
    assert choose([WEB, WORKER]).worker == WORKER
    assert cast.repositories == {"one": [INSIDE, WEB, WORKER], "two": [OTHER]}


def test_a_kind_that_is_missing_is_added_under_a_free_name_and_said() -> None:
    cast = choose([INSIDE, WORKER, Part(name="storefront", repository="x")])
    assert [each.name for each in cast.added] == ["storefront-example"]
    assert cast.service.public
    assert cast.notes == ["the catalogue has no public service: the example storefront-example is added for the play"]
    assert choose([]).notes[1].startswith("the catalogue has no worker: the example invoices is added")


def test_another_companys_catalogue_is_read_with_its_build_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_PLATFORM", str(COMPANY))
    cast = read_cast("live")
    assert cast.service.name == "basket"
    assert (cast.service.dockerfile, cast.service.context, cast.service.label) == ("docker/Dockerfile", "services/basket", "www")
    assert cast.worker.name == "ledger"
    assert list(cast.repositories) == ["Shop", "ledger-worker"]


def test_a_catalogue_that_is_refused_is_refused_here(tmp_path: Path) -> None:
    twice = "from components.service import Service, ServiceArgs\n\n\ndef services(platform):\n"
    twice += '    Service("a", ServiceArgs(platform=platform, repository="a", port=8080, host="x"))\n'
    twice += '    Service("b", ServiceArgs(platform=platform, repository="b", port=8080, host="x"))\n'
    (tmp_path / "services.py").write_text(twice, encoding="utf-8")
    with pytest.raises(ProgramError, match="service 'b' has host 'x', which service 'a' has"):
        read_cast("dev", folder=tmp_path)


def test_an_application_fits_port_health_path_dockerfile_and_context() -> None:
    part = Part(name="a", repository="r", port=9000, health_path="/up/now?x=1", dockerfile="docker/Prod", context="svc/a")
    files = application_files([part, WORKER])
    assert b"EXPOSE 9000" in files["svc/a/docker/Prod"]
    assert b"9000" in files["svc/a/serve.sh"]
    assert files["svc/a/www/up/now"] == b"ok\n"
    assert {"Dockerfile", "settle.sh"} <= files.keys()
    assert "svc/a/www/health/index.html" in application_files(
        [Part(name="a", repository="r", port=1, health_path="/health/", context="svc/a")]
    )


def test_the_lines_appended_to_a_catalogue_declare_the_examples_beside_it(tmp_path: Path) -> None:
    cast = choose([])
    text = "def services(platform):\n    return None\n"
    (tmp_path / "services.py").write_text(text + appended(each.call for each in cast.added), encoding="utf-8")
    by_text = evaluate("dev", catalogue=read_services(tmp_path))
    by_call = evaluate("dev", catalogue=cast.catalogue(lambda _: None))
    assert by_text.urns().keys() == by_call.urns().keys()
    assert {each.name for each in by_text.of("service:Service")} == {"storefront", "invoices"}
