"""What CONFIG requests are answered: from the settings, the machine, and what the units say in time."""

from __future__ import annotations

import threading
import time

import pytest

from ndmpd.config import Settings
from ndmpd.devices.disk import Disk
from ndmpd.errors import NdmpdError
from ndmpd.formats.registry import butypes
from ndmpd.ports import Command, Result
from ndmpd.services.host import MountedOn, hostid, mounted_on
from ndmpd.services.identities import Identities
from ndmpd.services.inventory import Inventory
from protocol.ndmp import config
from protocol.ndmp.codes import AddrType, AuthType, ButypeAttr, Error, FsInfoUnsupported, TapeAttr, Version
from protocol.ndmp.registry import decode, encode
from protocol.scsi.sbc import Capacity
from protocol.scsi.spc import Designator, DesignatorType, Inquiry, put_identification, put_serial


class ToldUnit:
    """A unit that answers INQUIRY and READ CAPACITY from a script, and counts what it was asked."""

    most = None

    def __init__(self, kind: int, product: str, serial: str = "", naa: str = "", attentions: int = 0) -> None:
        self.kind, self.product, self.serial, self.naa = kind, product, serial, naa
        self.attentions = attentions
        self.asked = 0
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, cdb: bytes) -> bytes | None:
        match cdb[0], cdb[1] & 0x1F, cdb[2]:
            case 0x12, 0, _:
                return Inquiry(self.kind, "NDMPD", self.product, "0001").put()
            case 0x12, 1, 0x80 if self.serial:
                return put_serial(self.kind, self.serial)
            case 0x12, 1, 0x83 if self.naa:
                designator = Designator(DesignatorType.NAA, bytes.fromhex(self.naa))
                return put_identification(self.kind, (designator,))
            case 0x9E, 0x10, _:
                return Capacity(2048, 512).put_16()
        return None

    def execute(self, command: Command) -> Result:
        assert self.gate.wait(10)
        self.asked += 1
        if self.attentions and command.cdb[0] != 0x12:
            self.attentions -= 1
            return Result(2, bytes.fromhex("700006000000000a00000000290000000000"))
        data = self.answer(command.cdb)
        if data is None:
            return Result(2, bytes.fromhex("700005000000000a00000000240000000000"))
        [piece] = command.data_in
        count = min(piece.length, len(data))
        piece.data[:count] = data[:count]
        return Result(0, b"", count)

    def backing(self, lba, blocks):
        return None

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def units():
    return {"tape0": ToldUnit(1, "VIRTUAL TAPE", "T0", "3000000000000001"),
            "tape1": ToldUnit(1, "VIRTUAL TAPE"),
            "mc0": ToldUnit(8, "VIRTUAL CHANGER", "M0"), "disk0": ToldUnit(0, "VIRTUAL DISK", attentions=2),
            "disk1": ToldUnit(0, "VIRTUAL DISK")}


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "tree").mkdir()
    return Settings.embedded(tmp_path / "state", exports=[tmp_path / "tree"])


@pytest.fixture
def ask(settings, units):
    """Ask for a reply in a version; it must survive its own encoding."""

    def put(request, version=Version.V4, settings=settings, patience=5.0, **more):
        inventory = Inventory(settings, version, butypes(Disk), Identities(units.__getitem__, patience))
        reply = inventory.perform(request, **more)
        if version is Version.V4:
            assert decode(type(reply), encode(reply, version), version) == reply
        return reply

    return put


def values(pairs) -> dict[str, str]:
    return {pair.name: pair.value for pair in pairs}


def test_the_host_has_a_stable_identifier_that_is_not_the_machine_id(ask):
    first, second = (ask(config.ConfigGetHostInfoRequest()) for _ in range(2))
    assert first == second
    assert first.os_type == "Linux" and first.os_vers and first.hostname
    assert len(first.hostid) == 16


def test_a_machine_without_an_id_keeps_one_of_its_own(tmp_path):
    missing = tmp_path / "machine-id"
    first = hostid(tmp_path, missing)
    assert hostid(tmp_path, missing) == first
    assert hostid(tmp_path / "..", missing) != first
    missing.write_text("0123456789abcdef0123456789abcdef\n")
    assert hostid(tmp_path, missing) != first
    assert "0123456789abcdef" not in hostid(tmp_path, missing)


def test_the_server_says_what_it_is_and_how_to_log_in(ask):
    reply = ask(config.ConfigGetServerInfoRequest())
    assert reply.product_name == "ndmpd" and reply.vendor_name and reply.revision_number
    assert reply.auth_type == (AuthType.MD5, AuthType.TEXT)


