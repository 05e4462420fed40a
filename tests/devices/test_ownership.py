"""Two heads that share the drives of one SAN: who gets one, who is told no, and who is dismissed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ndmpd.config import Settings
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.errors import DeviceBusy, DeviceError
from ndmpd.devices.heads import FILE, Head, is_of, made_by_a_head
from ndmpd.devices.opener import Opener
from ndmpd.devices.ownership import Ownership
from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.unit import Unit
from ndmpd.errors import NdmpdError
from ndmpd.pieces import Inline
from ndmpd.ports import Command
from ndmpd.san import San
from ndmpd.san.nexus import Nexus
from ndmpd.san.registrants import Registrants
from ndmpd.san.tape import TapeDrive as SanDrive
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.reservations import RESERVE_OUT, OutAction, OutParameters
from protocol.scsi.sense import Sense
from tests.devices.script import REFUSED, ScriptedDrive

OpenHead = Callable[..., Opener]


@pytest.fixture
def head(san: San, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenHead]:
    """Openers of heads by name; each name has a state folder of its own, and all the same SAN."""
    folders: dict[str, Path] = {}
    openers: list[Opener] = []

    def head(name: str, preempt: tuple[str, ...] = ()) -> Opener:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            (folders[name] / "run").mkdir()
            (folders[name] / "san").symlink_to(san.path)
        openers.append(Opener(settings(folders[name], name, preempt)))
        return openers[-1]

    yield head
    for opener in openers:
        opener.close()


def settings(folder: Path, name: str, preempt: tuple[str, ...]) -> Settings:
    shared = {"preempt": preempt}
    return Settings.model_validate({
        "server": {"name": name, "state_dir": str(folder)}, "user": [{"name": "x", "auth": "none"}],
        "drive": {"tape0": {"device": "virtual:tape0", **shared}},
        "changer": {"mc0": {"device": "virtual:mc0", **shared}},
        "datamover": {"gw": {"type": "SCSI", "device": "virtual:tape0"}}})


def opened(opener: Opener) -> TapeDrive:
    drive = TapeDrive(opener.device("tape0"), "tape0")
    drive.open()
    return drive


def write(drive: TapeDrive, data: bytes) -> None:
    drive.write(data)


def abandon(opener: Opener) -> None:
    """What is left of a process that was killed: its registration, and nothing else."""
    opener.close()
    forsake(opener)


def forsake(opener: Opener) -> None:
    """As if the process had died, and yet a command of its were to come."""
    (Path(opener._run_dir) / "tape0.claim").unlink()


# Keys.


def test_a_head_has_one_key_for_ever(tmp_path: Path) -> None:
    one = Head.of(tmp_path, "a")
    assert Head.of(tmp_path, "a") == one and made_by_a_head(one.key)
    assert is_of(one.key, "a") and not is_of(one.key, "b")
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_heads_of_one_name_differ_and_one_with_a_new_name_is_another(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir(), (tmp_path / "2").mkdir()
    one, two = Head.of(tmp_path / "1", "a"), Head.of(tmp_path / "2", "a")
    assert one.key != two.key and two.name_of(one.key) == "a"
    renamed = Head.of(tmp_path / "1", "b")
    assert renamed.key != one.key and renamed.name_of(one.key) is None
    assert renamed.name_of(one.key, ["a"]) == "a" and Head.of(tmp_path / "1", "b") == renamed


@pytest.mark.parametrize("text", ["zz", "6e64", "0" * 16, "6e6400000000000000"])
def test_a_key_file_that_somebody_wrote_is_not_guessed_at(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(NdmpdError, match="holds no reservation key; remove it"):
        Head.of(tmp_path, "a")


def test_a_head_that_does_not_know_its_key_opens_nothing(head: OpenHead,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    opener = head("a")
    (opener._run_dir.parent / FILE).write_text("zz")
    monkeypatch.setattr(opener, "_open", lambda *_: pytest.fail("a transport that nobody closes"))
    for use in opener.device, opener.borrow:
        with pytest.raises(NdmpdError, match="holds no reservation key"):
            use("tape0")


def test_a_key_file_that_was_made_and_not_written_is_written(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    assert Head.of(tmp_path, "a") == Head.of(tmp_path, "a")


# Two heads.


@pytest.mark.parametrize("unit", ["tape0", "mc0"])
def test_what_one_head_holds_another_is_refused_with_its_name(head: OpenHead, unit: str) -> None:
    a, b = head("a"), head("b", ("c",))
    transport = a.device(unit)
    holder = rf"key {a.head.key:016x}, initiator iqn\.2026-11\.io\.ndmpd:nexus\.\w+,i,0x0+"
    with pytest.raises(DeviceBusy, match=rf"{unit} is held by another head \({holder}\)"):
        b.device(unit)
    assert transport.execute(Command(scsi.TEST_UNIT_READY.put())).status != Status.RESERVATION_CONFLICT
    transport.close()
    b.device(unit).close()


def test_a_refused_head_leaves_no_registration(head: OpenHead, connect: Callable[[str], EmbeddedTransport],
                                              ) -> None:
    a, b = head("a"), head("b")
    drive = opened(a)
    with pytest.raises(DeviceBusy):
        b.device("tape0")
    looking = Ownership(Unit(connect("tape0"), "tape0"), b.head)
    assert looking._keys() == (a.head.key,)
    drive.close()
    assert looking._keys() == () and looking.holder() is None


def test_sessions_of_one_head_are_kept_apart_on_the_spot(head: OpenHead) -> None:
    drive = opened(head("a"))
    with pytest.raises(DeviceBusy, match="in use by another session"):
        head("a").device("tape0")
    drive.close()


def test_what_a_dead_session_of_this_head_held_is_taken_over(head: OpenHead) -> None:
    dead = head("a")
    old = opened(dead)
    write(old, b"before")
    forsake(dead)
    drive = opened(head("a"))
    write(drive, b"after")
    with pytest.raises(DeviceError) as caught:
        write(old, b"ghost")
    assert caught.value.busy
    with pytest.raises(DeviceError):
        write(old, b"ghost again")
    drive.rewind()
    assert drive.position.object == 0
    drive.close()


def test_a_dead_head_keeps_what_it_held_unless_told_otherwise(head: OpenHead) -> None:
    dead = head("a")
    opened(dead)
    abandon(dead)
    with pytest.raises(DeviceBusy, match="ndmpd devices --release tape0"):
        head("b").device("tape0")
    with pytest.raises(DeviceBusy, match="held by another head"):
        head("b", ("c",)).device("tape0")
    opened(head("b", ("c", "a"))).close()
    opened(head("a")).close()


def test_a_head_that_is_preempted_while_it_writes_writes_nothing_more(head: OpenHead) -> None:
    a = opened(head("a"))
    write(a, b"mine")
    b = opened(head("b", ("a",)))
    for _ in range(2):
        with pytest.raises(DeviceError) as caught:
            write(a, b"still mine?")
        assert caught.value.busy
    b.close()
    # The drive is nobody's now, and yet not what this session believes it to be.
    with pytest.raises(DeviceError):
        write(a, b"or now?")
    assert a.position.object is None
    a.close()


def test_a_drive_freed_by_hand_tells_whose_it_was(head: OpenHead) -> None:
    dead = head("a")
    old = opened(dead)
    forsake(dead)
    b = head("b")
    said = b.release("tape0")
    assert said is not None and said.startswith(f"another head (key {dead.head.key:016x}")
    assert b.release("tape0") is None
    opened(b).close()
    with pytest.raises(DeviceError):
        write(old, b"x")


def test_a_drive_that_a_session_of_this_head_uses_is_not_freed_by_hand(head: OpenHead) -> None:
    drive = opened(head("a"))
    with pytest.raises(DeviceBusy):
        head("a").release("tape0")
    write(drive, b"fine")
    drive.close()


def test_leftovers_of_heads_are_dismissed_and_other_hosts_are_left_alone(
        head: OpenHead, connect: Callable[[str], EmbeddedTransport]) -> None:
    """A nexus that stays registered without the reservation would have access."""
    a, b = head("a"), head("b")
    ghost, stranger = connect("tape0"), connect("tape0")
    for transport, key in ((ghost, a.head.key), (stranger, 0x1234)):
        join(transport, key)
    drive = opened(b)
    assert set(Ownership(Unit(stranger, "tape0"), b.head)._keys()) == {b.head.key, 0x1234}
    results = [ghost.execute(Command(scsi.WRITE_6_TAPE.put(length=1), (Inline(b"x"),))) for _ in range(4)]
    assert Status.GOOD not in [one.status for one in results]
    assert results[-1].status == Status.RESERVATION_CONFLICT
    drive.close()


def join(transport: EmbeddedTransport, key: int) -> None:
    data = OutParameters(0, key).put()
    cdb = RESERVE_OUT[OutAction.REGISTER_AND_IGNORE].put(length=len(data))
    Unit(transport, "tape0").must("register", cdb, out=(Inline(data),))


def test_a_reset_alone_leaves_the_drive_whose_it_was(head: OpenHead, san: San) -> None:
    drive = opened(head("a"))
    write(drive, b"before")
    lose_power(san)
    write(drive, b"after")
    with pytest.raises(DeviceBusy):
        head("b").device("tape0")
    drive.close()


def test_a_drive_that_another_took_after_a_reset_is_lost(head: OpenHead, san: San) -> None:
    drive = opened(head("a"))
    lose_power(san)
    opened(head("b")).close()
    with pytest.raises(DeviceBusy, match="was taken from this session"):
        write(drive, b"x")
    drive.close()


def lose_power(san: San) -> None:
    unit = SanDrive(san, "tape0")
    with unit.exclusive(1):
        unit.registrants = Registrants()
        unit.alert(Asc.POWER_ON)
    unit.close()


# Lending.


def test_a_session_that_borrows_a_drive_has_access_until_it_gives_it_back(head: OpenHead) -> None:
    owner = opened(head("a"))
    second = head("a")
    rewind = Command(scsi.REWIND.put())
    plain = EmbeddedTransport(Path(second._run_dir).parent / "san", "tape0", Nexus(
        (Path(second._run_dir).parent / "san").resolve()))
    plain.execute(rewind)
    assert plain.execute(rewind).status == Status.RESERVATION_CONFLICT
    borrowed = second.borrow("tape0")
    assert borrowed.execute(rewind).status == Status.GOOD
    borrowed.close()
    again = second.unit("tape0")
    assert again.execute(rewind).status == Status.RESERVATION_CONFLICT
    write(owner, b"fine")
    owner.close()


def test_what_is_not_this_head_s_cannot_be_borrowed(head: OpenHead) -> None:
    with pytest.raises(DeviceBusy, match="held by nobody"):
        head("a").borrow("tape0")
    drive = opened(head("b"))
    with pytest.raises(DeviceBusy, match="held by another head"):
        head("a").borrow("tape0")
    drive.close()


def test_a_borrower_that_dies_is_gone_with_the_next_owner(head: OpenHead) -> None:
    owner, second = head("a"), head("a")
    drive = opened(owner)
    borrowed = second.borrow("tape0")
    drive.close()
    drive = opened(head("b"))
    results = [borrowed.execute(Command(scsi.WRITE_FILEMARKS_6.put(count=1))) for _ in range(4)]
    assert Status.GOOD not in [one.status for one in results]
    assert results[-1].status == Status.RESERVATION_CONFLICT
    borrowed.close()
    drive.close()


# Units that differ.


def test_unit_attentions_met_on_the_way_are_told_to_whoever_opened_the_device(head: OpenHead) -> None:
    transport = head("a").device("mc0")
    assert transport.execute(Command(scsi.INQUIRY.put())).status == Status.GOOD
    result = transport.execute(Command(scsi.TEST_UNIT_READY.put()))
    assert Sense.take(result.sense).code == Asc.POWER_ON
    assert transport.execute(Command(scsi.TEST_UNIT_READY.put())).status == Status.GOOD
    transport.close()


def test_a_unit_without_persistent_reservations_is_reserved_as_of_old(tmp_path: Path) -> None:
    script = ScriptedDrive({Opcode.PERSISTENT_RESERVE_IN: [REFUSED]})
    ownership = Ownership(Unit(script, "tape0"), Head.of(tmp_path, "a"))
    ownership.take()
    ownership.take()
    ownership.give_up()
    assert script.sent == [Opcode.PERSISTENT_RESERVE_IN, Opcode.RESERVE_6, Opcode.RESERVE_6, Opcode.RELEASE_6]


def test_a_unit_reserved_as_of_old_is_busy(
        head: OpenHead, connect: Callable[[str], EmbeddedTransport]) -> None:
    other = Unit(connect("tape0"), "tape0")
    other.reserve()
    with pytest.raises(DeviceBusy, match="reserved by another host"):
        head("a").device("tape0")
    other.release()
    opened(head("a")).close()


def test_a_claim_is_given_up_whatever_goes_wrong(head: OpenHead) -> None:
    before = len(os.listdir("/proc/self/fd"))
    a, b = opened(head("a")), head("b")
    held = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(DeviceBusy):
            b.device("tape0")
    assert len(os.listdir("/proc/self/fd")) <= held + 1, "but for the nexus of the head"
    a.close()
    assert before < held
