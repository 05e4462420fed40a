"""Addresses of servers on the command line."""

from __future__ import annotations

import pytest

from ndmpd.client.errors import ExitStatus, UrlError
from ndmpd.client.url import ServerUrl


@pytest.mark.parametrize(("text", "expected"), [
    ("ndmp://filer", ServerUrl("filer", 10000, "")),
    ("ndmp://admin@filer:10001/", ServerUrl("filer", 10001, "admin")),
    ("admin@filer:10001", ServerUrl("filer", 10001, "admin")),
    ("ndmp://back%40up@[2001:db8::1]:10002", ServerUrl("2001:db8::1", 10002, "back@up")),
    ("NDMP://127.0.0.1", ServerUrl("127.0.0.1", 10000, "")),
])
def test_an_address_gives_host_port_and_user(text: str, expected: ServerUrl) -> None:
    assert ServerUrl.parse(text) == expected


@pytest.mark.parametrize(("text", "complaint"), [
    ("ndmp://admin:secret@filer", "--password-file"),
    ("http://filer", "http:// is not spoken"),
    ("ndmp://", "names no host"),
    ("ndmp://filer:port", "no server address"),
    ("ndmp://filer:70000", "no server address"),
    ("ndmp://filer:0", "0 is no port"),
    ("ndmp://filer/tape0", "devices by options"),
])
def test_a_wrong_address_says_what_to_write_instead(text: str, complaint: str) -> None:
    with pytest.raises(UrlError, match=complaint) as caught:
        ServerUrl.parse(text)
    assert caught.value.exit_status == ExitStatus.USAGE


def test_a_refused_password_is_not_repeated_in_the_message() -> None:
    with pytest.raises(UrlError) as caught:
        ServerUrl.parse("ndmp://admin:secret@filer")
    assert "secret" not in str(caught.value)


def test_an_address_is_written_as_it_is_read() -> None:
    for text in ("ndmp://admin@filer:10001", "ndmp://[::1]:10000"):
        assert str(ServerUrl.parse(text)) == text
