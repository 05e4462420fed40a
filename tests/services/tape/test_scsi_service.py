"""SCSI: pass-through to the changer of the embedded SAN."""

import pytest

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.errors import CommandTimeout, DeviceBusy
from ndmpd.ports import Result
from ndmpd.san.nexus import Nexus
from ndmpd.services.scsi import MAX_DATA, ScsiService
from protocol.ndmp import scsi
from protocol.ndmp.codes import Error, ScsiDataDir
from protocol.scsi import command
from protocol.scsi.command import Status
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.smc import ElementStatus, ElementType
from tests.devices.script import ScriptedDrive


@pytest.fixture
def service(san):
    with Nexus(san.path) as nexus:
        service = ScsiService(lambda name: EmbeddedTransport(san.path, name, nexus))
        yield service
        service.close()


def execute(service, cdb, *, flags=0, room=0, data=b"", timeout=0):
    return service.perform(scsi.ScsiExecuteCdbRequest(flags, timeout, room, cdb, data))


def opened(service):
    assert service.perform(scsi.ScsiOpenRequest("mc0")).error == Error.NO_ERR
    # The first command of a new nexus meets the power-on attention: the DMA's to see.
    assert execute(service, command.TEST_UNIT_READY.put()).status == Status.CHECK_CONDITION
    return service


def test_every_request_but_open_needs_an_open_device(service):
    for request in (scsi.ScsiCloseRequest(), scsi.ScsiGetStateRequest(), scsi.ScsiResetDeviceRequest()):
        assert service.perform(request).error == Error.DEV_NOT_OPEN
    assert execute(service, bytes(6)).error == Error.DEV_NOT_OPEN


def test_a_device_that_does_not_exist_is_refused(service):
    assert service.perform(scsi.ScsiOpenRequest("bogus")).error == Error.NO_DEVICE
    assert service.device is None


def test_opening_sends_no_command():
    script = ScriptedDrive()
    service = ScsiService(lambda name: script)
    assert service.perform(scsi.ScsiOpenRequest("mc0")).error == Error.NO_ERR
    assert service.device == "mc0"
    assert script.sent == []
    assert service.perform(scsi.ScsiCloseRequest()).error == Error.NO_ERR
    service.close()
    assert script.closed == 1


def test_a_device_in_use_is_busy():
    def busy(name):
        raise DeviceBusy(f"{name} is open in another session")
    assert ScsiService(busy).perform(scsi.ScsiOpenRequest("mc0")).error == Error.DEVICE_BUSY


def test_element_status_passes_through(service):
    opened(service)
    cdb = command.READ_ELEMENT_STATUS.put(voltag=1, elements=100, allocation=4096)
    reply = execute(service, cdb, flags=ScsiDataDir.DATA_IN, room=4096)
    assert (reply.error, reply.status, reply.ext_sense) == (Error.NO_ERR, Status.GOOD, b"")
    drives = [one for one in ElementStatus.take(reply.datain).elements
              if one.type == ElementType.DATA_TRANSFER]
    assert [one.barcode for one in drives] == ["E01001L8", "E01002L8"]


def test_data_longer_than_asked_for_is_cut(service):
    opened(service)
    reply = execute(service, command.INQUIRY.put(allocation=96), flags=ScsiDataDir.DATA_IN, room=5)
    assert reply.error == Error.NO_ERR
    assert len(reply.datain) == 5


def test_sense_data_comes_back(service):
    opened(service)
    reply = execute(service, command.MOVE_MEDIUM.put(source=0xFFFE, destination=0xFFFF))
    assert (reply.error, reply.status) == (Error.NO_ERR, Status.CHECK_CONDITION)
    assert Sense.take(reply.ext_sense).key is SenseKey.ILLEGAL_REQUEST


def test_too_much_data_is_refused_before_anything_is_allocated(service):
    opened(service)
    reply = execute(service, bytes(6), flags=ScsiDataDir.DATA_IN, room=MAX_DATA + 1)
    assert reply.error == Error.ILLEGAL_ARGS


class Slow(ScriptedDrive):
    def execute(self, command):
        self.timeout = command.timeout
        raise CommandTimeout("no answer")


def test_a_command_that_takes_too_long_times_out():
    slow = Slow()
    service = ScsiService(lambda name: slow)
    service.perform(scsi.ScsiOpenRequest("mc0"))
    assert execute(service, bytes(6), timeout=1500).error == Error.TIMEOUT
    assert slow.timeout == 1.5
    execute(service, bytes(6), timeout=0)
    assert slow.timeout >= 3600


def test_bytes_taken_by_the_device_are_counted():
    script = ScriptedDrive({command.Opcode.MODE_SELECT_6: [Result(Status.GOOD, transferred=3)]})
    service = ScsiService(lambda name: script)
    service.perform(scsi.ScsiOpenRequest("mc0"))
    cdb = command.MODE_SELECT_6.put(length=4)
    reply = execute(service, cdb, flags=ScsiDataDir.DATA_OUT, data=bytes(4))
    assert (reply.dataout_len, reply.datain) == (3, b"")


def test_state_has_no_bus_address_to_tell(service):
    opened(service)
    state = service.perform(scsi.ScsiGetStateRequest())
    assert (state.error, state.target_controller, state.target_id, state.target_lun) == (0, -1, -1, -1)


@pytest.mark.parametrize("request_", [
    scsi.ScsiResetDeviceRequest(), scsi.ScsiResetBusRequest(), scsi.ScsiSetTargetRequest("mc0", 0, 0, 0)])
def test_resets_and_retargeting_are_not_supported(service, request_):
    opened(service)
    assert service.perform(request_).error == Error.NOT_SUPPORTED
