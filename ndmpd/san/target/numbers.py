"""Serial numbers of commands: which may be carried out, and how many more the initiator may send.

RFC 7143 4.2.2.1. Numbers are compared modulo 2**32 (RFC 1982).
"""

from __future__ import annotations

_MODULUS = 1 << 32


def after(one: int, other: int) -> int:
    """How far ``one`` lies behind ``other``; negative where it lies before."""
    distance = (one - other) % _MODULUS
    return distance - _MODULUS if distance >= _MODULUS // 2 else distance


def following(number: int) -> int:
    return (number + 1) % _MODULUS


class CommandWindow:
    """``expected`` is ExpCmdSN. ``size``: commands that a session may have under way, besides immediate
    ones. A session has one connection, so commands come in order, and one with a number ahead of
    ``expected`` follows one that was lost: it is dropped, as one outside the window is.
    """

    def __init__(self, first: int, size: int) -> None:
        self.expected = first
        self._size = size
        self._limit = (first + size - 1) % _MODULUS

    def takes(self, number: int) -> bool:
        """Whether the command of this number is the next; it counts as taken then."""
        if number != self.expected or after(number, self._limit) > 0:
            return False
        self.expected = following(number)
        return True

    def limit(self, busy: int) -> int:
        """MaxCmdSN with ``busy`` commands under way. It never goes back."""
        wanted = (self.expected + self._size - 1 - busy) % _MODULUS
        if after(wanted, self._limit) > 0:
            self._limit = wanted
        return self._limit
