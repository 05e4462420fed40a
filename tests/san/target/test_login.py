"""The login phase over a connection: negotiation, CHAP, what is refused, discovery, reinstatement."""

from __future__ import annotations

import logging
import time

import pytest

from ndmpd.san.target.authentication import ChapUser
from ndmpd.san.target.portal import PREFIX, Access
from protocol.iscsi.chap import Algorithm, response
from protocol.iscsi.session import LoginStatus, Stage, TextRequest
from protocol.iscsi.text import put_binary, put_text, take_binary, take_text
from tests.san.target.conftest import Connect, Serve
from tests.san.target.initiator import NAME, Initiator

SECRET, OURS = b"a secret of 22 bytes..", b"what the target knows."
USERS = {"alice": ChapUser("alice", SECRET, "node", OURS), "bob": ChapUser("bob", SECRET)}
TARGET = PREFIX + "disk0"


def test_every_key_is_answered_by_its_rule(connect: Connect) -> None:
    """RFC 7143 clause 13."""
    one = connect()
    offers = [("MaxConnections", "8"), ("InitialR2T", "No"), ("ImmediateData", "Yes"),
              ("MaxRecvDataSegmentLength", "65536"), ("MaxBurstLength", "524288"),
              ("FirstBurstLength", "65536"),
              ("DefaultTime2Wait", "5"), ("DefaultTime2Retain", "20"), ("MaxOutstandingR2T", "16"),
              ("DataPDUInOrder", "No"), ("DataSequenceInOrder", "No"), ("ErrorRecoveryLevel", "2"),
              ("IFMarker", "Yes"), ("X-com.example.Colour", "red"), ("TaskReporting", "FastAbort,RFC3720")]
    response, answers = one.ask(one.identity() + offers, Stage.OPERATIONAL, Stage.FULL_FEATURE)
    assert response.status == LoginStatus.SUCCESS and response.tsih
    assert dict(answers) == {
        "TargetPortalGroupTag": "1", "MaxConnections": "1", "InitialR2T": "No", "ImmediateData": "Yes",
        "MaxBurstLength": "524288", "FirstBurstLength": "65536", "DefaultTime2Wait": "5",
        "DefaultTime2Retain": "0", "MaxOutstandingR2T": "1", "DataPDUInOrder": "Yes",
        "DataSequenceInOrder": "Yes", "ErrorRecoveryLevel": "0", "IFMarker": "No",
        "X-com.example.Colour": "NotUnderstood", "TaskReporting": "RFC3720",
        "MaxRecvDataSegmentLength": "262144"}


@pytest.mark.parametrize(("change", "status"), [
    ({"drop": "InitiatorName"}, LoginStatus.MISSING_PARAMETER),
    ({"drop": "TargetName"}, LoginStatus.MISSING_PARAMETER),
    ({"TargetName": PREFIX + "disk9"}, LoginStatus.NOT_FOUND),
    ({"SessionType": "Other"}, LoginStatus.SESSION_TYPE),
    ({"InitiatorName": "../../etc"}, LoginStatus.INITIATOR_ERROR),
    ({"MaxBurstLength": "12"}, LoginStatus.INITIATOR_ERROR),
    ({"HeaderDigest": "MD5"}, LoginStatus.INITIATOR_ERROR),
    ({"fields": {"version_min": 1}}, LoginStatus.UNSUPPORTED_VERSION),
    ({"fields": {"tsih": 77}}, LoginStatus.NO_SESSION),
    ({"fields": {"go_on": 1}}, LoginStatus.INVALID_REQUEST),
])
def test_a_login_that_cannot_be_is_refused_with_its_reason(
        connect: Connect, change: dict[str, object], status: LoginStatus) -> None:
    one = connect()
    pairs = dict(one.identity()) | {key: str(value) for key, value in change.items() if key[0].isupper()}
    pairs.pop(str(change.get("drop")), None)
    fields = change.get("fields", {})
    assert isinstance(fields, dict)
    response, _ = one.ask(list(pairs.items()), Stage.OPERATIONAL, Stage.FULL_FEATURE, **fields)
    assert response.status == status
    with pytest.raises(ConnectionError):
        one.receive()


