"""bootstrap/: what it makes, that a dry run and a second run change nothing, and what it refuses."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto import mock_aws

from bootstrap.bootstrap import STATE_KEY_ALIAS, key_statements, read_settings, same_policy
from components import naming
from tests.bootstrap.kit import ACCOUNTS, Account, make_key
from tests.conftest import EXAMPLE


@cache
def account(stack: str) -> Account:
    return Account(ACCOUNTS[stack])


@pytest.fixture(autouse=True)
def emulated() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def dev() -> Account:
    return account("dev")


@pytest.fixture(scope="session")
def pem() -> str:
    return make_key()[0]


@pytest.fixture
def key_file(tmp_path: Path, pem: str) -> Path:
    path = tmp_path / "app.pem"
    path.write_text(pem, encoding="utf-8")
    return path


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.run() == 0
    said = capsys.readouterr().out
    assert dev.changes == []
    assert "would make bucket slipway-state-111111111111-eu-central-1" in said
    assert "would make hosted zone dev.example.com" in said
    assert "would make empty secret slipway/github-app/develop" in said
    assert re.search(r"^\d+ changes, none made", said, re.MULTILINE)


def test_a_second_run_changes_nothing(dev: Account, key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.run("--apply", "--put-key", f"develop={key_file}") == 0
    assert dev.changes
    capsys.readouterr()
    assert dev.run("--apply", "--put-key", f"develop={key_file}") == 0
    assert dev.changes == []
    assert "Nothing to do" in capsys.readouterr().out


def test_the_state_is_versioned_encrypted_closed_and_over_tls_only(dev: Account) -> None:
    dev.run("--apply")
    s3, kms = dev.client("s3"), dev.client("kms")
    bucket = {"Bucket": "slipway-state-111111111111-eu-central-1"}
    key = kms.describe_key(KeyId=STATE_KEY_ALIAS)["KeyMetadata"]
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    rule = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]}
    assert all(s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"].values())
    (statement,) = json.loads(s3.get_bucket_policy(**bucket)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    (rules,) = s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert rules["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}


def test_the_preview_role_and_no_other_decrypts_state_by_the_keys_own_policy() -> None:
    root, preview = key_statements(read_settings("dev", EXAMPLE))
    assert root["Principal"] == {"AWS": "arn:aws:iam::111111111111:root"}
    assert "kms:PutKeyPolicy" in root["Action"]
    assert preview["Action"] == ["kms:Decrypt"]
    assert preview["Condition"]["StringEquals"]["aws:PrincipalArn"] == "arn:aws:iam::111111111111:role/slipway-dev-preview"


def test_github_becomes_an_identity_provider_for_tokens_that_are_made_for_aws(dev: Account) -> None:
    dev.run("--apply")
    identities = dev.client("iam")
    (provider,) = identities.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    assert provider["Arn"] == "arn:aws:iam::111111111111:oidc-provider/token.actions.githubusercontent.com"
    known = identities.get_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])["ClientIDList"]
    assert known == ["sts.amazonaws.com"]


def test_a_provider_that_others_use_is_only_completed(dev: Account) -> None:
    identities = dev.client("iam")
    identities.create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com", ClientIDList=["another"], ThumbprintList=["0" * 40]
    )
    added: list[str] = []

    def answer(params: Any, **_: Any) -> Any:  # noqa: ANN401 — botocore's event; moto does not know the operation
        added.append(params["body"]["ClientID"])
        return SimpleNamespace(status_code=200), {}

    event = "before-call.iam.AddClientIDToOpenIDConnectProvider"
    identities.meta.events.register(event, answer)
    try:
        assert dev.run("--apply") == 0
    finally:
        identities.meta.events.unregister(event, answer)
    assert added == ["sts.amazonaws.com"]
    assert "CreateOpenIDConnectProvider" not in dev.calls


def test_the_zone_is_made_once_and_its_delegation_is_printed(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    dev.run("--apply")
    (zone,) = dev.client("route53").list_hosted_zones()["HostedZones"]
    assert zone["Name"] == "dev.example.com."
    servers = dev.client("route53").get_hosted_zone(Id=zone["Id"])["DelegationSet"]["NameServers"]
    said = capsys.readouterr().out
    assert servers
    assert all(f"dev.example.com. 3600 IN NS {server}." in said for server in servers)


def test_two_zones_of_one_name_are_refused(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    for reference in ("one", "two"):
        dev.client("route53").create_hosted_zone(Name="dev.example.com", CallerReference=reference)
    assert dev.run() == 1
    assert re.search(r"named dev\.example\.com\. are .*: one is allowed\. Delete", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("stack", "names"),
    [
        ("dev", {"slipway/argocd/reader", "slipway/github-app/develop"}),
        ("stg", {"slipway/argocd/reader", "slipway/github-app/release"}),
        ("prd", {"slipway/argocd/reader"}),
    ],
)
def test_each_stack_gets_the_secrets_that_it_reads_and_no_others(stack: str, names: set[str]) -> None:
    one = account(stack)
    assert one.run("--apply", stack=stack) == 0
    assert {each["Name"] for each in one.client("secretsmanager").list_secrets()["SecretList"]} == names


def test_a_key_goes_from_its_file_into_its_secret_and_nowhere_else(
    dev: Account, key_file: Path, pem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev.run("--apply", "--put-key", f"develop={key_file}") == 0
    assert dev.client("secretsmanager").get_secret_value(SecretId="slipway/github-app/develop")["SecretString"] == pem
    said = "".join(capsys.readouterr())
    assert "put app.pem into secret slipway/github-app/develop" in said
    assert not any(line in said for line in pem.splitlines()[1:-1])


def test_the_uis_client_secret_is_put_without_its_line_end(dev: Account, tmp_path: Path) -> None:
    whole = (EXAMPLE / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    ui = "  slipway:argocd:\n    ui:\n      clientId: Iv1.0123\n      teams: {platform: admin}\n"
    (tmp_path / "Pulumi.dev.yaml").write_text(whole + ui, encoding="utf-8")
    (tmp_path / "secret").write_text("0123abcd\n", encoding="utf-8")
    assert dev.run("--apply", "--put-key", f"ui={tmp_path / 'secret'}", root=tmp_path) == 0
    assert dev.client("secretsmanager").get_secret_value(SecretId="slipway/argocd/ui")["SecretString"] == "0123abcd"


def with_reporter(folder: Path, track: str = "develop") -> Path:
    """Write dev's stack file with a reporter App, and a name of its track."""
    whole = (EXAMPLE / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    app = "  slipway:builds:\n    reporter: {appId: 1100009, installationId: 51000009}\n"
    text = whole.replace("  slipway:builds:\n", app).replace("    develop:\n", f"    {track}:\n")
    assert text.count(app) == 1
    (folder / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
    return folder


def test_the_reporters_key_goes_where_the_reporter_reads_it(dev: Account, key_file: Path, pem: str, tmp_path: Path) -> None:
    assert dev.run("--apply", "--put-key", f"reporter={key_file}", root=with_reporter(tmp_path)) == 0
    found = dev.client("secretsmanager").get_secret_value(SecretId=naming.reporter_key_secret())
    assert found["SecretString"] == pem
    listed = dev.client("secretsmanager").describe_secret(SecretId=naming.reporter_key_secret())
    assert listed["Description"] == "reporter: put there by a person, read by the reporter"


@pytest.mark.parametrize("track", ["reader", "reporter"])
def test_a_track_whose_name_is_another_secrets_purpose_is_refused(
    dev: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str], track: str
) -> None:
    assert dev.run(root=with_reporter(tmp_path, track)) == 1
    said = capsys.readouterr().err
    assert f"slipway:tracks has the track {track}, and --put-key {track}=FILE is for another secret here" in said
    assert "Rename the track." in said


def test_another_accounts_credentials_are_refused_before_anything_else(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.run("--apply", stack="prd") == 1
    error = capsys.readouterr().err
    assert re.search(r"belong to account 111111111111 \(arn:.*\): stack prd is allowed in account 333333333333 only\. T", error)
    assert dev.calls == ["GetCallerIdentity"]


def wrong_key(folder: Path) -> Path:
    path = folder / "ec.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.mark.parametrize("content", ["", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", None])
