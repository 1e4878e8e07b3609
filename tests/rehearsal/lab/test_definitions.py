"""Definitions of kinds, without the fields that nothing here declares and that cost an API server seconds."""

from collections.abc import Mapping
from typing import Any

from rehearsal.lab.build import lighter


def definition(kind: str, versions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A definition with a schema of `spec` by version."""
    return {
        "kind": "CustomResourceDefinition",
        "spec": {
            "names": {"kind": kind},
            "versions": [
                {"name": name, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": dict(spec)}}}}
                for name, spec in versions.items()
            ],
        },
    }


def specs(made: Mapping[str, Any]) -> dict[str, Any]:
    """Schema of `spec` by version."""
    return {each["name"]: each["schema"]["openAPIV3Schema"]["properties"]["spec"] for each in made["spec"]["versions"]}


def test_what_is_declared_here_keeps_every_field() -> None:
    spec = {"type": "object", "properties": {"source": {"type": "object"}}}
    for kind in ("Application", "AppProject"):
        assert specs(lighter(definition(kind, {"v1alpha1": spec}))) == {"v1alpha1": spec}


def test_an_application_set_takes_anything() -> None:
    made = lighter(definition("ApplicationSet", {"v1alpha1": {"type": "object", "required": ["generators"], "properties": {}}}))
    assert specs(made) == {"v1alpha1": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}


def test_a_secret_store_knows_aws_alone_and_in_one_version() -> None:
    provider = {"type": "object", "maxProperties": 1, "properties": {"aws": {"type": "object"}, "vault": {"type": "object"}}}
    spec = {"type": "object", "properties": {"provider": provider, "controller": {"type": "string"}}}
    made = specs(lighter(definition("SecretStore", {"v1": spec, "v1beta1": spec})))
    assert list(made) == ["v1"]
    assert made["v1"]["properties"]["provider"] == {
        "type": "object",
        "maxProperties": 1,
        "properties": {"aws": {"type": "object"}},
    }
    assert made["v1"]["properties"]["controller"] == {"type": "string"}


def test_an_external_secret_keeps_every_field_of_one_version() -> None:
    spec = {"type": "object", "properties": {"target": {"type": "object"}}}
    assert specs(lighter(definition("ExternalSecret", {"v1": spec, "v1beta1": spec}))) == {"v1": spec}
