"""Logins as the configuration has them."""

from __future__ import annotations

import logging
import re
import socket
from pathlib import Path

from ndmpd.config_initiator import Initiator, parse_iscsi_name
from ndmpd.devices.iscsi_login import Chap, Login

log = logging.getLogger(__name__)

NAME_FILE = Path("/etc/iscsi/initiatorname.iscsi")
"""Where open-iscsi keeps the name of this machine: one machine should have one name."""


def initiator_name(settings: Initiator, name_file: Path = NAME_FILE) -> str:
    """The configured name, else open-iscsi's, else one made of the host's name."""
    if settings.name is not None:
        return settings.name
    try:
        written = name_file.read_text(errors="replace")
        found = re.search(r"^\s*InitiatorName\s*=\s*(\S+)", written, re.MULTILINE)
        if found:
            return parse_iscsi_name(found[1])
    except OSError:
        pass
    except ValueError as error:
        log.warning("%s: %s", name_file, error)
    host = re.sub(r"[^a-z0-9.-]", "-", socket.gethostname().lower()) or "localhost"
    return f"iqn.2026-11.io.ndmpd:{host}"


def login(settings: Initiator, host: str, port: int, target: str = "") -> Login:
    """A session with ``target``; without one, to ask the portal what it has."""
    chosen = settings.credentials(target)
    chap = None
    if chosen.user is not None:
        chap = Chap(chosen.user, chosen.secret.get_secret_value(), chosen.target_user or "",
                    chosen.target_secret.get_secret_value())
    return Login(host, port, target, initiator_name(settings), chap, settings.digests(target),
                 settings.login_timeout, settings.silence_timeout)
