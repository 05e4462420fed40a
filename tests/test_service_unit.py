"""conf/ndmpd.service: few powers, each with its reason, and no protection that would make a backup
incomplete.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "conf" / "ndmpd.service"


def assignments() -> list[tuple[str, str, str]]:
    """(section, key, value) in order; keys may repeat."""
    section, found = "", []
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append((section, key, value))
    return found


def values(key: str) -> list[str]:
    return [value for _, name, value in assignments() if name == key]


def test_the_server_is_started_as_a_person_would_start_it():
    assert values("ExecStart") == ["/usr/bin/ndmpd serve --config /etc/ndmpd/ndmpd.toml"]
    assert values("StateDirectory") == ["ndmpd"]
    assert values("StateDirectoryMode") == ["0700"]


def test_the_capabilities_are_these_and_no_others():
    first, *rest = values("CapabilityBoundingSet")
    assert first == "", "without an empty assignment first, the set begins with everything"
    assert sorted(rest) == [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD",
        "CAP_SETFCAP", "CAP_SYS_RAWIO"]
    assert values("NoNewPrivileges") == ["yes"]
    assert not values("AmbientCapabilities")


def test_each_group_of_capabilities_has_its_reason_above_it():
    lines = UNIT.read_text().splitlines()
    first = lines.index("CapabilityBoundingSet=")
    reason = ""
    for line in lines[first + 1:]:
        if line.startswith("#"):
            reason = line
        elif line.startswith("CapabilityBoundingSet="):
            assert reason, line
        else:
            break
    assert "trusted.*" in UNIT.read_text(), "what is missing without CAP_SYS_ADMIN is said"


@pytest.mark.parametrize("key", [
    "ProtectSystem", "ProtectHome", "PrivateTmp", "ReadOnlyPaths", "InaccessiblePaths", "TemporaryFileSystem",
    "ProtectKernelModules", "PrivateDevices", "RestrictSUIDSGID", "MemoryDenyWriteExecute", "PrivateUsers",
    "RootDirectory"])
def test_nothing_that_may_be_exported_is_hidden_or_locked(key):
    assert not values(key)


@pytest.mark.parametrize("key", ["ProtectKernelTunables", "ProtectKernelLogs", "ProtectControlGroups",
                                 "RestrictNamespaces", "RestrictRealtime", "LockPersonality"])
def test_what_can_be_closed_is_closed(key):
    assert values(key) == ["yes"]


def test_only_scsi_generic_devices_can_be_opened():
    assert values("DevicePolicy") == ["closed"]
    assert [value for value in values("DeviceAllow") if not re.fullmatch(r"(char|block)-\* m", value)] == [
        "char-sg rw"]


def test_system_calls_are_limited_to_those_of_services():
    assert values("SystemCallFilter") == ["@system-service"]
    assert values("SystemCallArchitectures") == ["native"]


def test_systemd_has_nothing_to_say_against_it(tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    copy = tmp_path / "ndmpd.service"
    copy.write_text(UNIT.read_text().replace("/usr/bin/ndmpd", shutil.which("true") or "/bin/true"))
    done = subprocess.run([program, "verify", "--recursive-errors=no", copy], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
    assert (done.returncode, done.stderr) == (0, "")
