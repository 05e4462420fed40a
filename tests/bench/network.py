"""What the network between a head and the SAN carries, by each type of data mover."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.dma import JobFailed
from tests.bench.place import Place
from tests.bench.rows import Subject


def traffic_by_each(place: Place) -> list[Subject]:
    """Bytes over the head's interface for the same image by both, to two tapes that have to be equal."""
    site, size = place.networks, place.scale.size
    if site is None:
        return []

    def by(mover: str, drive: str) -> Callable[[], float]:
        def back_up() -> float:
            done = site.back_up(mover, drive)
            if not done.used.startswith(mover) or done.moved < size:
                raise JobFailed(f"{done.moved} bytes were moved by {done.used}, and not {size} by {mover}")
            if mover == "NAS" and done.traffic < 2 * size:
                raise JobFailed(f"{done.traffic} bytes came and went: less than twice {size}")
            return float(done.traffic)

        return back_up

    def compare() -> None:
        if not site.same_tapes():
            raise JobFailed("the two tapes differ")

    return [
        Subject("ndmpd", by("SCSI", "tape0")),
        Subject("NAS", by("NAS", "tape1"), check=compare),
    ]