def test_what_is_no_apps_key_is_refused_and_not_quoted(
    dev: Account, tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.pem"
    if content is None:
        path = wrong_key(tmp_path)
    else:
        path.write_text(content, encoding="utf-8")
    assert dev.run("--put-key", f"develop={path}") == 1
    error = capsys.readouterr().err
    assert re.search(r"holds no unencrypted RSA private key: .* is allowed\. Make a key", error)
    assert "BEGIN" not in error


def test_a_file_that_is_not_there_and_an_unknown_purpose_are_refused(
    dev: Account, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev.run("--put-key", f"develop={key_file}.gone") == 1
    assert "cannot be read (FileNotFoundError)" in capsys.readouterr().err
    assert dev.run("--put-key", f"release={key_file}") == 1
    assert "for release: one of develop, reader is allowed" in capsys.readouterr().err


def test_a_key_given_as_an_argument_is_not_repeated(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dev.run("--put-key", "-----BEGINsecret")
    with pytest.raises(SystemExit):
        dev.run("--put-key", "MIIEsecret")
    assert "secret" not in capsys.readouterr().err.replace("put a file into a secret", "")


def test_a_stack_without_a_file_is_refused_with_those_that_have_one(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.run(stack="qa") == 1
    assert re.search(
        r"no file Pulumi\.qa\.yaml for the stack 'qa'; stacks with a file: dev, prd, stg\. Name one", capsys.readouterr().err
    )


def test_a_wrong_setting_is_refused_as_the_program_refuses_it(
    dev: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (EXAMPLE / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").write_text(whole.replace("weight: 100", "weight: 90"), encoding="utf-8")
    assert dev.run(root=tmp_path) == 1
    assert "must sum to 100 (now 90)" in capsys.readouterr().err
    assert dev.calls == []


def test_what_was_loosened_is_put_right_and_nothing_else_is_touched(dev: Account) -> None:
    dev.run("--apply")
    dev.client("s3").delete_public_access_block(Bucket="slipway-state-111111111111-eu-central-1")
    dev.client("s3").delete_bucket_policy(Bucket="slipway-state-111111111111-eu-central-1")
    assert dev.run("--apply") == 0
    assert dev.changes == ["PutPublicAccessBlock", "PutBucketPolicy"]


def test_a_key_on_its_way_out_stops_everything(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    dev.run("--apply")
    kms = dev.client("kms")
    kms.schedule_key_deletion(KeyId=kms.describe_key(KeyId=STATE_KEY_ALIAS)["KeyMetadata"]["KeyId"])
    capsys.readouterr()
    assert dev.run("--apply") == 1
    assert "is PendingDeletion: Enabled is allowed" in capsys.readouterr().err
    assert dev.changes == []


def test_policies_are_compared_by_what_they_say() -> None:
    one = '{"Statement": [{"Action": ["a", "b"], "Resource": ["x"]}]}'
    other = '{"Statement": {"Resource": "x", "Action": ["b", "a"]}}'
    assert same_policy(one, other)
    assert not same_policy(one, one.replace('"b"', '"c"'))
    assert not same_policy(None, one)


def test_bootstrap_runs_before_the_connection_exists_and_up_still_needs_it(
    dev: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (EXAMPLE / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    without = re.sub(r"    connectionArn: .*\n", "", whole)
    assert without != whole
    (tmp_path / "Pulumi.dev.yaml").write_text(without, encoding="utf-8")
    assert dev.run(root=tmp_path) == 0
    (tmp_path / "Pulumi.dev.yaml").write_text(re.sub(r"  slipway:builds:\n(    .*\n)+", "", whole), encoding="utf-8")
    assert dev.run(root=tmp_path) == 0
    (tmp_path / "Pulumi.dev.yaml").write_text(without.replace("days: 14", "days: 0"), encoding="utf-8")
    capsys.readouterr()
    assert dev.run(root=tmp_path) == 1, "the other keys are still validated"
    assert "lifecycle.days" in capsys.readouterr().err
