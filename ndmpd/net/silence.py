"""Whether the peer of a TCP connection has fallen silent: power lost, cable pulled.

Keepalive finds that out where nothing is under way. Where something is, the kernel sends it again and again
for a quarter of an hour. TCP_USER_TIMEOUT would shorten that, and would also end a connection to a peer that
is well but does not read: a mover that waits for a cartridge, a DMA that asks its operator. Those answer each
probe of their closed window, and so are told from the silent here.
"""

from __future__ import annotations

import socket
import struct

PATIENCE = 120.0
"""Seconds without an answer; as long as keepalive takes."""
LOOK_EVERY = 15.0
_UNANSWERED = 3
"""Packets sent in vain, one after the other. Of the living, one may be lost and one on its way."""
_INFO = struct.Struct("=2x2B4x48xI")
"""Of Linux's ``tcp_info``: retransmits, probes, and milliseconds since the last acknowledgement."""


def silent(connection: socket.socket, patience: float = PATIENCE) -> bool:
    """Whether nothing was heard for ``patience`` seconds though an answer is due. Of a closed socket: no."""
    if connection.fileno() < 0 or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    retransmits, probes, quiet = _INFO.unpack(info)
    return bool(max(retransmits, probes) >= _UNANSWERED and quiet >= patience * 1000)
