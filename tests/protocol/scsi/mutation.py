"""Feeds decoders damaged forms of good data."""

import random

from protocol.errors import WireError


def raises_wire_error_only(take, good: bytes, rounds: int = 400, seed: int = 11) -> None:
    """Call ``take`` with every truncation of ``good`` and with seeded mutations of it."""
    dice = random.Random(seed)
    damaged = [good[:end] for end in range(len(good))]
    for _ in range(rounds):
        bad = bytearray(good[:dice.randrange(len(good) + 1)] + bytes(dice.randrange(4)))
        for _ in range(dice.randrange(1, 5)):
            if bad:
                bad[dice.randrange(len(bad))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        damaged.append(bytes(bad))
    for data in damaged:
        try:
            take(data)
        except WireError:
            pass