def test_text_that_continues_is_put_together(connect: Connect) -> None:
    one = connect()
    response, answers = one.ask(one.identity()[:1], Stage.OPERATIONAL, None, go_on=1)
    assert (response.status, response.transit, answers) == (0, 0, [])
    response, _ = one.ask(one.identity()[1:], Stage.OPERATIONAL, Stage.FULL_FEATURE)
    assert response.transit and response.tsih


def test_a_login_without_end_is_ended(connect: Connect) -> None:
    one = connect()
    with pytest.raises(ConnectionError):
        for _ in range(100):
            response, _ = one.ask([], Stage.OPERATIONAL, None, go_on=1)
            if response.status:
                assert response.status == LoginStatus.INITIATOR_ERROR


def chap(one: Initiator, user: str, secret: bytes, algorithms: str = "7,5", *,
         challenge: bytes = b"") -> tuple[int, dict[str, str]]:
    """Log in by CHAP; the status, and what the target answered. ``challenge``: for the target."""
    one.ask([*one.identity(), ("AuthMethod", "CHAP,None")], Stage.SECURITY, None)
    _, asked = one.ask([("CHAP_A", algorithms)], Stage.SECURITY, None)
    keys = dict(asked)
    algorithm = Algorithm(int(keys["CHAP_A"]))
    answer = response(algorithm, int(keys["CHAP_I"]), secret, take_binary(keys["CHAP_C"], 1024))
    pairs = [("CHAP_N", user), ("CHAP_R", put_binary(answer))]
    if challenge:
        own = take_binary(keys["CHAP_C"], 1024) if challenge == b"reflected" else challenge
        pairs += [("CHAP_I", "9"), ("CHAP_C", put_binary(own))]
    last, answers = one.ask(pairs, Stage.SECURITY, Stage.OPERATIONAL)
    return last.status, dict(answers) | {"CHAP_A": keys["CHAP_A"]}


@pytest.mark.parametrize(("offered", "chosen"), [("5", "5"), ("7", "7"), ("5,7", "7"), ("6,5", "5")])
def test_chap_lets_in_who_knows_the_secret(serve: Serve, offered: str, chosen: str) -> None:
    with Initiator(serve(Access(users=USERS)).port, TARGET) as one:
        status, answers = chap(one, "alice", SECRET, offered)
        assert (status, answers["CHAP_A"]) == (0, chosen)
        assert one.log_in(first=False).status == 0
        one.clear()


def test_the_target_proves_itself_too(serve: Serve) -> None:
    with Initiator(serve(Access(users=USERS)).port, TARGET) as one:
        status, answers = chap(one, "alice", SECRET, challenge=b"sixteen bytes...")
        assert status == 0
        assert answers["CHAP_N"] == "node"
        assert take_binary(answers["CHAP_R"], 64) == response(Algorithm.SHA_256, 9, OURS, b"sixteen bytes...")


@pytest.mark.parametrize(("user", "secret", "challenge"), [
    ("alice", b"wrong", b""), ("nobody", SECRET, b""), ("alice", SECRET, b"reflected"),
    ("bob", SECRET, b"sixteen bytes...")])
def test_chap_keeps_others_out_and_costs_them_time(
        serve: Serve, caplog: pytest.LogCaptureFixture, user: str, secret: bytes, challenge: bytes) -> None:
    """A wrong secret, an unknown user, our own challenge sent back, and nothing to prove ourselves with."""
    caplog.set_level(logging.DEBUG)
    with Initiator(serve(Access(users=USERS)).port, TARGET) as one:
        began = time.monotonic()
        assert chap(one, user, secret, challenge=challenge)[0] == LoginStatus.AUTHENTICATION_FAILURE
        assert time.monotonic() - began >= 1
    assert SECRET.decode() not in caplog.text and SECRET.hex() not in caplog.text


