"""SIMH export and import, and the commands of `ndmpd tape`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ndmpd.admin.tape import tape as tape_group
from ndmpd.san import San
from ndmpd.san.maintenance import at_rest, holdings
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import SenseKey
from protocol.scsi.ssc import SpaceCode
from tests.san.conftest import MIB, TapeHost

# Records "ab", "ab" and "xyz", a filemark, and nothing after it.
IMAGE = bytes.fromhex("02000000 6162 02000000" * 2 + "03000000 78797a 00 03000000 00000000 ffffffff")


def run(san: San, *words: str) -> Result:
    return CliRunner().invoke(tape_group, ["--embedded", str(san.path.parent), *words])


def fill(tape: TapeHost) -> None:
    for record in (b"ab", b"ab", b"xyz"):
        assert tape.write(record).good
    assert tape.mark().good


def test_an_export_is_a_simh_image_of_every_object(san: San, tape: TapeHost, tmp_path: Path) -> None:
    fill(tape)
    result = run(san, "export", "E01001L8", str(tmp_path / "one.tap"))
    assert result.exit_code == 0 and "3 records, 1 filemarks, 7 B" in result.output
    assert (tmp_path / "one.tap").read_bytes() == IMAGE
    assert tape.position() == (4, 1)


def test_an_import_makes_the_tape_that_was_exported(san: San, tape: TapeHost, tmp_path: Path) -> None:
    (tmp_path / "one.tap").write_bytes(IMAGE)
    tape.write(b"old")
    result = run(san, "import", "E01001L8", str(tmp_path / "one.tap"))
    assert result.exit_code == 0, result.output
    assert tape.read(2).is_check(SenseKey.UNIT_ATTENTION, Asc.MEDIUM_MAY_HAVE_CHANGED)
    assert [tape.read(3, sili=1).data for _ in range(3)] == [b"ab", b"ab", b"xyz"]
    assert tape.space(SpaceCode.FILEMARKS, 1).good and tape.position() == (4, 1)
    assert tape.read(1).is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)


def test_long_runs_go_out_and_come_back(san: San, tape: TapeHost, tmp_path: Path) -> None:
    tape.set_block_length(101)
    data = bytes(number % 251 for number in range(101 * 1500))
    tape.write_fixed(data, 1500)
    tape.mark(3)
    path = str(tmp_path / "long.tap")
    assert run(san, "export", "E01001L8", path).exit_code == 0
    assert run(san, "import", "E01003L8", path).exit_code == 0
    (found,) = [one for one in holdings(san) if one.barcode == "E01003L8"]
    assert (found.records, found.marks, found.used) == (1500, 3, len(data))
    assert run(san, "export", "E01003L8", path + "2").exit_code == 0
    assert Path(path).read_bytes() == Path(path + "2").read_bytes()


def test_an_import_under_a_new_name_is_a_new_cartridge(san: San, tmp_path: Path) -> None:
    (tmp_path / "one.tap").write_bytes(IMAGE)
    assert run(san, "import", "NEW001", str(tmp_path / "one.tap")).exit_code == 0
    (found,) = [one for one in holdings(san) if one.barcode == "NEW001"]
    assert found.place == "mail slot 0010h" and found.records == 3 and found.capacity == 8 << 30
    bad = run(san, "import", "../NEW", str(tmp_path / "one.tap"))
    assert bad.exit_code == 1 and "cannot be a barcode" in bad.output


@pytest.mark.parametrize(("image", "words"), [
    (IMAGE[:-12], "cut off"), (b"no tape image at all", "not a SIMH tape image")])
def test_a_bad_image_is_refused_and_the_tape_stays(san: San, tape: TapeHost, tmp_path: Path, image: bytes,
                                                   words: str) -> None:
    tape.write(b"old")
    (tmp_path / "bad.tap").write_bytes(image)
    result = run(san, "import", "E01001L8", str(tmp_path / "bad.tap"))
    assert result.exit_code == 1 and words in result.output
    tape.clear_attentions()
    tape.rewind()
    assert tape.read(3).data == b"old"


def test_an_image_larger_than_the_cartridge_is_refused(san: San, tmp_path: Path) -> None:
    size = 5 * MIB
    word = size.to_bytes(4, "little")
    (tmp_path / "big.tap").write_bytes(word + bytes(size) + word)
    result = run(san, "import", "E01001L8", str(tmp_path / "big.tap"))
    assert result.exit_code == 1 and "under a new name" in result.output


@pytest.mark.parametrize("words", [("export", "E01001L8", "x.tap"), ("erase", "E01001L8"),
                                   ("label", "E01001L8", "mine")])
def test_a_cartridge_that_a_session_uses_is_left_alone(san: San, tape: TapeHost, tmp_path: Path,
                                                       words: tuple[str, ...]) -> None:
    fill(tape)
    tape.send(scsi.RESERVE_6.put())
    result = run(san, *(str(tmp_path / word) if word.endswith(".tap") else word for word in words))
    assert result.exit_code == 1 and "which a session uses" in result.output
    tape.send(scsi.RELEASE_6.put())
    assert tape.position() == (4, 1)


def test_a_drive_answers_while_its_cartridge_is_taken_at_rest(san: San, tape: TapeHost) -> None:
    with at_rest(san, "E01001L8", changing=False):
        assert tape.send(scsi.TEST_UNIT_READY.put()).good
        assert tape.rewind().status == Status.RESERVATION_CONFLICT
    assert tape.rewind().good


def test_the_list_says_where_cartridges_are_and_what_is_on_them(san: San, tape: TapeHost) -> None:
    fill(tape)
    run(san, "label", "E01003L8", "off-site", "--protect")
    found = {one["barcode"]: one for one in json.loads(run(san, "list", "--json").output)}
    assert list(found) == [f"E0100{number}L8" for number in range(1, 5)]
    first = found["E01001L8"]
    assert (first["place"], first["records"], first["used"]) == ("tape0", 3, 7)
    assert (found["E01003L8"]["place"], found["E01003L8"]["protected"]) == ("slot 1002h", True)
    table = run(san, "list").output
    assert "off-site (write protected)" in table and "4.0 MiB" in table


def test_a_label_and_the_write_protect_tab_stay_with_the_cartridge(san: San, tape: TapeHost,
                                                                   tmp_path: Path) -> None:
    assert "write protected" in run(san, "label", "E01001L8", "week 47", "--protect").output
    tape.clear_attentions()
    assert tape.write(b"x").is_check(SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED)
    (tmp_path / "one.tap").write_bytes(IMAGE)
    for words in (("erase", "E01001L8"), ("import", "E01001L8", str(tmp_path / "one.tap"))):
        result = run(san, *words)
        assert result.exit_code == 1 and "write protected" in result.output
    assert "'week 47', writable" in run(san, "label", "E01001L8", "--unprotect").output
    tape.clear_attentions()
    assert tape.write(b"x").good
    assert run(san, "label", "E01001L8").exit_code == 2
    assert run(san, "label", "E01001L8", "two\nlines").exit_code == 2


def test_an_erased_cartridge_is_blank_and_takes_no_disk_space(san: San, tape: TapeHost) -> None:
    fill(tape)
    assert run(san, "erase", "E01001L8").exit_code == 0
    tape.clear_attentions()
    assert tape.read(1).is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)
    assert (san.cartridges / "E01001L8" / "data").stat().st_size == 0


def test_unknown_cartridges_and_folders_are_named(san: San, tmp_path: Path) -> None:
    result = run(san, "erase", "NOPE")
    assert result.exit_code == 1 and "ndmpd tape list" in result.output
    nowhere = CliRunner().invoke(tape_group, ["--embedded", str(tmp_path / "no"), "list"])
    assert nowhere.exit_code == 1 and "holds no embedded SAN" in nowhere.output
