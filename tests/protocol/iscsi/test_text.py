"""Keys and values of login and text PDUs, the rules of negotiation, and CHAP's responses."""

from __future__ import annotations

import pytest

from protocol.errors import WireError
from protocol.iscsi.chap import Algorithm, matches, response
from protocol.iscsi.keys import KEYS, Rule
from protocol.iscsi.text import (
    MAX_PAIRS,
    put_binary,
    put_text,
    take_binary,
    take_number,
    take_text,
)

# What tgtd answered iscsi-ls.
TARGETS = bytes.fromhex("5461726765744e616d653d69716e2e74005461726765744164647265737"
                        "33d3132372e302e302e313a333236322c3100")


def test_captured_text_both_ways() -> None:
    pairs = [("TargetName", "iqn.t"), ("TargetAddress", "127.0.0.1:3262,1")]
    assert take_text(TARGETS) == pairs
    assert put_text(pairs) == TARGETS
    assert take_text(TARGETS + bytes(3)) == pairs


@pytest.mark.parametrize("data", [
    b"Key", b"=value\0", b"A=1\0A=2\0", b"9Key=1\0", b"K" * 64 + b"=1\0", b"Key=\xff\xfe\0",
    b"Key=" + b"v" * 8193 + b"\0", b"".join(b"K%d=1\0" % number for number in range(MAX_PAIRS + 1))])
def test_text_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        take_text(data)


def test_numbers_and_binary_values() -> None:
    assert [take_number(text) for text in ("0", "4096", "0x1F", "0X1f")] == [0, 4096, 31, 31]
    assert take_binary("0x0123", 8) == b"\x01\x23"
    assert take_binary("0x123", 8) == b"\x01\x23"
    assert take_binary("0bASM=", 8) == b"\x01\x23"
    assert put_binary(b"\x01\x23") == "0x0123"


@pytest.mark.parametrize("text", ["", "-1", "1 ", "0x", "0xg", "1" * 30, "1_0"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(WireError):
        take_number(text)


@pytest.mark.parametrize("text", ["", "0x", "0xzz", "0b***", "12", "0x" + "00" * 9, "0x0 1"])
def test_binary_values_that_are_none_or_too_long_are_refused(text: str) -> None:
    with pytest.raises(WireError):
        take_binary(text, 8)


@pytest.mark.parametrize(("name", "offered", "ours", "result"), [
    ("MaxBurstLength", "262144", "1048576", "262144"), ("MaxBurstLength", "16776192", "1048576", "1048576"),
    ("DefaultTime2Wait", "2", "0", "2"), ("DefaultTime2Wait", "0", "5", "5"),
    ("InitialR2T", "No", "No", "No"), ("InitialR2T", "Yes", "No", "Yes"), ("InitialR2T", "No", "Yes", "Yes"),
    ("ImmediateData", "Yes", "Yes", "Yes"), ("ImmediateData", "Yes", "No", "No"),
    ("HeaderDigest", "CRC32C,None", "None,CRC32C", "CRC32C"),
    ("HeaderDigest", "None,CRC32C", "CRC32C,None", "None"),
    ("HeaderDigest", "X-md5", "None,CRC32C", "Reject"), ("MaxRecvDataSegmentLength", "0x2000", "", "8192")])
def test_results_follow_the_rule_of_the_key(name: str, offered: str, ours: str, result: str) -> None:
    assert KEYS[name].answer(offered, ours) == result


@pytest.mark.parametrize(("name", "offered"), [
    ("MaxBurstLength", "511"), ("MaxBurstLength", "16777216"), ("MaxBurstLength", "many"),
    ("InitialR2T", "yes"), ("ImmediateData", ""), ("ErrorRecoveryLevel", "3"), ("MaxConnections", "0")])
def test_values_that_a_key_cannot_have_are_refused(name: str, offered: str) -> None:
    with pytest.raises(WireError):
        KEYS[name].answer(offered, "1" if KEYS[name].rule is Rule.MINIMUM else "Yes")


def test_defaults_are_values_that_the_key_can_have() -> None:
    for key in KEYS.values():
        assert key.answer(key.default, key.default) == key.default


# By md5sum and sha256sum, of the identifier 5, "secret" and the challenge 01020304h.
@pytest.mark.parametrize(("algorithm", "expected"), [
    (Algorithm.MD5, "584b7e61ade04c974f8bf5885a1e2928"),
    (Algorithm.SHA_256, "7a12f5854d1420a4087451fa7c385e162e46f1df2a040468c45a4221efc18b7f")])
def test_responses_of_chap(algorithm: Algorithm, expected: str) -> None:
    right = bytes.fromhex(expected)
    assert response(algorithm, 5, b"secret", bytes((1, 2, 3, 4))) == right
    assert matches(algorithm, 5, b"secret", bytes((1, 2, 3, 4)), right)
    assert not matches(algorithm, 6, b"secret", bytes((1, 2, 3, 4)), right)
    assert not matches(algorithm, 5, b"secret", bytes((1, 2, 3, 4)), right[:-1])