@pytest.mark.parametrize("stage", [Stage.SECURITY, Stage.OPERATIONAL])
def test_chap_cannot_be_passed_by(serve: Serve, stage: Stage) -> None:
    with Initiator(serve(Access(users=USERS)).port, TARGET) as one:
        answer, _ = one.ask(one.identity(), stage, Stage.FULL_FEATURE)
        assert answer.status == LoginStatus.AUTHENTICATION_FAILURE
    with Initiator(serve(Access(users=USERS)).port, TARGET) as one:
        answer, _ = one.ask([*one.identity("Discovery"), ("AuthMethod", "None")], Stage.SECURITY,
                            Stage.FULL_FEATURE)
        assert answer.status == LoginStatus.AUTHENTICATION_FAILURE


def test_only_listed_initiators_may_come(serve: Serve) -> None:
    port = serve(Access(initiators=frozenset({"iqn.2026-11.test:other"}))).port
    with Initiator(port, TARGET) as one:
        assert one.log_in().status == LoginStatus.AUTHORIZATION_FAILURE
    with Initiator(port, TARGET, name="iqn.2026-11.test:OTHER") as one:
        assert one.log_in().status == 0


def targets(one: Initiator, value: str, longest: int = 8192) -> list[tuple[str, str]]:
    """SendTargets, put together of all its PDUs."""
    found, tag = b"", 0xFFFFFFFF
    while True:
        text = put_text([("SendTargets", value)]) if tag == 0xFFFFFFFF else b""
        one.send(TextRequest(task_tag=5, cmd_sn=one.cmd_sn, transfer_tag=tag), text)
        one.cmd_sn += 1
        pdu, data = one.receive()
        assert len(data) <= longest
        found += data
        tag = pdu.transfer_tag
        if pdu.final:
            assert tag == 0xFFFFFFFF
            return take_text_twice(found)


def take_text_twice(data: bytes) -> list[tuple[str, str]]:
    """Pairs of a text whose keys may come again."""
    return [pair for part in data.split(b"\0") if part for pair in take_text(part)]


@pytest.mark.parametrize("longest", [512, 8192])
def test_discovery_names_every_target_and_where_it_is(connect: Connect, longest: int) -> None:
    one = connect()
    assert one.log_in(("MaxRecvDataSegmentLength", str(longest)), kind="Discovery").status == 0
    found = targets(one, "All", longest)
    names = [value for key, value in found if key == "TargetName"]
    assert names == [PREFIX + name for name in ("copy0", "disk0", "disk1", "mc0", "tape0", "tape1")]
    assert {value for key, value in found if key == "TargetAddress"} == {f"127.0.0.1:{one.port},1"}
    assert targets(one, PREFIX + "mc0", longest)[0] == ("TargetName", PREFIX + "mc0")
    assert targets(one, PREFIX + "mc7", longest) == []


def test_a_normal_session_hears_of_its_own_target_alone(ready: Connect) -> None:
    one = ready()
    assert targets(one, "") == [("TargetName", TARGET), ("TargetAddress", f"127.0.0.1:{one.port},1")]
    assert targets(one, "All") == [("SendTargets", "Reject")]
    assert targets(one, PREFIX + "disk1") == []


def test_a_session_is_replaced_by_the_next_of_the_same_port(ready: Connect) -> None:
    """RFC 7143 6.3.5; the new one is a nexus that holds nothing."""
    former = ready()
    assert former.execute(bytes.fromhex("160000000000")).status == 0  # RESERVE(6)
    again = ready()
    with pytest.raises(ConnectionError):
        former.receive()
    other = ready(isid=0x800000000002)
    assert other.execute(bytes.fromhex("160000000000")).status == 0
    assert again.execute(bytes.fromhex("160000000000")).status == 0x18


def test_sessions_of_other_ports_and_to_other_targets_stay(ready: Connect) -> None:
    sessions = [ready(), ready(isid=0x800000000002), ready("disk1"), ready("tape0"),
                ready(name=NAME + "2")]
    assert [one.execute(bytes(6)).status for one in sessions] == [0] * 5
