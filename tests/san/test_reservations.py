"""PERSISTENT RESERVE IN and OUT: what each service action does to registrations and reservations."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from ndmpd.san import San
from ndmpd.san.copymanager.unit import CopyManagerUnit
from ndmpd.san.nexus import Nexus, nexus_of, port_of
from ndmpd.san.registrants import MAX_REGISTRATIONS, Registrants
from ndmpd.san.statefile import StateFile
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.reservations import (
    RESERVE_IN,
    RESERVE_OUT,
    Capabilities,
    CurrentReservation,
    FullStatus,
    InAction,
    Keys,
    MoveParameters,
    OutAction,
    OutParameters,
    Registrant,
    ReservationType,
)
from protocol.scsi.sense import SenseKey
from protocol.scsi.transportid import IscsiPort, OtherPort
from tests.san.conftest import Host, Outcome, refused
from tests.san.test_crashes import died

TYPES = tuple(ReservationType)
EA, EARO, EAAR = (ReservationType.EXCLUSIVE_ACCESS, ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS,
                  ReservationType.EXCLUSIVE_ACCESS_ALL)
WEAR = ReservationType.WRITE_EXCLUSIVE_ALL
A, B, C = 0xA, 0xB, 0xC



class Party(Host):
    """One nexus at disk0, and the key that it uses unless told otherwise."""

    def __init__(self, san: San, key: int, name: str | None = None, unit: str = "disk0") -> None:
        super().__init__(san, unit, Nexus(san.path, name))
        self.key = key

    def out(self, action: OutAction, key: int = 0, other: int = 0, kind: int = 0, *,
            aptpl: bool = False) -> Outcome:
        parameters = OutParameters(key, other, aptpl).put()
        return self.send(RESERVE_OUT[action].put(type=kind, length=24), parameters)

    def join(self, *, aptpl: bool = False) -> Party:
        assert self.out(OutAction.REGISTER, 0, self.key, aptpl=aptpl).good
        return self

    def leave(self) -> Outcome:
        return self.out(OutAction.REGISTER, self.key, 0)

    def reserve(self, kind: int) -> Outcome:
        return self.out(OutAction.RESERVE, self.key, kind=kind)

    def release(self, kind: int) -> Outcome:
        return self.out(OutAction.RELEASE, self.key, kind=kind)

    def preempt(self, other: int, kind: int = EA) -> Outcome:
        return self.out(OutAction.PREEMPT, self.key, other, kind)

    def ask(self, action: InAction, size: int = 16384) -> bytes:
        outcome = self.send(RESERVE_IN[action].put(allocation=size), room=size)
        assert outcome.good
        return outcome.data

    @property
    def keys(self) -> Keys:
        return Keys.take(self.ask(InAction.READ_KEYS))

    @property
    def reservation(self) -> tuple[int | None, int]:
        """Type and key of the holder."""
        found = CurrentReservation.take(self.ask(InAction.READ_RESERVATION))
        return found.type, found.key

    @property
    def attentions(self) -> list[int]:
        """The unit attentions that wait, which are then gone."""
        found = []
        while (outcome := self.send(scsi.TEST_UNIT_READY.put())).sense is not None:
            assert outcome.sense.key is SenseKey.UNIT_ATTENTION
            found.append(outcome.sense.code)
        return found


def conflict(outcome: Outcome) -> bool:
    return outcome.status == Status.RESERVATION_CONFLICT


@pytest.fixture
def parties(san: San) -> Iterator[tuple[Party, Party, Party]]:
    three = Party(san, A), Party(san, B), Party(san, C)
    yield three
    for one in three:
        one.close()


@pytest.mark.parametrize("unit", ["disk0", "tape0", "mc0", "copy0"])
def test_every_kind_of_unit_can_be_reserved(san: San, unit: str) -> None:
    one, other = Party(san, A, unit=unit).join(), Party(san, B, unit=unit)
    assert one.reserve(EARO).good
    assert other.reservation == (EARO, A)
    assert conflict(other.send(scsi.MODE_SELECT_6.put(pf=1)))
    data = one.send(scsi.REPORT_SUPPORTED_OPCODES.put(allocation=4096), room=4096).data
    told = {(data[at], data[at + 3]) for at in range(4, len(data), 8)}
    assert {(0x5E, action) for action in InAction} | {(0x5F, action) for action in OutAction} <= told


def test_registering_wants_the_key_that_is_registered(parties: tuple[Party, Party, Party]) -> None:
    one, other, _ = parties
    assert conflict(one.out(OutAction.REGISTER, A, A)) and one.keys == Keys(0)
    assert one.out(OutAction.REGISTER, 0, 0).good and one.keys == Keys(0)
    one.join()
    other.join()
    assert one.keys == Keys(2, (A, B))
    assert conflict(one.out(OutAction.REGISTER, 0, C)) and conflict(one.out(OutAction.REGISTER, B, C))
    assert one.out(OutAction.REGISTER, A, C).good and one.keys == Keys(3, (C, B))
    assert one.out(OutAction.REGISTER, C, 0).good and one.keys == Keys(4, (B,))


def test_registering_whatever_was_registered_before(parties: tuple[Party, Party, Party]) -> None:
    one, _, _ = parties
    ignore = OutAction.REGISTER_AND_IGNORE
    assert one.out(ignore, 0x999, 0).good and one.keys == Keys(0)
    assert one.out(ignore, 0x999, A).good and one.out(ignore, 0x999, B).good
    assert one.keys == Keys(2, (B,))
    assert one.out(ignore, 0x999, 0).good and one.keys == Keys(3)


@pytest.mark.parametrize("kind", TYPES)
def test_a_reservation_is_made_seen_and_given_up(parties: tuple[Party, Party, Party],
                                                 kind: ReservationType) -> None:
    one, other, stranger = parties
    assert conflict(one.reserve(kind)), "who is not registered cannot reserve"
    one.join(), other.join()
    assert conflict(one.out(OutAction.RESERVE, B, kind=kind)), "the key is another's"
    assert one.reserve(kind).good and one.reserve(kind).good
    assert stranger.reservation == (kind, 0 if kind.held_by_all else A)
    wrong = next(another for another in TYPES if another is not kind)
    assert conflict(one.reserve(wrong)) and conflict(stranger.release(kind))
    assert other.reserve(kind).good is kind.held_by_all
    assert one.release(wrong).is_check(SenseKey.ILLEGAL_REQUEST, Asc.INVALID_RELEASE)
    assert conflict(one.out(OutAction.RELEASE, B, kind=kind))
    assert one.release(kind).good and one.release(kind).good
    assert one.reservation == (None, 0) and one.keys == Keys(2, (A, B)), "registrations stay"
    assert other.attentions == ([Asc.RESERVATIONS_RELEASED] if kind.admits_registrants else [])
    assert one.attentions == [] and stranger.attentions == []


def test_a_release_by_another_registrant_does_nothing(parties: tuple[Party, Party, Party]) -> None:
    one, other, _ = parties
    one.join(), other.join()
    assert one.reserve(EARO).good and other.release(EARO).good
    assert one.reservation == (EARO, A)


@pytest.mark.parametrize("kind", TYPES)
def test_a_reservation_goes_with_the_registration_of_its_last_holder(
        parties: tuple[Party, Party, Party], kind: ReservationType) -> None:
    one, other, _ = parties
    one.join(), other.join()
    assert one.reserve(kind).good and one.leave().good
    if kind.held_by_all:
        assert other.reservation == (kind, 0) and other.attentions == []
        assert other.leave().good
    else:
        assert other.attentions == ([Asc.RESERVATIONS_RELEASED] if kind.admits_registrants else [])
    assert other.reservation == (None, 0)


def test_what_the_cdb_says_of_scope_and_type_is_checked(parties: tuple[Party, Party, Party]) -> None:
    one = parties[0].join()
    for kind in (0, 2, 4, 9, 15):
        for action in (OutAction.RESERVE, OutAction.RELEASE, OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT):
            assert refused(one.out(action, A, A, kind))
    cdb = RESERVE_OUT[OutAction.RESERVE].put(scope=1, type=EA, length=24)
    assert refused(one.send(cdb, OutParameters(A).put()))
    # These have no use for either.
    cdb = RESERVE_OUT[OutAction.REGISTER_AND_IGNORE].put(scope=1, type=15, length=24)
    assert one.send(cdb, OutParameters(0, B).put()).good


@pytest.mark.parametrize(("data", "code"), [
    (bytes(23), Asc.PARAMETER_LIST_LENGTH), (bytes(25), Asc.PARAMETER_LIST_LENGTH),
    (b"", Asc.PARAMETER_LIST_LENGTH),
    (bytes(20) + b"\x08" + bytes(3), Asc.INVALID_FIELD_IN_PARAMETERS),
    (bytes(20) + b"\x04" + bytes(3), Asc.INVALID_FIELD_IN_PARAMETERS),
], ids=["short", "long", "none", "other initiators", "all target ports"])
def test_parameter_lists_that_cannot_be(parties: tuple[Party, Party, Party], data: bytes, code: int) -> None:
    for action in OutAction:
        outcome = parties[0].send(RESERVE_OUT[action].put(type=EA, length=len(data)), data)
        if action is not OutAction.REGISTER_AND_MOVE:
            assert refused(outcome, code)
    assert parties[0].keys == Keys(0)


def test_service_actions_that_there_are_not(parties: tuple[Party, Party, Party]) -> None:
    for action in range(0x20):
        if action not in list(InAction):
            assert refused(parties[0].send(bytes((0x5E, action, 0, 0, 0, 0, 0, 0, 255, 0)), room=255))
        if action not in list(OutAction):
            assert refused(parties[0].send(bytes((0x5F, action, 0, 0, 0, 0, 0, 0, 24, 0)), bytes(24)))


def test_clear_ends_everything_and_tells_the_others(parties: tuple[Party, Party, Party]) -> None:
    one, other, stranger = parties
    one.join(), other.join()
    assert one.reserve(EA).good
    assert conflict(stranger.out(OutAction.CLEAR, 0)) and conflict(other.out(OutAction.CLEAR, A))
    assert other.out(OutAction.CLEAR, B).good
    assert other.keys == Keys(3) and other.reservation == (None, 0)
    assert one.attentions == [Asc.RESERVATIONS_PREEMPTED]
    assert other.attentions == stranger.attentions == []


@pytest.mark.parametrize("kind", [one for one in TYPES if not one.held_by_all])
def test_preempting_the_holder_takes_its_reservation(parties: tuple[Party, Party, Party],
                                                     kind: ReservationType) -> None:
    one, other, third = parties
    one.join(), other.join(), third.join()
    assert one.reserve(kind).good and other.preempt(A, EARO).good
    assert other.reservation == (EARO, B) and other.keys == Keys(4, (B, C))
    assert one.attentions == [Asc.REGISTRATIONS_PREEMPTED] and other.attentions == []
    assert third.attentions == ([] if kind is EARO else [Asc.RESERVATIONS_RELEASED])


def test_preempting_another_takes_its_registration_alone(parties: tuple[Party, Party, Party]) -> None:
    one, other, third = parties
    one.join(), other.join(), third.join()
    assert one.reserve(EARO).good and other.preempt(C).good
    assert one.reservation == (EARO, A) and one.keys == Keys(4, (A, B))
    assert third.attentions == [Asc.REGISTRATIONS_PREEMPTED] and one.attentions == other.attentions == []
    assert other.preempt(B).good, "a registrant may end its own registration so"
    assert one.keys == Keys(5, (A,)) and other.attentions == []


def test_preempting_one_s_own_key_leaves_the_sender_alone_with_it(
        parties: tuple[Party, Party, Party]) -> None:
    """How whoever comes back by another nexus takes over what it held before."""
    one, other, third = parties
    other.key = third.key = A
    one.join(), other.join(), third.join()
    assert one.reserve(EARO).good and other.preempt(A, EARO).good
    assert other.reservation == (EARO, A) and other.keys == Keys(4, (A,))
    assert one.attentions == third.attentions == [Asc.REGISTRATIONS_PREEMPTED]
    assert other.preempt(A, EARO).good and other.reservation == (EARO, A)
    assert conflict(one.reserve(EARO))


def test_where_all_hold_it_zero_preempts_them_all(parties: tuple[Party, Party, Party]) -> None:
    one, other, third = parties
    one.join(), other.join(), third.join()
    assert one.reserve(EAAR).good and other.preempt(A).good
    assert other.reservation == (EAAR, 0) and other.keys == Keys(4, (B, C))
    assert third.preempt(0, WEAR).good
    assert third.reservation == (WEAR, 0) and third.keys == Keys(5, (C,))
    assert third.preempt(C).good and third.reservation == (None, 0) and third.keys == Keys(6)


def test_preempting_nobody_is_refused(parties: tuple[Party, Party, Party]) -> None:
    one, other, stranger = parties
    one.join(), other.join()
    assert conflict(stranger.preempt(A)) and conflict(one.out(OutAction.PREEMPT, B, B, EA))
    assert conflict(one.preempt(C))
    assert refused(one.preempt(0), Asc.INVALID_FIELD_IN_PARAMETERS)
    assert one.reserve(EA).good
    assert conflict(one.preempt(C)) and refused(one.preempt(0), Asc.INVALID_FIELD_IN_PARAMETERS)
    assert one.keys == Keys(2, (A, B))


def test_a_reservation_moves_to_a_nexus_that_need_not_be_there_yet(san: San) -> None:
    name = "iqn.2026-11.org.head:b,i,0x00023d000002"
    one, other = Party(san, A).join(), Party(san, B).join()

    def move(party: Party, port: IscsiPort | OtherPort, key: int = A, fresh: int = C, **more: int) -> Outcome:
        data = MoveParameters(key, fresh, port, **more).put()  # type: ignore[arg-type]
        return party.send(RESERVE_OUT[OutAction.REGISTER_AND_MOVE].put(length=len(data)), data)

    port = IscsiPort.parse(name)
    assert port is not None
    assert refused(move(one, port)), "there is no reservation"
    assert one.reserve(EA).good
    assert conflict(move(other, port, B)) and conflict(move(one, port, B))
    for wrong in (move(one, port, fresh=0), move(one, port, relative_port=2), move(one, IscsiPort("iqn.x")),
                  move(one, OtherPort(bytes(24))), move(one, port_of(one.nexus.id))):
        assert refused(wrong, Asc.INVALID_FIELD_IN_PARAMETERS)
    assert refused(one.send(RESERVE_OUT[OutAction.REGISTER_AND_MOVE].put(length=24), bytes(24)),
                   Asc.INVALID_FIELD_IN_PARAMETERS)
    assert move(one, port).good and one.keys == Keys(3, (A, B, C))
    later = Party(san, C, name)
    assert later.reservation == (EA, C) and later.send(scsi.READ_10.put(blocks=1), room=512).good
    assert conflict(one.send(scsi.READ_10.put(blocks=1), room=512))
    assert move(later, port_of(one.nexus.id), C, 0xD, unregister=1).good
    assert one.keys == Keys(4, (0xD, B)) and one.reservation == (EA, 0xD)


def test_nothing_moves_where_all_hold_it(parties: tuple[Party, Party, Party]) -> None:
    one = parties[0].join()
    assert one.reserve(EAAR).good
    data = MoveParameters(A, C, IscsiPort("iqn.a", 1)).put()
    assert conflict(one.send(RESERVE_OUT[OutAction.REGISTER_AND_MOVE].put(length=len(data)), data))


def test_full_status_names_the_initiator_ports(san: San) -> None:
    name = "iqn.2026-11.org.head:a,i,0x00023d000001"
    one, other = Party(san, A, name).join(), Party(san, B).join()
    assert one.reserve(EARO).good
    made_up = IscsiPort(f"iqn.2026-11.io.ndmpd:nexus.{other.nexus.id}", 0)
    assert FullStatus.take(other.ask(InAction.READ_FULL_STATUS)) == FullStatus(2, (
        Registrant(A, IscsiPort("iqn.2026-11.org.head:a", 0x00023D000001), EARO), Registrant(B, made_up)))
    assert nexus_of(made_up) == other.nexus.id
    assert Keys.take(one.ask(InAction.READ_KEYS, 8)) == Keys(2), "the allocation length cuts"
    assert one.ask(InAction.READ_KEYS, 8)[4:] == (16).to_bytes(4, "big")


def test_capabilities_are_what_is_carried_out(parties: tuple[Party, Party, Party]) -> None:
    one = parties[0]
    assert Capabilities.take(one.ask(InAction.REPORT_CAPABILITIES)) == Capabilities()
    one.join(aptpl=True)
    assert Capabilities.take(one.ask(InAction.REPORT_CAPABILITIES)) == Capabilities(aptpl_active=True)


def test_registrations_are_bounded(san: San) -> None:
    one = Party(san, A).join()
    crowd = Registrants({**{f"n{number}": 1 for number in range(MAX_REGISTRATIONS - 1)}, one.nexus.id: A})
    unit = CopyManagerUnit(san, "disk0")
    with unit.exclusive(1):
        unit.registrants = crowd
    other = Party(san, B)
    assert other.out(OutAction.REGISTER, 0, B).is_check(
        SenseKey.ILLEGAL_REQUEST, Asc.INSUFFICIENT_REGISTRATION_RESOURCES)
    assert one.out(OutAction.REGISTER, A, C).good, "who is registered may change the key"
    one.key = C
    assert one.preempt(1).good and other.join().keys.keys == (C, B)


def test_reservations_outlive_their_nexus(san: San) -> None:
    name = "iqn.2026-11.org.head:a,i,0x00023d000001"
    one, other = Party(san, A, name).join(), Party(san, B)
    assert one.reserve(EA).good
    one.close()
    assert conflict(other.send(scsi.READ_10.put(blocks=1), room=512))
    assert Party(san, A, name).send(scsi.READ_10.put(blocks=1), room=512).good


@pytest.mark.parametrize("aptpl", [False, True])
def test_a_loss_of_power_ends_them_unless_they_were_to_stay(san: San, aptpl: bool) -> None:
    one = Party(san, A, "head").join(aptpl=aptpl)
    assert one.reserve(EARO).good
    one.close()
    kept = StateFile(san.state_path("disk0.reservations"))
    state = json.loads(kept.load() or b"")
    kept.store(json.dumps({**state, "boot": "the one before"}).encode())
    again = Party(san, B, "head")
    assert again.keys == Keys(0, (A,) if aptpl else ())
    assert again.reservation == ((EARO, A) if aptpl else (None, 0))
    assert Party(san, C).join().keys.generation == 1


@pytest.mark.parametrize("half", [False, True])
def test_a_process_that_dies_leaves_a_reservation_as_it_was_or_as_it_was_to_be(san: San, half: bool) -> None:
    fatal = 0
    while True:
        first, second = Party(san, A).join(aptpl=True), Party(san, B).join(aptpl=True)
        assert first.reserve(EARO).good
        ended = not died(lambda: second.preempt(A, EA), fatal, half)  # noqa: B023
        witness = Party(san, C)
        found = witness.reservation, witness.keys.keys
        assert found in (((EARO, A), (A, B)), ((EA, B), (B,)))
        if found[0] == (EA, B):
            assert Asc.REGISTRATIONS_PREEMPTED in first.attentions, "nobody loses a reservation unawares"
        last = second if found[0] == (EA, B) else first
        # A warning of what then did not come about does no harm.
        last.clear_attentions()
        assert last.out(OutAction.CLEAR, last.key).good
        if ended:
            break
        fatal += 1
    assert fatal >= 2


def test_reserve_and_release_do_nothing_for_registrants(parties: tuple[Party, Party, Party]) -> None:
    one, other, stranger = parties
    reserve, release = scsi.RESERVE_6.put(), scsi.RELEASE_6.put()
    one.join()
    for party in parties:
        assert conflict(party.send(reserve)) and conflict(party.send(release)), "registered, not reserved"
    assert one.reserve(EARO).good
    other.join()
    for party in (one, other):
        assert party.send(reserve).good and party.send(release).good
    assert conflict(stranger.send(reserve)) and conflict(stranger.send(release))
    assert one.reservation == (EARO, A)
    assert one.out(OutAction.CLEAR, A).good and stranger.send(reserve).good
    assert conflict(one.out(OutAction.REGISTER, 0, A)) and conflict(
        stranger.send(RESERVE_IN[InAction.READ_KEYS].put(allocation=8), room=8))
    assert stranger.send(release).good and one.join().keys.keys == (A,)


def test_random_service_actions_keep_the_rules(san: San) -> None:
    """A holder is registered, a generation never goes back, and nothing changes where a command fails."""
    dice = random.Random(5)
    parties = [Party(san, 0, f"n{number}") for number in range(4)]
    keys = (0, 1, 2, 3)
    before, reserved = parties[0].keys, parties[0].reservation
    counted = dict.fromkeys((Status.GOOD, Status.CHECK_CONDITION, Status.RESERVATION_CONFLICT), 0)
    for _ in range(1500):
        party = dice.choice(parties)
        party.clear_attentions()
        action = dice.choice([one for one in OutAction if one is not OutAction.REGISTER_AND_MOVE])
        outcome = party.out(action, dice.choice(keys), dice.choice(keys), dice.choice(TYPES))
        counted[Status(outcome.status)] += 1
        party.clear_attentions()
        found, reservation = party.keys, party.reservation
        counts = not outcome.good or action in (OutAction.RESERVE, OutAction.RELEASE)
        assert found.generation - before.generation in ((0,) if counts else (0, 1))
        if not outcome.good:
            assert (found.keys, reservation) == (before.keys, reserved)
        kind, key = reservation
        if kind is not None:
            assert key in found.keys or (ReservationType(kind).held_by_all and not key)
            assert found.keys
        before, reserved = found, reservation
    assert min(counted.values()) > 20
