"""The changer: which cartridge goes where, by the SCSI commands that a scripted changer is sent."""

from __future__ import annotations

import pytest

from ndmpd.client.connection import Connection
from ndmpd.client.errors import MediaError
from ndmpd.client.media import Loaded
from ndmpd.client.robot import Library, Robot
from protocol.ndmp.codes import Code, Error
from protocol.ndmp.scsi import ScsiExecuteCdbReply, ScsiExecuteCdbRequest
from protocol.scsi.command import MOVE_MEDIUM, READ_ELEMENT_STATUS, Status
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.smc import Element, ElementType, put_element_status
from tests.client.fake_server import FakeServer, Filer

ARM, DRIVE, SLOT = 1, 256, 1024


class Changer:
    """Two drives and four slots behind the SCSI interface of a scripted server."""

    def __init__(self, drives: list[str], slots: list[str]) -> None:
        self.filer = Filer()
        self.places = {**{DRIVE + at: tag for at, tag in enumerate(drives)},
                       **{SLOT + at: tag for at, tag in enumerate(slots)}}
        self.sources: dict[int, int] = {}
        self.moves: list[tuple[int, int]] = []
        self.senses: list[Sense] = []
        self.filer.hooks[Code.SCSI_EXECUTE_CDB] = self.execute

    def execute(self, filer: Filer) -> None:
        request = filer.bodies[-1]
        assert isinstance(request, ScsiExecuteCdbRequest)
        data = b""
        if self.senses:
            filer.answers[Code.SCSI_EXECUTE_CDB] = ScsiExecuteCdbReply(
                status=Status.CHECK_CONDITION, ext_sense=self.senses.pop(0).put())
            return
        if READ_ELEMENT_STATUS.matches(request.cdb):
            assert READ_ELEMENT_STATUS.take(request.cdb)["voltag"] == 1
            data = put_element_status(tuple(self.elements()), voltag=True)[:request.datain_len]
        else:
            move = MOVE_MEDIUM.take(request.cdb)
            source, destination = move["source"], move["destination"]
            assert move["transport"] == ARM
            assert self.places[source] and not self.places[destination]
            self.places[destination], self.places[source] = self.places[source], ""
            self.sources[destination] = source
            self.moves.append((source, destination))
        filer.answers[Code.SCSI_EXECUTE_CDB] = ScsiExecuteCdbReply(datain=data)

    def elements(self) -> list[Element]:
        places = [Element(ElementType.DATA_TRANSFER if at < SLOT else ElementType.STORAGE, at, bool(tag),
                          source=self.sources.get(at) if tag else None, barcode=tag)
                  for at, tag in self.places.items()]
        return [Element(ElementType.TRANSPORT, ARM), *places]

    def bring(self, index: int, cartridge: str = "", *, cartridges: tuple[str, ...] = (),
              place: int = 0) -> Loaded:
        with FakeServer(self.filer) as server:
            connection = Connection.open(server.login().url)
            try:
                library = Library(Robot(connection, "mc0"), "tape0", place, cartridges)
                return library.bring(index, cartridge, "")
            finally:
                connection.close()


def test_a_cartridge_is_moved_from_its_slot_into_the_drive() -> None:
    changer = Changer(["", ""], ["A", "B", "C", ""])
    assert changer.bring(0, cartridges=("B",)) == Loaded("B", "tape0")
    assert changer.moves == [(SLOT + 1, DRIVE)]


def test_the_changer_is_let_go_of_after_every_move() -> None:
    changer = Changer(["", ""], ["A", "B", "C", ""])
    changer.bring(0, cartridges=("B",))
    log = changer.filer.requests()
    assert log[0] == "SCSI_OPEN"
    assert log[-2:] == ["SCSI_CLOSE", "CONNECT_CLOSE"]


