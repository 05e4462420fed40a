"""The journal of a cartridge and the map it makes, against a plain list of objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.streams.cartridge import (
    ALIGNMENT,
    ENTRY_SIZE,
    HEADER_SIZE,
    MAX_RECORD,
    Entry,
    Kind,
    TapeMap,
    put_entry,
    put_header,
    take_entries,
    take_header,
)

# Checked by hand against the module's own description, once; the format must not change by accident.
HEADER = bytes.fromhex("6e646d7063617274 0001 0018 00000000 0000000000000007".replace(" ", ""))
ENTRIES = (Entry(Kind.RECORDS, 3, 10240), Entry(Kind.MARKS, 1), Entry(Kind.TRUNCATE, 2))


def test_the_header_carries_format_and_generation() -> None:
    assert put_header(7)[:24] == HEADER and len(put_header(7)) == HEADER_SIZE == 32
    assert take_header(put_header(1 << 40)) == 1 << 40


@pytest.mark.parametrize("at", range(HEADER_SIZE - 4))
def test_a_header_damaged_anywhere_is_refused(at: int) -> None:
    data = bytearray(put_header(7))
    data[at] ^= 0x10
    if 12 <= at < 16:      # reserved
        assert take_header(bytes(data)) == 7
    else:
        with pytest.raises(WireError):
            take_header(bytes(data))


def test_a_header_that_is_cut_is_refused() -> None:
    with pytest.raises(WireError, match="31 bytes"):
        take_header(put_header(7)[:-1])


def test_an_entry_lies_as_documented() -> None:
    data = put_entry(Entry(Kind.RECORDS, 3, 10240), 5, 7)
    assert data[4:] == bytes.fromhex("01000000" "00002800" "00000005" "0000000000000003")
    assert len(data) == ENTRY_SIZE == 24


def test_entries_are_taken_up_to_the_first_that_is_cut_or_changed() -> None:
    whole = b"".join(put_entry(entry, number, 7) for number, entry in enumerate(ENTRIES))
    for end in range(len(whole) + 1):
        assert take_entries(whole[:end], 0, 7) == list(ENTRIES[:end // ENTRY_SIZE])
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        found = take_entries(bytes(damaged), 0, 7)
        # The three reserved bytes are under the checksum as well.
        assert found == list(ENTRIES[:at // ENTRY_SIZE])


def test_an_entry_counts_only_in_its_generation_and_place() -> None:
    data = put_entry(ENTRIES[0], 5, 7)
    assert take_entries(data, 5, 7) == [ENTRIES[0]]
    assert take_entries(data, 5, 8) == take_entries(data, 4, 7) == []


def test_a_whole_entry_of_an_unknown_kind_is_no_torn_tail() -> None:
    with pytest.raises(WireError, match="unknown kind 9"):
        take_entries(put_entry(Entry(9, 1), 0, 1), 0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("entry", [
    Entry(Kind.RECORDS, 1, 0), Entry(Kind.RECORDS, 0, 5), Entry(Kind.RECORDS, 1, MAX_RECORD + 1),
    Entry(Kind.MARKS, 0), Entry(Kind.MARKS, 1, 1), Entry(Kind.TRUNCATE, 1)])
def test_entries_that_cannot_follow_are_refused(entry: Entry) -> None:
    with pytest.raises(WireError):
        TapeMap().apply(entry)


def test_equal_records_that_follow_each_other_are_one_run() -> None:
    tape = TapeMap()
    for _ in range(1000):
        tape.apply(Entry(Kind.RECORDS, 2, 64))
    assert tape.runs == 1 and tape.entries() == [Entry(Kind.RECORDS, 2000, 64)]


entries = st.lists(st.one_of(
    st.builds(Entry, st.just(Kind.RECORDS), st.integers(1, 4), st.sampled_from((1, 10, 4096, 5000))),
    st.builds(Entry, st.just(Kind.MARKS), st.integers(1, 3)),
    st.builds(Entry, st.just(Kind.TRUNCATE), st.integers(0, 12))), max_size=12)


class Plain:
    """The same tape as a list: a record's size, or 0 for a filemark; and where each record lies."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def apply(self, entry: Entry) -> None:
        if entry.kind is Kind.TRUNCATE:
            del self.sizes[entry.count:]
        else:
            self.sizes += [entry.size] * entry.count

    def offsets(self) -> list[int]:
        at, found = 0, []
        for number, size in enumerate(self.sizes):
            if size and number and not self.sizes[number - 1]:
                at = -(-at // ALIGNMENT) * ALIGNMENT
            found.append(at)
            at += size
        return found


@given(entries)
def test_a_map_knows_what_a_list_of_objects_knows(steps: list[Entry]) -> None:
    tape, plain = TapeMap(), Plain()
    for entry in steps:
        if entry.kind is Kind.TRUNCATE and entry.count > len(plain.sizes):
            with pytest.raises(WireError):
                tape.apply(entry)
            continue
        tape.apply(entry)
        plain.apply(entry)
    sizes, offsets = plain.sizes, plain.offsets()
    assert tape.objects == len(sizes)
    assert tape.marks == sizes.count(0) and tape.used == sum(sizes)
    for place in range(len(sizes) + 1):
        assert tape.marks_before(place) == sizes[:place].count(0)
        assert tape.used_before(place) == sum(sizes[:place])
        run, last = tape.at(place), tape.before(place)
        if place == len(sizes):
            assert run is None
        else:
            assert run is not None and run.size == sizes[place]
            assert sizes[place:place + run.count] == [run.size] * run.count
            if run.size:
                assert [run.offset + step * run.size for step in range(run.count)] == (
                    offsets[place:place + run.count])
        if place:
            assert last is not None and sizes[place - last.count:place] == [last.size] * last.count
        else:
            assert last is None
    marks = [place for place, size in enumerate(sizes) if not size]
    assert [tape.mark(number) for number in range(tape.marks)] == marks
    with pytest.raises(ValueError, match="filemark"):
        tape.mark(tape.marks)
    again = TapeMap()
    for entry in tape.entries():
        again.apply(entry)
    assert (again.objects, again.used, again.marks) == (tape.objects, tape.used, tape.marks)
    assert again.end == tape.end


@given(entries, st.integers(0, 60000))
def test_objects_before_the_cut_of_a_shorter_data_file_are_whole(steps: list[Entry], length: int) -> None:
    tape, plain = TapeMap(), Plain()
    for entry in steps:
        if entry.kind is not Kind.TRUNCATE:
            tape.apply(entry)
            plain.apply(entry)
    cut = [number for number, (size, offset) in enumerate(zip(plain.sizes, plain.offsets(), strict=True))
           if size and offset + size > length]
    assert tape.whole_within(length) == (cut[0] if cut else len(plain.sizes))
