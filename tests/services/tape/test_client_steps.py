"""The sequences that the reference client's own tape test goes through, in both versions."""

import pytest

from protocol.ndmp.codes import Error, TapeMtioOp, Version
from tests.services.tape.dma import RDWR, READ, UNKNOWN

BSF, BSR, EOF, FSF, FSR, REW = (
    TapeMtioOp.BSF, TapeMtioOp.BSR, TapeMtioOp.EOF, TapeMtioOp.FSF, TapeMtioOp.FSR, TapeMtioOp.REW)
FILES = ((1, 512), (100, 1024), (1, 512), (100, 139), (1, 512), (99, 10240), (1, 512), (3, 32768), (1, 512))


def content(size: int, record: int, file: int) -> bytes:
    return bytes((record + file * 7 + place) & 0xFF for place in range(16)) * (size // 16 + 1)


def record_of(file: int, record: int) -> bytes:
    size = FILES[file][1]
    return content(size, record, file)[:size]


def end_of_data(dma) -> Error:
    return Error.EOM if dma.version >= Version.V4 else Error.EOF


def write_label(dma) -> None:
    """One record of 1024 bytes and a filemark at the beginning of the tape."""
    assert dma.open() == Error.NO_ERR
    assert dma.move(REW) == 0
    assert dma.write(b"L" * 1024) == (Error.NO_ERR, 1024)
    assert dma.move(EOF) == 0
    assert dma.move(REW) == 0
    assert dma.close() == Error.NO_ERR


def test_opening_and_closing(dma):
    assert dma.close() == Error.DEV_NOT_OPEN
    assert dma.open(READ, "bogus") == Error.NO_DEVICE
    assert dma.open(123) == Error.ILLEGAL_ARGS
    assert dma.open(READ) == Error.NO_ERR
    assert dma.close() == Error.NO_ERR
    assert dma.open(RDWR) == Error.NO_ERR
    assert dma.close() == Error.NO_ERR


def test_state_needs_an_open_drive(dma):
    assert dma.state().error == Error.DEV_NOT_OPEN
    dma.open(READ)
    assert dma.state().error == Error.NO_ERR


def test_writing_needs_a_drive_opened_for_it(dma):
    assert dma.write(b"x" * 1024)[0] == Error.DEV_NOT_OPEN
    dma.open(READ)
    assert dma.write(b"x" * 1024) == (Error.PERMISSION, 0)
    assert dma.mtio(REW) == (Error.NO_ERR, 0)
    dma.close()
    dma.open(RDWR)
    assert dma.write(b"") == (Error.NO_ERR, 0)
    assert dma.mtio(REW) == (Error.NO_ERR, 0)


def test_reading_odd_counts(dma):
    assert dma.read(1024)[0] == Error.DEV_NOT_OPEN
    dma.open(READ)
    assert dma.read(0) == (Error.NO_ERR, b"")
    assert dma.read(0x80000000) == (Error.ILLEGAL_ARGS, b"")


@pytest.mark.parametrize(("count", "comes"), [(1024, 1024), (2048, 1024), (512, 512)])
@pytest.mark.parametrize("mode", [READ, RDWR])
def test_reading_a_record_by_its_size_more_or_less(dma, count, comes, mode):
    write_label(dma)
    dma.open(mode)
    assert dma.read(count) == (Error.NO_ERR, b"L" * comes)
    assert dma.read(count) == (Error.EOF, b"")


def test_spacing_around_a_single_filemark(dma):
    dma.open()
    dma.move(REW)
    assert dma.move(BSR, 100) == 100
    assert dma.move(BSF, 100) == 100
    assert dma.move(EOF) == 0
    assert dma.move(BSF, 100) == 99
    assert dma.move(FSF, 100) == 99
    assert dma.read(65536)[0] == end_of_data(dma)
    assert dma.read(1024)[0] == end_of_data(dma)


def test_spacing_around_a_single_record_makes_no_filemark(dma):
    dma.open()
    dma.move(REW)
    assert dma.write(b"x" * 512) == (Error.NO_ERR, 512)
    assert dma.move(BSR, 100) == 99
    assert dma.move(FSR, 100) == 99
    assert dma.move(FSR, 100) == 100
    assert dma.move(FSF, 100) == 100
    assert dma.close() == Error.NO_ERR
    dma.open()
    dma.move(REW)
    assert dma.read(512)[0] == Error.NO_ERR
    assert dma.read(512)[0] == end_of_data(dma)


@pytest.mark.parametrize("count", [1024, 65536])
def test_writing_a_label_and_reading_it_back(dma, count):
    for _ in range(2):
        write_label(dma)
        dma.open()
        dma.move(REW)
        assert dma.read(count) == (Error.NO_ERR, b"L" * 1024)
        assert dma.read(1024)[0] == Error.EOF
        if dma.version >= Version.V4:
            assert dma.move(FSF) == 0
        assert dma.read(1024)[0] == end_of_data(dma)
        assert dma.close() == Error.NO_ERR


def write_series(dma) -> None:
    dma.open()
    for file, (records, size) in enumerate(FILES):
        for number in range(records):
            assert dma.write(record_of(file, number)) == (Error.NO_ERR, size)
            assert dma.at() == (file, number + 1)
        assert dma.move(EOF) == 0
        assert dma.at() == (file + 1, 0)
    dma.move(REW)
    dma.close()


def test_a_series_of_files_is_read_as_written(dma):
    write_series(dma)
    dma.open(READ)
    for file, (records, size) in enumerate(FILES):
        for number in range(records):
            assert dma.read(size) == (Error.NO_ERR, record_of(file, number))
            assert dma.at() == (file, number + 1)
        assert dma.read(size)[0] == Error.EOF
        if dma.version >= Version.V4:
            assert dma.at() == (file, UNKNOWN)
            assert dma.move(FSF) == 0
        assert dma.at() == (file + 1, 0)


def seek_around(dma, file: int) -> None:
    records, size = FILES[file]
    old = dma.version < Version.V4
    assert dma.move(REW) == 0
    assert dma.at() == (0, 0)
    assert dma.move(FSF, file) == 0
    assert dma.at() == (file, 0)
    assert dma.move(FSR, 1_000_000) == 1_000_000 - records
    if old:
        assert dma.at() == (file + 1, 0)
        assert dma.move(BSF) == 0
        assert dma.at() == (file, UNKNOWN)
    else:
        assert dma.at() == (file, records)
    assert dma.move(BSR, 1_000_000) == 1_000_000 - records
    if old and file:
        assert dma.at() == (file - 1, UNKNOWN)
        assert dma.move(FSF) == 0
    assert dma.at() == (file, 0)
    assert dma.move(FSR, 0) == 0
    assert dma.at() == (file, 0)
    middle = records // 2
    assert dma.move(FSR, middle) == 0
    assert dma.at() == (file, middle)
    assert dma.read(size) == (Error.NO_ERR, record_of(file, middle))
    if middle:
        assert dma.move(BSR, 2) == 0
        assert dma.at() == (file, middle - 1)
        assert dma.read(size) == (Error.NO_ERR, record_of(file, middle - 1))


def test_seeking_around_in_every_file(dma):
    write_series(dma)
    dma.open(READ)
    for file in range(len(FILES)):
        seek_around(dma, file)
