"""rehearsal/edge_door.py: the declared listener rules decide what passes, and the colour's secret who is heard."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import urllib3

from rehearsal.cloud import Place
from rehearsal.edge_door import EdgeDoor, Front

PLACE = Place(account="111111111111", region="eu-central-1")
HOST = "argocd-blue.dev.example.com"
SECRET = "signed with this"


def rule(priority: str, target: str, **conditions: list[str]) -> dict[str, Any]:
    fields = {"host": ("host-header", "HostHeaderConfig"), "path": ("path-pattern", "PathPatternConfig")}
    fields["method"] = ("http-request-method", "HttpRequestMethodConfig")
    forward = {"TargetGroups": [{"TargetGroupArn": f"arn:aws:x:y:z:targetgroup/{target}/1", "Weight": 100}]}
    action = {"Type": "forward", "ForwardConfig": forward}
    if not target:
        action = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404", "MessageBody": "not found"}}
    named = [{"Field": fields[key][0], fields[key][1]: {"Values": values}} for key, values in conditions.items()]
    return {"Priority": priority, "Conditions": named, "Actions": [action]}


class Clients:
    """Stands for the emulators: one load balancer with the given rules, one secret."""

    def __init__(self, *rules: Mapping[str, Any]) -> None:
        """Hold `rules`."""
        self.rules = rules

    def client(self, service: str, account: str, region: str) -> "Clients":
        """Answer as every client."""
        assert service in {"elbv2", "secretsmanager"}
        assert (account, region) == (PLACE.account, PLACE.region)
        return self

    def describe_load_balancers(self) -> dict[str, Any]:
        """One."""
        return {"LoadBalancers": [{"LoadBalancerArn": "lb"}]}

    def describe_listeners(self, **_: str) -> dict[str, Any]:
        """HTTP and HTTPS."""
        return {"Listeners": [{"ListenerArn": "http", "Port": 80}, {"ListenerArn": "https", "Port": 443}]}

    def describe_rules(self, **asked: str) -> dict[str, Any]:
        """Those given."""
        assert asked == {"ListenerArn": "https"}
        return {"Rules": self.rules}

    def get_secret_value(self, **asked: str) -> dict[str, str]:
        """The colour's."""
        assert asked == {"SecretId": "slipway/argocd/webhook-blue"}
        return {"SecretString": SECRET}


RULES = (
    rule("default", ""),
    rule("12", "argocd-blue-8080", host=[HOST], path=["/api/webhook"], method=["POST"]),
    rule("2000", "shop-blue-8080", host=["shop.dev.example.com"]),
)


def ask(folder: Path, method: str, url: str, body: bytes = b"", **headers: str) -> tuple[EdgeDoor, urllib3.BaseHTTPResponse]:
    front = Front(place=PLACE, zone="dev.example.com", secrets={"argocd-blue-": "slipway/argocd/webhook-blue"})
    door = EdgeDoor(Clients(*RULES), {"dev": front}, folder)  # pyright: ignore[reportArgumentType] — the part of it that is used
    with door:
        pool = urllib3.ProxyManager(door.url, ca_certs=str(door.bundle), retries=False)
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        answer = pool.request(method, url, body=body, headers=sent)
        pool.clear()
    return door, answer


def signed(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_a_signed_push_reaches_argo_cd_of_the_colour(tmp_path: Path) -> None:
    body = json.dumps({"after": "abc"}).encode()
    headers = {"Content_Type": "application/json", "X_GitHub_Event": "push", "X_Hub_Signature_256": signed(body)}
    door, answer = ask(tmp_path, "POST", f"https://{HOST}/api/webhook", body, **headers)
    assert answer.status == 200
    (heard,) = door.heard
    assert (heard.environment, heard.target, heard.commit) == ("dev", "argocd-blue-8080", "abc")


@pytest.mark.parametrize(("secret", "content_type"), [("another", "application/json"), (SECRET, "text/plain")])
def test_a_wrong_signature_or_content_type_is_refused(tmp_path: Path, secret: str, content_type: str) -> None:
    headers = {"Content_Type": content_type, "X_GitHub_Event": "push", "X_Hub_Signature_256": signed(b"{}", secret)}
    door, answer = ask(tmp_path, "POST", f"https://{HOST}/api/webhook", b"{}", **headers)
    assert answer.status == 400
    assert door.heard[0].commit == ""


@pytest.mark.parametrize(
    ("method", "path", "host"),
    [("GET", "/api/webhook", HOST), ("POST", "/api/v1/session", HOST), ("POST", "/api/webhook", "other.dev.example.com")],
)
def test_whatever_no_rule_names_gets_the_listener_s_404(tmp_path: Path, method: str, path: str, host: str) -> None:
    door, answer = ask(tmp_path, method, f"https://{host}{path}")
    assert (answer.status, door.heard[0].target) == (404, "")


def test_a_service_s_host_is_forwarded_to_its_target_group_where_no_pods_answer(tmp_path: Path) -> None:
    door, answer = ask(tmp_path, "GET", "https://shop.dev.example.com/")
    assert (answer.status, door.heard[0].target) == (502, "shop-blue-8080")


def test_no_other_host_is_reached(tmp_path: Path) -> None:
    with pytest.raises(urllib3.exceptions.ProxyError, match="is no host of this platform"):
        ask(tmp_path, "GET", "https://example.net/")
