"""Record and window arithmetic (2.3.5.1.3 to 2.3.5.1.6)."""

from ndmpd.session.spans import ALL_ONES
from ndmpd.session.window import Window


def test_a_window_without_end_holds_everything_from_its_offset() -> None:
    window = Window(10, 40, ALL_ONES)
    assert (window.end, window.records, window.first_record) == (None, None, 4)
    assert not window.holds(39)
    assert window.holds(40)
    assert window.holds(1 << 62)


def test_the_drafts_example_of_a_reading_mover() -> None:
    """2.3.5.1.6: record size 10, window 0..40; the byte at 40 is the first outside."""
    window = Window(10, 0, 40)
    assert window.records == 4
    assert [window.holds(at) for at in (0, 39, 40)] == [True, True, False]
    assert window.locate(35) == (3, 5)
    assert Window(10, 40, 10).locate(43) == (0, 3)


def test_only_ranges_that_start_on_a_record_have_whole_records() -> None:
    window = Window(512, 1024, 4096)
    assert window.whole_records(1024, 5000) == 8
    assert window.whole_records(1025, 5000) == 0
    assert window.whole_records(1536, 1 << 40) == 7
    assert window.whole_records(1536, 511) == 0
