"""The emulators as processes, and clients that reach them and nothing else."""

import json
import os
import socket
from pathlib import Path

import pytest

from rehearsal.cloud import MINISTACK, MOTO, EmulatorError, Emulators
from rehearsal.cloud import emulators as module
from tests.rehearsal.cloud.kit import REGION, Accounts


def _pids(emulators: Emulators) -> list[int]:
    return [each.process.pid for each in emulators._processes.values()]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] — nobody else should know them


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_accounts_of_ministack_are_apart(emulators: Emulators, accounts: Accounts) -> None:
    ours, theirs = (emulators.client("sqs", next(accounts), REGION) for _ in range(2))
    ours.create_queue(QueueName="ours")
    assert len(ours.list_queues()["QueueUrls"]) == 1
    assert not theirs.list_queues().get("QueueUrls")


def test_two_accounts_of_moto_are_apart(emulators: Emulators, accounts: Accounts) -> None:
    mine, other = next(accounts), next(accounts)
    ours, theirs = (emulators.client("ec2", account, REGION) for account in (mine, other))
    vpc = ours.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]
    assert vpc["OwnerId"] == mine
    assert vpc["VpcId"] not in {each["VpcId"] for each in theirs.describe_vpcs()["Vpcs"]}


def test_two_regions_of_an_account_are_apart(emulators: Emulators, accounts: Accounts) -> None:
    account = next(accounts)
    emulators.client("sqs", account, REGION).create_queue(QueueName="here")
    assert not emulators.client("sqs", account, "us-east-1").list_queues().get("QueueUrls")


def test_an_assumed_role_acts_in_its_own_account_and_within_its_policies(emulators: Emulators, accounts: Accounts) -> None:
    account = next(accounts)
    allowed = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    role = emulators.client("iam", account, REGION).create_role(RoleName="reader", AssumeRolePolicyDocument=trust)["Role"]
    assert emulators.client_as(role["Arn"], "sts", REGION).get_caller_identity()["Account"] == account
    with pytest.raises(Exception, match="sqs:CreateQueue"):
        emulators.client_as(role["Arn"], "sqs", REGION).create_queue(QueueName="refused")


def test_a_managed_policy_is_what_aws_says(emulators: Emulators, accounts: Accounts) -> None:
    iam, arn = emulators.client("iam", next(accounts), REGION), "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"
    document = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]
    assert "ec2:AssignPrivateIpAddresses" in str(document)


def test_clients_stay_on_loopback_whatever_this_machine_is_configured_for(
    emulators: Emulators, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nendpoint_url = http://192.0.2.1\nregion = us-west-2\n")
    for name, value in {
        "AWS_CONFIG_FILE": str(config),
        "AWS_ENDPOINT_URL": "http://192.0.2.1",
        "AWS_ENDPOINT_URL_SQS": "http://192.0.2.1",
        "HTTP_PROXY": "http://192.0.2.1:3128",
        "http_proxy": "http://192.0.2.1:3128",
    }.items():
        monkeypatch.setenv(name, value)
    account = next(accounts)
    for service, emulator in (("sqs", MINISTACK), ("ec2", MOTO)):
        assert emulators.client(service, account, REGION).meta.endpoint_url == emulators.url(emulator)
        assert emulators.url(emulator).startswith("http://127.0.0.1:")
    assert emulators.client("sts", account, REGION).get_caller_identity()["Account"] == account


def test_a_service_that_nobody_serves_is_named(emulators: Emulators) -> None:
    with pytest.raises(EmulatorError, match=r"no emulator is known to serve redshift; served are acm, .*sts"):
        emulators.client("redshift", "111111111111", REGION)


def test_a_client_outside_of_the_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="not running"):
        Emulators(tmp_path).client("sqs", "111111111111", REGION)


def test_an_emulator_that_does_not_start_is_reported_with_its_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    start = Emulators._start  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] — to hear of the processes

    def note(self: Emulators, name: str) -> module.Process:
        process = start(self, name)
        started.append(process.process.pid)
        return process

    monkeypatch.setattr(Emulators, "_start", note)
    monkeypatch.setattr(module, "_HEALTH", {"nonsense": "/"})
    with (
        pytest.raises(EmulatorError, match=r"(?s)nonsense did not start.*it ended with 1.*KeyError: 'nonsense'"),
        Emulators(tmp_path),
    ):
        pass
    assert len(started) == 1
    assert not any(map(_alive, started))


def test_a_failure_inside_the_context_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    emulators, pids, ports = Emulators(tmp_path / "logs"), list[int](), list[int]()

    def fail() -> None:
        with emulators:
            pids.extend(_pids(emulators))
            ports.extend(int(emulators.url(each).rpartition(":")[2]) for each in (MINISTACK, MOTO))
            msg = "planted"
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    assert len(pids) == 2
    assert not any(map(_alive, pids))
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