def test_a_loaded_drive_is_emptied_into_the_slot_its_cartridge_came_from() -> None:
    changer = Changer(["A", ""], ["", "", "C", "D"])
    changer.sources[DRIVE] = SLOT + 1
    changer.bring(1, cartridges=("A", "D"))
    assert changer.moves == [(DRIVE, SLOT + 1), (SLOT + 3, DRIVE)]


def test_where_its_slot_is_taken_a_cartridge_goes_to_a_free_one() -> None:
    changer = Changer(["A", ""], ["B", "", "C", ""])
    changer.sources[DRIVE] = SLOT
    changer.bring(0, cartridges=("C",))
    assert changer.moves == [(DRIVE, SLOT + 1), (SLOT + 2, DRIVE)]


def test_a_cartridge_that_is_there_already_is_not_moved() -> None:
    changer = Changer(["A", ""], ["", "B", "", ""])
    assert changer.bring(0, cartridges=("A",)) == Loaded("A", "tape0")
    assert changer.bring(0) == Loaded("A", "tape0")
    assert changer.moves == []


def test_a_cartridge_may_be_named_by_its_element_and_come_from_another_drive() -> None:
    changer = Changer(["", "B"], ["A", "", "", ""])
    changer.bring(0, cartridges=(f"@{DRIVE + 1}",))
    assert changer.moves == [(DRIVE + 1, DRIVE)]


def test_the_catalogues_cartridge_is_brought_when_none_is_named() -> None:
    changer = Changer(["", ""], ["A", "B", "", ""])
    assert changer.bring(1, "B").cartridge == "B"


def test_the_second_drive_is_served_when_it_is_the_place() -> None:
    changer = Changer(["", ""], ["A", "", "", ""])
    changer.bring(0, cartridges=("A",), place=1)
    assert changer.moves == [(SLOT, DRIVE + 1)]


def test_a_missing_cartridge_is_answered_with_what_there_is() -> None:
    changer = Changer(["", ""], ["A", "B", "", ""])
    with pytest.raises(MediaError, match="Z is not in the library, which holds A, B"):
        changer.bring(0, cartridges=("Z",))


def test_a_further_cartridge_that_nobody_named_is_asked_for() -> None:
    changer = Changer(["A", ""], ["B", "", "", ""])
    with pytest.raises(MediaError, match="cartridge 2 is needed"):
        changer.bring(1)


def test_a_full_library_is_said_to_be_full() -> None:
    changer = Changer(["A", ""], ["B", "C", "D", "E"])
    with pytest.raises(MediaError, match="no slot of the library is free"):
        changer.bring(0, cartridges=("B",))


def test_a_drive_the_changer_does_not_have_is_refused() -> None:
    with pytest.raises(MediaError, match=r"2 drive\(s\)"):
        Changer(["", ""], ["A", "", "", ""]).bring(0, cartridges=("A",), place=2)


def test_unit_attentions_are_passed_over() -> None:
    changer = Changer(["", ""], ["A", "", "", ""])
    changer.senses = [Sense(SenseKey.UNIT_ATTENTION, 0x2900), Sense(SenseKey.UNIT_ATTENTION, 0x2800)]
    assert changer.bring(0, cartridges=("A",)).cartridge == "A"


def test_a_refused_move_is_quoted_and_the_changer_closed() -> None:
    changer = Changer(["", ""], ["A", "", "", ""])
    changer.senses = [Sense(SenseKey.ILLEGAL_REQUEST, 0x3B0E)]
    with pytest.raises(MediaError, match="3B/0E"):
        changer.bring(0, cartridges=("A",))
    assert "SCSI_CLOSE" in changer.filer.log


def test_a_changer_in_use_is_not_closed_by_us() -> None:
    changer = Changer(["", ""], ["A", "", "", ""])
    changer.filer.refuse[Code.SCSI_OPEN] = [Error.DEVICE_BUSY]
    with pytest.raises(Exception, match="SCSI_OPEN: DEVICE_BUSY"):
        changer.bring(0, cartridges=("A",))
    assert "SCSI_CLOSE" not in changer.filer.log
