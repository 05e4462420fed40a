"""Every message, in every version that has it, against bytes that another XDR implementation made."""

from __future__ import annotations

import pytest

from protocol.errors import WireError
from protocol.ndmp import registry
from protocol.ndmp.codes import Code, Version
from tests.protocol.ndmp import values_devices, values_jobs
from tests.protocol.ndmp.golden import GOLDENS, Golden

VALUES = {
    **values_devices.CONNECT, **values_devices.CONFIG, **values_devices.SCSI, **values_devices.TAPE,
    **values_jobs.DATA, **values_jobs.MOVER, **values_jobs.NOTIFY, **values_jobs.LOG, **values_jobs.FILEHIST,
}

every_golden = pytest.mark.parametrize("golden", GOLDENS, ids=str)


def _title(golden: Golden) -> str:
    """The key of its value: for one version, or else for both."""
    return str(golden) if str(golden) in VALUES else golden.title


@every_golden
def test_a_value_is_encoded_to_its_golden_bytes(golden: Golden) -> None:
    value = VALUES[_title(golden)]
    assert registry.encode(value, golden.version).hex(" ", 4) == golden.data.hex(" ", 4)


@every_golden
def test_golden_bytes_are_decoded_to_their_value(golden: Golden) -> None:
    value = VALUES[_title(golden)]
    decoded = registry.decode(golden.cls, golden.data, golden.version)
    assert type(decoded) is type(value)
    assert decoded == value


@every_golden
def test_golden_bytes_cut_off_anywhere_are_refused(golden: Golden) -> None:
    for length in range(len(golden.data)):
        with pytest.raises(WireError):
            registry.decode(golden.cls, golden.data[:length], golden.version)


@every_golden
@pytest.mark.parametrize("more", [b"\0", b"\0\0\0\0", b"\0\0\0\1" * 4])
def test_bytes_behind_a_golden_body_are_refused(golden: Golden, more: bytes) -> None:
    with pytest.raises(WireError, match="too many"):
        registry.decode(golden.cls, golden.data + more, golden.version)


@pytest.mark.parametrize("version", Version)
def test_every_message_of_a_version_has_a_golden(version: Version) -> None:
    wanted = set()
    for code in Code:
        found = {
            "request": registry.request_class(code, version),
            "reply": registry.reply_class(code, version),
            "post": registry.post_class(code, version),
        }
        wanted |= {(code, kind) for kind, cls in found.items() if cls}
    assert {(golden.code, golden.kind) for golden in GOLDENS if golden.version == version} == wanted


def test_every_code_is_a_message_of_some_version() -> None:
    assert {golden.code for golden in GOLDENS} == set(Code)


def test_every_value_has_golden_bytes() -> None:
    assert set(VALUES) == {_title(golden) for golden in GOLDENS}
