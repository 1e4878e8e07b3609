"""components/naming.py: every name fits what AWS allows, and stays apart from every other."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import naming

SERVICE = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
COLOUR = st.sampled_from(["blue", "green", "turquoise"])
TRACK = st.sampled_from(["develop", "release"])

LIMITED: list[tuple[Callable[[str], str], int]] = [
    (lambda service: naming.target_group(service, "turquoise", 65535), naming.TARGET_GROUP_NAME_LENGTH),
    (lambda service: naming.role("dev", service, "release", "build"), naming.ROLE_NAME_LENGTH),
    (lambda service: naming.image_rule("release", service), naming.RULE_NAME_LENGTH),
    (lambda service: naming.pipeline("release", service), naming.PIPELINE_NAME_LENGTH),
]


@pytest.mark.parametrize(("name", "limit"), LIMITED)
@given(one=SERVICE, two=SERVICE)
def test_names_fit_and_two_services_never_share_one(name: Callable[[str], str], limit: int, one: str, two: str) -> None:
    assert len(name(one)) <= limit
    assert not name(one).endswith("-")
    if one != two:
        assert name(one) != name(two)


def test_a_name_that_fits_is_left_as_it_is() -> None:
    assert naming.target_group("storefront", "blue", 8080) == "storefront-blue-8080"


def test_a_name_that_does_not_fit_keeps_its_beginning_and_ends_in_a_hash() -> None:
    shortened = naming.target_group("a-service-with-a-very-long-name", "blue", 8080)
    assert len(shortened) == naming.TARGET_GROUP_NAME_LENGTH
    assert shortened.startswith("a-service-with-a-very-lon")


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "-a", "a-", "a.b", "ä", "a" * 64, "a\n"])
def test_what_is_no_dns_label_is_told_why(name: str) -> None:
    assert naming.label_fault(name)


@given(SERVICE)
def test_a_dns_label_has_no_fault(name: str) -> None:
    assert naming.label_fault(name) is None
