"""The header, against bytes written out field by field."""

from __future__ import annotations

import pytest

from protocol.errors import WireError
from protocol.ndmp.codes import Code, Error, MessageType
from protocol.ndmp.header import SIZE, Header
from protocol.xdr import Reader

SAMPLES = {
    "request": (
        Header(1, 0x65000000, MessageType.REQUEST, Code.CONNECT_OPEN),
        """
        00000001  # sequence
        65000000  # time_stamp
        00000000  # message_type = NDMP_MESSAGE_REQUEST
        00000900  # message_code = NDMP_CONNECT_OPEN
        00000000  # reply_sequence
        00000000  # error_code = NDMP_NO_ERR
        """,
    ),
    "reply with an error": (
        Header(2, 0xFFFFFFFF, MessageType.REPLY, Code.MOVER_SET_WINDOW, 7, Error.XDR_DECODE),
        """
        00000002  # sequence
        ffffffff  # time_stamp
        00000001  # message_type = NDMP_MESSAGE_REPLY
        00000a05  # message_code = NDMP_MOVER_SET_WINDOW
        00000007  # reply_sequence
        00000012  # error_code = NDMP_XDR_DECODE_ERR
        """,
    ),
    "extension": (
        Header(3, 0, MessageType.REPLY, 0xA0000001, 9, 0x20500001),
        """
        00000003  # sequence
        00000000  # time_stamp
        00000001  # message_type = NDMP_MESSAGE_REPLY
        a0000001  # message_code: of an extension
        00000009  # reply_sequence
        20500001  # error_code: of an extension
        """,
    ),
}


def _bytes(text: str) -> bytes:
    return bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))


@pytest.mark.parametrize("sample", SAMPLES)
def test_headers_are_encoded_and_decoded_field_by_field(sample: str) -> None:
    header, text = SAMPLES[sample]
    data = _bytes(text)
    assert header.encode() == data
    reader = Reader(data + b"body")
    assert Header.take(reader) == header
    assert reader.left == len(b"body")


def test_known_numbers_become_members_and_unknown_ones_stay_numbers() -> None:
    known = Header.take(Reader(_bytes(SAMPLES["request"][1])))
    assert known.message_code is Code.CONNECT_OPEN
    assert known.message_type is MessageType.REQUEST
    unknown = Header.take(Reader(_bytes(SAMPLES["extension"][1])))
    assert type(unknown.message_code) is int
    assert type(unknown.error) is int


@pytest.mark.parametrize("length", range(SIZE))
def test_a_header_cut_short_is_refused(length: int) -> None:
    with pytest.raises(WireError):
        Header.take(Reader(bytes(length)))


@pytest.mark.parametrize("sequence", [-1, 1 << 32])
def test_a_sequence_number_beyond_32_bits_is_not_encoded(sequence: int) -> None:
    with pytest.raises(WireError):
        Header(sequence, 0, MessageType.REQUEST, Code.CONNECT_CLOSE).encode()