def test_a_stranger_learns_only_how_to_log_in(ask):
    reply = ask(config.ConfigGetServerInfoRequest(), authorized=False)
    assert (reply.vendor_name, reply.product_name, reply.revision_number) == ("", "", "")
    assert reply.auth_type == (AuthType.MD5, AuthType.TEXT)


def test_data_connections_are_local_and_tcp(ask):
    reply = ask(config.ConfigGetConnectionTypeRequest())
    assert reply.addr_types == (AddrType.LOCAL, AddrType.TCP)


def test_butypes_come_with_attributes_and_variables(ask):
    found = {one.butype_name: one for one in ask(config.ConfigGetButypeInfoRequest()).butype_info}
    assert list(found) == ["tar", "image"]
    assert found["tar"].attrs & ButypeAttr.BACKUP_DIRECT
    assert found["image"].attrs & ButypeAttr.RECOVER_FILEHIST
    assert values(found["image"].default_env)["TYPE"] == "image"


def test_an_exported_folder_tells_its_file_system(ask, tmp_path):
    found = {one.fs_logical_device: one for one in ask(config.ConfigGetFsInfoRequest()).fs_info}
    tree = found[f"{tmp_path}/tree"]
    assert tree.fs_status == "online"
    assert tree.total_size >= tree.used_size > 0 and tree.avail_size > 0
    env = values(tree.fs_env)
    assert env["LOCAL"] == "y" and env["TYPE"] == tree.fs_type != "unknown"
    assert env["AVAILABLE_BACKUP"] == env["AVAILABLE_RECOVERY"] == "tar"


def test_an_exported_disk_tells_its_capacity_though_it_begins_with_unit_attentions(ask):
    found = {one.fs_logical_device: one for one in ask(config.ConfigGetFsInfoRequest()).fs_info}
    disk = found["/vol/disk0"]
    assert (disk.total_size, disk.fs_physical_device, disk.fs_status) == (1 << 20, "virtual:disk0", "online")
    assert FsInfoUnsupported.TOTAL_SIZE not in disk.unsupported
    assert FsInfoUnsupported.USED_SIZE in disk.unsupported
    assert values(disk.fs_env)["AVAILABLE_BACKUP"] == "image"


def test_an_export_that_is_gone_is_offline_and_the_others_are_not(ask, tmp_path, units):
    (tmp_path / "tree").rmdir()
    del units["disk1"]
    units["disk1"] = Unreachable()
    found = {one.fs_logical_device: one.fs_status for one in ask(config.ConfigGetFsInfoRequest()).fs_info}
    assert found[f"{tmp_path}/tree"].startswith("offline")
    assert found["/vol/disk1"] == "offline"
    assert found["/vol/disk0"] == "online"


class Unreachable:
    def execute(self, command):
        raise NdmpdError("nobody there")

    def close(self):
        pass


def test_drives_are_listed_one_by_one_under_stable_names(ask):
    drives = ask(config.ConfigGetTapeInfoRequest()).tape_info
    assert [drive.model for drive in drives] == ["NDMPD VIRTUAL TAPE"] * 2
    assert [[one.device for one in drive.caplist] for drive in drives] == [["tape0"], ["tape1"]]
    first = drives[0].caplist[0]
    assert first.attr == TapeAttr.RAW
    assert values(first.capability) == {"EXECUTE_CDB": "t", "SERIAL_NUMBER": "T0",
                                        "WORLD_WIDE_NAME": "3000000000000001"}
    assert values(drives[1].caplist[0].capability) == {"EXECUTE_CDB": "t"}


def test_version_3_has_no_raw_mode(ask):
    assert ask(config.ConfigGetTapeInfoRequest(), Version.V3).tape_info[0].caplist[0].attr == 0


def test_changers_are_listed_for_the_scsi_interface(ask):
    [changer] = ask(config.ConfigGetScsiInfoRequest()).scsi_info
    assert changer.model == "NDMPD VIRTUAL CHANGER"
    assert (changer.caplist[0].device, values(changer.caplist[0].capability)["EXECUTE_CDB"]) == ("mc0", "s")


def test_where_there_is_nothing_the_list_is_empty(tmp_path, ask):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    path = tmp_path / "c.toml"
    path.write_text(f'[server]\nstate_dir = "{tmp_path}"\n[[user]]\nname = "u"\nsecret_file = "{secret}"\n')
    bare = Settings.load(path)
    for request, field in ((config.ConfigGetTapeInfoRequest(), "tape_info"),
                           (config.ConfigGetScsiInfoRequest(), "scsi_info"),
                           (config.ConfigGetFsInfoRequest(), "fs_info")):
        reply = ask(request, settings=bare)
        assert (reply.error, getattr(reply, field)) == (Error.NO_ERR, ())


