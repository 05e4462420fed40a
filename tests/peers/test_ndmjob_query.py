"""``ndmjob -q``: what each agent says of itself."""

from __future__ import annotations

import pytest

from tests.peers.ndmjob import Ndmjob
from tests.peers.server import EmbeddedServer

pytestmark = [pytest.mark.peer, pytest.mark.needs("ndmjob")]


@pytest.mark.parametrize("version", [3, 4])
def test_every_agent_shows_what_it_has(ndmjob: Ndmjob, server: EmbeddedServer, version: int) -> None:
    agent = server.agent(version)
    outcome = ndmjob.query(data=agent, tape=agent, robot=agent)
    assert outcome.completed, outcome.explain()
    report = outcome.lines("QR")
    sections = {kind: "\n".join(lines) for kind, lines in by_agent(report).items()}
    assert set(sections) == {"Data", "Tape", "Robot"}
    for kind, text in sections.items():
        assert f"{kind} Agent 127.0.0.1 NDMPv{version}" in text
        assert "hostname" in text
        assert "revision" in text
        assert "failed" not in text
    assert "ADDR_LOCAL" in sections["Data"]
    assert "ADDR_TCP" in sections["Data"]
    for butype in ("tar", "image"):
        assert f"Backup type info of {butype} format" in sections["Data"]
    for export in ("/vol/disk0", "/vol/disk1", *map(str, server.exports)):
        assert export in sections["Data"]
    assert "tape0" in sections["Tape"]
    assert "tape1" in sections["Tape"]
    assert "mc0" in sections["Robot"]


def by_agent(report: list[str]) -> dict[str, list[str]]:
    """The lines of each agent; the report names it in a line such as ``Tape Agent 127.0.0.1 NDMPv4``."""
    sections: dict[str, list[str]] = {}
    kind = ""
    for line in report:
        if " Agent " in line and "NDMPv" in line:
            kind = line.split()[0]
        if kind:
            sections.setdefault(kind, []).append(line)
    return sections
