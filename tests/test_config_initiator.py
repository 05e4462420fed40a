"""``[initiator]``: names, CHAP secrets and who they are for; what the logins are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from ndmpd.config import Settings
from ndmpd.devices.initiator import initiator_name, login
from ndmpd.devices.iscsi_login import Chap
from ndmpd.errors import ConfigError

TARGET = "iqn.2026-11.io.ndmpd:tape0"


@pytest.fixture
def load(tmp_path: Path):
    """Load a configuration with one drive at TARGET; ``secret``, ``other`` and ``open`` are secret files."""
    for name, text, mode in (
        ("secret", "opens the gate", 0o600), ("other", "shows the way", 0o600), ("open", "seen by all", 0o644)
    ):  # fmt: skip
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(mode)

    def make(text: str) -> Settings:
        path = tmp_path / "ndmpd.toml"
        path.write_text(
            f'[server]\nstate_dir = "{tmp_path}/state"\n'
            f'[[user]]\nname = "u"\nsecret_file = "{tmp_path}/secret"\n'
            f'[drive.tape0]\ndevice = "iscsi://san1/{TARGET}/0"\n' + text.replace("TMP", str(tmp_path))
        )
        return Settings.load(path)

    return make


def refusal(load, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value).partition("ndmpd.toml: ")[2]


def test_nothing_needs_to_be_written(load) -> None:
    settings = load("").initiator
    found = login(settings, "san1", 3260, TARGET)
    assert (found.chap, found.header_digest, found.login_within, found.silence) == (None, False, 15, 15)


def test_the_name_is_the_configured_one_then_that_of_open_iscsi_then_one_of_the_host(load, tmp_path) -> None:
    written = tmp_path / "initiatorname.iscsi"
    written.write_text("## none\nInitiatorName=iqn.1993-08.org.debian:01:abc\n")
    assert initiator_name(load("").initiator, written) == "iqn.1993-08.org.debian:01:abc"
    named = load('[initiator]\nname = "iqn.2001-04.com.Example:Head"\n').initiator
    assert initiator_name(named, written) == "iqn.2001-04.com.example:head"
    written.write_text("InitiatorName=whatever\n")
    for file in (written, tmp_path / "none"):
        assert initiator_name(load("").initiator, file).startswith("iqn.2026-11.io.ndmpd:")


def test_what_is_written_for_a_target_counts_for_that_target(load) -> None:
    settings = load(
        '[initiator]\nuser = "head"\nsecret_file = "TMP/other"\nheader_digest = "crc32c"\nlogin_timeout = 5\n'
        f'[initiator.target."{TARGET}"]\nuser = "tape"\nsecret_file = "TMP/secret"\n'
        'target_user = "it"\ntarget_secret_file = "TMP/other"\n'
    ).initiator
    assert login(settings, "san1", 3260, TARGET.upper()).chap == Chap(
        "tape", "opens the gate", "it", "shows the way"
    )
    elsewhere = login(settings, "san1", 3260)
    assert (elsewhere.chap, elsewhere.header_digest) == (Chap("head", "shows the way"), True)
    assert login(settings, "san1", 3260, TARGET).header_digest
    assert elsewhere.login_within == 5


def test_no_secret_is_ever_shown(load) -> None:
    settings = load('[initiator]\nuser = "head"\nsecret_file = "TMP/other"\n')
    assert "shows the way" not in repr(settings) + str(settings.model_dump())
    assert "shows the way" not in repr(login(settings.initiator, "h", 1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "head"', "initiator.name: 'head' is not an iSCSI name"),
        ('header_digest = "md5"', "initiator.header_digest: "),
        ("silence_timeout = 1", "initiator.silence_timeout: "),
        ('secret = "plain"', "initiator.secret: a secret does not belong in this file"),
        ('user = "head"', "initiator.secret_file: is missing"),
        ('secret_file = "TMP/other"', "initiator.user: is missing"),
        ('user = "h"\nsecret_file = "TMP/open"', "initiator.secret_file: TMP/open may be read by others"),
        ('user = "h"\nsecret_file = "TMP/gone"', "initiator.secret_file: TMP/gone cannot be read"),
        ('target_user = "t"\ntarget_secret_file = "TMP/other"', "initiator.target_user: a target proves"),
        (
            'user = "h"\nsecret_file = "TMP/other"\ntarget_user = "t"\ntarget_secret_file = "TMP/other"',
            "initiator.target_secret_file: holds the same secret",
        ),
        ('[initiator.target."iqn.2026-11.io.ndmpd:tape1"]', "no device is reached at this target"),
        (f'[initiator.target."{TARGET}"]\nlogin_timeout = 3', "is not known here"),
    ],
)
def test_mistakes_are_told_with_their_key(load, tmp_path: Path, text: str, said: str) -> None:
    assert said.replace("TMP", str(tmp_path)) in refusal(load, "[initiator]\n" + text + "\n")