def test_what_is_offline_by_configuration_is_not_offered(tmp_path, units, ask):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    path = tmp_path / "c.toml"
    path.write_text(f'[server]\nstate_dir = "{tmp_path}/s"\n[[user]]\nname = "u"\nsecret_file = "{secret}"\n'
                    '[drive.tape0]\ndevice = "virtual:tape0"\nonline = false\n'
                    '[drive.tape1]\ndevice = "virtual:tape1"\nwwn = "5000c500a1b2c3d4"\nserial = "S"\n')
    [drive] = ask(config.ConfigGetTapeInfoRequest(), settings=Settings.load(path)).tape_info
    assert values(drive.caplist[0].capability) == {"EXECUTE_CDB": "t", "SERIAL_NUMBER": "S",
                                                   "WORLD_WIDE_NAME": "5000c500a1b2c3d4"}
    assert units["tape0"].asked == 0


def test_a_busy_drive_keeps_nobody_waiting_and_is_known_later(settings, units):
    units["tape0"].gate.clear()
    inventory = Inventory(settings, Version.V4, butypes(Disk), Identities(units.__getitem__, 0.2))
    began = time.monotonic()
    busy, idle = inventory.perform(config.ConfigGetTapeInfoRequest()).tape_info
    assert time.monotonic() - began < 2
    assert (busy.model, busy.caplist[0].device) == ("unknown", "tape0")
    assert idle.model == "NDMPD VIRTUAL TAPE"
    units["tape0"].gate.set()
    deadline = time.monotonic() + 5
    while busy.model == "unknown" and time.monotonic() < deadline:
        busy, _ = inventory.perform(config.ConfigGetTapeInfoRequest()).tape_info
    assert busy.model == "NDMPD VIRTUAL TAPE"


def test_a_unit_is_asked_once_and_let_go(settings, units):
    inventory = Inventory(settings, Version.V4, butypes(Disk), Identities(units.__getitem__))
    for _ in range(3):
        inventory.perform(config.ConfigGetScsiInfoRequest())
    assert units["mc0"].asked == 3  # INQUIRY and two pages
    assert units["mc0"].closed == 1


def test_there_are_no_extensions(ask):
    assert ask(config.ConfigGetExtListRequest()) == config.ConfigGetExtListReply()
    one, other = config.ClassVersion(0x2050, 1), config.ClassVersion(0x2051, 1)
    for chosen, error in (((), Error.NO_ERR), ((one,), Error.CLASS_NOT_SUPPORTED),
                          ((one, other), Error.CLASS_NOT_SUPPORTED), ((one, one), Error.EXT_DUPL_CLASSES)):
        assert ask(config.ConfigSetExtListRequest(chosen)).error == error


@pytest.mark.parametrize("version", list(Version))
def test_every_answer_can_be_sent_in_every_version(ask, version):
    for name in ("HostInfo", "ServerInfo", "ConnectionType", "ButypeInfo", "FsInfo", "TapeInfo", "ScsiInfo"):
        assert encode(ask(getattr(config, f"ConfigGet{name}Request")(), version), version)


def test_no_variable_is_longer_than_dmas_can_keep(ask):
    pairs = [pair for reply, lists in (
        (ask(config.ConfigGetTapeInfoRequest()).tape_info, lambda one: one.caplist[0].capability),
        (ask(config.ConfigGetFsInfoRequest()).fs_info, lambda one: one.fs_env),
        (ask(config.ConfigGetButypeInfoRequest()).butype_info, lambda one: one.default_env))
        for entry in reply for pair in lists(entry)]
    assert len(pairs) > 10
    assert all(len(pair.name) + len(pair.value.encode()) < 500 for pair in pairs)


def test_a_folder_is_on_the_file_system_mounted_last_on_the_nearest_point(tmp_path):
    (tmp_path / "self").mkdir()
    deep = tmp_path / "deep folder"
    deep.mkdir()
    escaped = str(deep).replace(" ", "\\040")
    (tmp_path / "self" / "mountinfo").write_text("\n".join((
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
        f"2 1 0:50 / {tmp_path} rw - nfs4 server:/x rw",
        f"3 2 7:0 / {escaped} rw - xfs /dev/loop0 rw",
        f"4 2 7:1 / {escaped} rw shared:1 - btrfs /dev/loop1 rw", "garbage")))
    assert mounted_on(str(deep), tmp_path) == MountedOn("btrfs", "/dev/loop1", True)
    assert mounted_on(str(tmp_path), tmp_path) == MountedOn("nfs4", "server:/x", False)
    assert mounted_on("/", tmp_path) == MountedOn("ext4", "/dev/sda1", True)
