"""The settings: what a file may say, what is wrong with one that cannot be used, and what stays secret."""

from __future__ import annotations

import os
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ndmpd.config import Auth, LogLevel, MoverType, Settings
from ndmpd.config_types import Iscsi, Listen, Node, PortRange, Virtual, parse_device, parse_size, parse_wwn
from ndmpd.errors import ConfigError

REFERENCE = Path(__file__).parent.parent / "conf" / "ndmpd.toml"


@pytest.fixture
def write(tmp_path):
    """Write a configuration that holds one user and ``text``; ``SECRET`` and ``TMP`` in it are filled in."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2 with blanks\n")
    secret.chmod(0o600)

    def put(text: str = "", user: str = '[[user]]\nname = "ndmp"\nsecret_file = "SECRET"\n') -> Path:
        path = tmp_path / "ndmpd.toml"
        whole = f"{text}\n{user}"
        if "state_dir" not in whole:
            whole = whole.replace("[server]", "[server]\nstate_dir = \"TMP/state\"")
        path.write_text(whole.replace("SECRET", str(secret)).replace("TMP", str(tmp_path)))
        return path

    return put


def refusal(path: Path) -> list[str]:
    """The lines of the ConfigError that loading ``path`` raises, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(path)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_a_file_with_one_user_gives_the_defaults(write):
    settings = Settings.load(write())
    assert settings.server.listen == Listen(10000)
    assert settings.server.state_dir == Path("/var/lib/ndmpd")
    assert settings.server.log is LogLevel.INFO
    assert settings.user[0].secret.get_secret_value() == "hunter2 with blanks"
    assert settings.auth_types == (Auth.MD5,)
    assert not settings.drive


def test_every_table_is_read_into_typed_values(write, tmp_path):
    (tmp_path / "home").mkdir()
    settings = Settings.load(write("""
[server]
listen = "tcp:10001:interface=127.0.0.1"
max_sessions = 7
data_ports = "20000-20099"
data_address = "192.0.2.1"
log = "debug"
[san]
tape_capacity = "80MB"
disk_block_length = 4096
[filesystem."/export/home"]
path = "TMP/home"
[filesystem."/vol/disk0"]
disk = "disk0"
[disk.disk0]
device = "iscsi://san1:3261/iqn.2026-11.io.ndmpd:disk0/3"
wwn = "naa.5000C500A1B2C3D4"
serial = " ABC 123 "
[drive.tape0]
device = "/dev/nst0"
online = false
[changer.mc0]
device = "virtual:mc0"
[datamover.gw1]
type = "SCSI"
device = "/dev/sg9"
copythreads = 4
batchsize = "200MB"
"""))
    assert settings.server.data_ports == PortRange(20000, 20099)
    assert str(settings.server.data_address) == "192.0.2.1"
    assert settings.san.tape_capacity == 80_000_000
    assert settings.san.disk_block_length == 4096
    assert settings.filesystem["/export/home"].path == tmp_path / "home"
    assert settings.disk["disk0"].device == Iscsi("san1", 3261, "iqn.2026-11.io.ndmpd:disk0", 3)
    assert settings.disk["disk0"].wwn == "5000c500a1b2c3d4"
    assert settings.disk["disk0"].serial == "ABC 123"
    assert settings.drive["tape0"].device == Node("/dev/nst0") and not settings.drive["tape0"].online
    assert settings.changer["mc0"].device == Virtual("mc0")
    assert settings.datamover["gw1"].type is MoverType.SCSI
    assert settings.datamover["gw1"].batchsize == 200_000_000
    assert [name for _, name, _ in settings.units] == ["disk0", "tape0", "mc0"]


def test_every_mistake_is_named_at_once_with_its_key(write):
    lines = refusal(write("""
[server]
listen = "udp:1"
max_sessions = "many"
bogus = 1
[filesystem."vol"]
path = "/"
[drive.tape0]
device = "st0"
"""))
    assert [line.split(": ")[0] for line in lines] == [
        "server.listen", "server.max_sessions", "server.bogus", "filesystem.vol", "drive.tape0.device"]
    assert "write tcp:PORT" in lines[0]
    assert "listen, log, max_sessions" in lines[2]


@pytest.mark.parametrize(("text", "key", "hint"), [
    ('[filesystem."/a"]', 'filesystem."/a"', "path, disk, or both"),
    ('[filesystem."/a"]\npath = "/nowhere/at/all"', 'filesystem."/a".path', "create or mount it"),
    ('[filesystem."/a"]\npath = "relative"', 'filesystem."/a".path', "absolute path"),
    ('[filesystem."/a"]\ndisk = "d"', 'filesystem."/a".disk', "there is no [disk.d]"),
    ('[filesystem."/a/../b"]\npath = "/usr"', 'filesystem."/a/../b"', "cannot be the name of an export"),
    ('[filesystem."/a/"]\npath = "/usr"', 'filesystem."/a/"', "cannot be the name of an export"),
    ('[disk.a]\ndevice = "virtual:x"\n[drive.a]\ndevice = "virtual:y"', "drive.a", "disk.a has the same "
                                                                                   "name"),
    ('[drive.a]\ndevice = "virtual:x"\n[drive.b]\ndevice = "virtual:x"', "drive.b.device", "is drive.a "
                                                                                           "already"),
    ('[drive.a]\ndevice = "virtual:../x"', "drive.a.device", "cannot be a name"),
    ('[drive.a]', "drive.a.device", "is missing"),
    ('[drive.a]\ndevice = 3', "drive.a.device", "text in quotes"),
    ('[drive.a]\ndevice = "virtual:x"\nwwn = "50"', "drive.a.wwn", "16 or 32 hexadecimal digits"),
    ('[drive.a]\ndevice = "virtual:x"\nserial = ""', "drive.a.serial", "serial number"),
    ('[drive.a]\ndevice = "virtual:x"\nonline = "perhaps"', "drive.a.online", "true or false"),
    ('[datamover.x]\ntype = "SCSI"', "datamover.x.device", "is missing"),
    ('[datamover.x]\ntype = "NAS"\ndevice = "/dev/sg1"', "datamover.x.device", "is this machine itself"),
    ('[datamover.NAS]\ntype = "SCSI"\ndevice = "/dev/sg1"', "datamover.NAS", "choose another"),
    ('[datamover.x]\ntype = "FC"', "datamover.x.type", "'NAS' or 'SCSI'"),
    ('[datamover.x]\ntype = "NAS"\nbatchsize = "9MB"', "datamover.x.batchsize", "greater than or equal to "
                                                                                "10000000"),
    ('[san]\ntape_capacity = "8 bananas"', "san.tape_capacity", "write it like"),
    ("[san]\ndisk_block_length = 520", "san.disk_block_length", "512 or 4096"),
    ('[server]\ndata_ports = "9-2"', "server.data_ports", "20000-20099"),
    ('[server]\ndata_address = "::1"', "server.data_address", "IPv4"),
    ('[server]\nstate_dir = "state"', "server.state_dir", "absolute path"),
    ('[tls]\ncertificate = "/etc/x.pem"', "tls.key", "is missing"),
    ('[nonsense]', "nonsense", "is not known here"),
])
def test_a_mistake_names_its_key_and_what_to_write(write, text, key, hint):
    lines = refusal(write(text))
    assert [line for line in lines if line.startswith(f"{key}: ") and hint in line], lines


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nas")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now,
                                          now + timedelta(hours=1)).sign(key, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "key.pem").chmod(0o600)
    return '[tls]\ncertificate = "TMP/cert.pem"\nkey = "TMP/key.pem"'


def test_tls_listens_on_the_registered_port_unless_told(write, certificate):
    assert Settings.load(write(certificate)).tls.listen == Listen(30000)


def test_a_certificate_is_tried_with_its_key_at_start(write, certificate, tmp_path):
    (tmp_path / "cert.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    [line] = refusal(write(certificate))
    assert line.startswith("tls.certificate: ") and "write the PEM file" in line


def test_a_tls_key_that_others_may_read_is_refused(write, certificate, tmp_path):
    (tmp_path / "key.pem").chmod(0o644)
    [line] = refusal(write(certificate))
    assert line.startswith("tls.key: ") and "chmod 600" in line


def test_a_file_that_is_not_there_or_not_toml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read .*--config"):
        Settings.load(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("[server\n")
    with pytest.raises(ConfigError, match=r"bad\.toml: is not TOML"):
        Settings.load(bad)


@pytest.mark.parametrize(("user", "key", "hint"), [
    ("", "user", "nobody could log in"),
    ('[[user]]\nname = "a"', "user[0].secret_file", "is missing"),
    ('[[user]]\nname = "a"\nsecret = "hunter2"', "user[0].secret", "secret_file"),
    ('[[user]]\nname = "a"\nsecret_file = "/nowhere"', "user[0].secret_file", "cannot be read"),
    ('[[user]]\nname = "a"\nsecret_file = "/dev/null"', "user[0].secret_file", "not a regular file"),
    ('[[user]]\nname = "a"\nsecret_file = "SECRET"\nauth = "md6"', "user[0].auth[0]", "'none', 'text' or "
                                                                                      "'md5'"),
    ('[[user]]\nname = "a"\nsecret_file = "SECRET"\nauth = []', "user[0].auth", "is empty"),
    ('[[user]]\nname = "a"\nsecret_file = "SECRET"\nauth = ["none", "md5"]', "user[0].auth", "remove one"),
    ('[[user]]\nname = "a"\nsecret_file = "SECRET"\nauth = "none"', "user[0].secret_file", "never read"),
    ('[[user]]\nname = "a"\nsecret_file = "SECRET"\nallow_from = "192.0.2.1/24"', "user[0].allow_from[0]",
     "host bits"),
    ('[[user]]\nname = "a"\nsecret_file = "SECRET"\n' * 2, "user", "more than once"),
])
def test_a_user_that_cannot_be_is_refused(write, user, key, hint):
    lines = refusal(write(user=user))
    assert [line for line in lines if line.startswith(f"{key}: ") and hint in line], lines
    assert "hunter2" not in "".join(lines)


def test_nobody_may_log_in_without_a_password_unless_the_file_says_so(write):
    assert Settings.load(write(user='[[user]]\nname = "any"\nauth = "none"\n')).auth_types == (Auth.NONE,)
    assert Auth.NONE not in Settings.load(write()).auth_types


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_secret_that_others_may_read_or_write_is_refused(write, tmp_path, mode):
    path = write()
    (tmp_path / "secret").chmod(mode)
    assert refusal(path) == [f"user[0].secret_file: {tmp_path}/secret may be read by others than its owner "
                             f"(mode {mode:04o}); run: chmod 600 {tmp_path}/secret"]


@pytest.mark.parametrize("content", [b"", b"\nsecond line", b"x" * 33, b"\xff\xfe"])
def test_a_secret_that_cannot_be_a_password_is_refused(write, tmp_path, content):
    path = write()
    (tmp_path / "secret").write_bytes(content)
    assert refusal(path)[0].startswith("user[0].secret_file: ")


def test_secrets_are_in_no_repr(write):
    settings = Settings.load(write())
    for text in (repr(settings), str(settings), repr(settings.user[0]), settings.user[0].model_dump_json()):
        assert "hunter2" not in text


def test_settings_cannot_be_changed(write):
    settings = Settings.load(write('[drive.tape0]\ndevice = "virtual:tape0"'))
    with pytest.raises(ValueError, match="frozen"):
        settings.server.max_sessions = 1
    with pytest.raises(TypeError):
        settings.drive["tape1"] = settings.drive["tape0"]


def test_a_user_is_let_in_from_the_listed_networks_only(write):
    user = Settings.load(write(user='[[user]]\nname = "a"\nsecret_file = "SECRET"\n'
                                    'allow_from = ["192.0.2.0/24", "2001:db8::1"]\n')).user[0]
    assert user.allows("192.0.2.200") and user.allows("2001:db8::1") and user.allows("::ffff:192.0.2.1")
    assert not user.allows("192.0.3.1") and not user.allows("2001:db8::2")
    assert Settings.load(write()).user[0].allows("203.0.113.9")


@pytest.mark.parametrize("layout", ["state inside", "export inside", "the same", "by link", "not there yet"])
def test_state_dir_and_an_export_may_not_lie_in_one_another(write, tmp_path, layout):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    state, export = {
        "state inside": ("data/deep/state", "data"),
        "export inside": ("data", "data/deep"),
        "the same": ("data", "data"),
        "by link": ("link/state", "data"),
        "not there yet": ("data/new/state", "data"),
    }[layout]
    (tmp_path / "link").symlink_to(tmp_path / "data")
    lines = refusal(write(f'[server]\nstate_dir = "TMP/{state}"\n[filesystem."/e"]\npath = "TMP/{export}"'))
    assert [line.split(": ")[0] for line in lines] == ['filesystem."/e".path']


def test_folders_beside_one_another_are_fine(write, tmp_path):
    (tmp_path / "state2").mkdir()
    Settings.load(write('[server]\nstate_dir = "TMP/state"\n[filesystem."/e"]\npath = "TMP/state2"'))


def test_embedded_mode_gives_a_san_two_disks_and_a_password(tmp_path):
    home = tmp_path / "home"
    settings = Settings.embedded(home)
    assert settings.server.listen == Listen(10000, "127.0.0.1")
    assert settings.server.state_dir == home
    assert {name: str(unit.device) for _, name, unit in settings.units} == {
        "disk0": "virtual:disk0", "disk1": "virtual:disk1", "tape0": "virtual:tape0", "tape1":
        "virtual:tape1", "mc0": "virtual:mc0"}
    assert {name: entry.disk for name, entry in settings.filesystem.items()} == {
        "/vol/disk0": "disk0", "/vol/disk1": "disk1"}
    assert settings.san.tape_capacity == 8 << 30
    assert settings.san.disk_block_length == 512
    password = home / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert settings.user[0].name == "ndmp"
    assert settings.user[0].secret.get_secret_value() == password.read_text().strip()
    assert Settings.embedded(home).user[0].secret == settings.user[0].secret


def test_embedded_mode_takes_its_options(tmp_path):
    password = tmp_path / "pw"
    password.write_text("secret\n")
    (tmp_path / "tree").mkdir()
    settings = Settings.embedded(tmp_path / "home", listen="tcp:0:interface=127.0.0.2", user="me",
                                 password_file=password, exports=[tmp_path / "tree"], tape_capacity="64MiB")
    assert settings.server.listen == Listen(0, "127.0.0.2")
    assert (settings.user[0].name, settings.user[0].secret.get_secret_value()) == ("me", "secret")
    assert settings.filesystem[str(tmp_path / "tree")].path == tmp_path / "tree"
    assert settings.san.tape_capacity == 64 << 20
    assert not (tmp_path / "home" / "password").exists()


def test_embedded_mode_warns_of_a_password_file_that_others_may_read(tmp_path, caplog):
    password = tmp_path / "pw"
    password.write_text("secret\n")
    password.chmod(0o644)
    settings = Settings.embedded(tmp_path / "home", password_file=password)
    assert settings.user[0].secret.get_secret_value() == "secret"
    assert f"chmod 600 {password}" in caplog.text


def test_embedded_mode_does_not_export_its_own_folder(tmp_path):
    with pytest.raises(ConfigError, match="lie in one another"):
        Settings.embedded(tmp_path / "home", exports=[tmp_path])


def test_embedded_mode_is_what_a_file_would_say(tmp_path, write):
    embedded = Settings.embedded(tmp_path / "home")
    loaded = Settings.load(write("""
[server]
listen = "tcp:10000:interface=127.0.0.1"
state_dir = "TMP/home"
[filesystem."/vol/disk0"]
disk = "disk0"
[filesystem."/vol/disk1"]
disk = "disk1"
[disk.disk0]
device = "virtual:disk0"
[disk.disk1]
device = "virtual:disk1"
[drive.tape0]
device = "virtual:tape0"
[drive.tape1]
device = "virtual:tape1"
[changer.mc0]
device = "virtual:mc0"
[datamover.copy0]
type = "SCSI"
device = "virtual:copy0"
""", user='[[user]]\nname = "ndmp"\nsecret_file = "TMP/home/password"\nauth = ["md5", "text"]\n'))
    assert loaded == embedded


@pytest.mark.parametrize(("text", "bytes_"), [
    ("80MB", 80_000_000), ("8GiB", 8 << 30), ("1 TiB", 1 << 40), ("512", 512), ("3kb", 3000), (7, 7),
    ("0B", 0)])
def test_sizes_are_written_as_people_do(text, bytes_):
    assert parse_size(text) == bytes_


@pytest.mark.parametrize("text", ["", "MB", "-1", "1.5GB", "8 bananas", True, None, "1e9"])
def test_what_is_not_a_size_is_refused(text):
    with pytest.raises(ValueError, match="80MB"):
        parse_size(text)


@pytest.mark.parametrize(("text", "device"), [
    ("virtual:tape0", Virtual("tape0")),
    ("/dev/sg3", Node("/dev/sg3")),
    ("/dev/tape/by-id/scsi-3500", Node("/dev/tape/by-id/scsi-3500")),
    ("iscsi://192.0.2.1/iqn.2026-11.io.ndmpd:tape0/0",
     Iscsi("192.0.2.1", 3260, "iqn.2026-11.io.ndmpd:tape0", 0)),
    ("iscsi://[2001:db8::1]:3261/eui.02004567A425678D/1",
     Iscsi("2001:db8::1", 3261, "eui.02004567A425678D", 1)),
])
def test_devices_are_understood_and_print_as_they_can_be_read_again(text, device):
    assert parse_device(text) == device
    assert parse_device(str(device)) == device


@pytest.mark.parametrize("text", ["", "virtual:", "st0", "/etc/passwd", "/dev/../etc/x", "iscsi://h/disk/0",
                                  "iscsi://h/iqn.x/a", "iscsi://h:0/iqn.x/0", "iscsi://u@h/iqn.x/0"])
def test_what_is_not_a_device_is_refused(text):
    with pytest.raises(ValueError, match=r"write virtual|cannot be a name"):
        parse_device(text)


def test_world_wide_names_have_one_form():
    assert parse_wwn("50:00:C5:00:A1:B2:C3:D4") == parse_wwn("0x5000c500a1b2c3d4") == "5000c500a1b2c3d4"


def test_an_ipv6_interface_is_written_with_escaped_colons():
    listen = Listen.parse(r"tcp:10000:interface=2001\:db8\:\:1")
    assert listen == Listen(10000, "2001:db8::1")
    assert Listen.parse(listen.endpoint) == listen


def test_the_reference_configuration_shows_every_key_with_its_default(tmp_path):
    """A key that conf/ndmpd.toml does not show, even commented out, is a key nobody finds."""
    text = REFERENCE.read_text()
    from ndmpd.config import Datamover, Filesystem, Initiator, San, Server, Tls, Unit, User

    for table, model in {"server": Server, "tls": Tls, "san": San, "user": User, "filesystem": Filesystem,
                         "disk": Unit, "drive": Unit, "changer": Unit, "datamover": Datamover,
                         "initiator": Initiator}.items():
        assert f"[{table}" in text
        for key in set(model.model_fields) - {"secret", "target_secret", "target"}:
            assert f"\n{key} = " in text or f"\n# {key} = " in text, f"{table}.{key}"


def test_the_reference_configuration_can_be_used(tmp_path):
    text = REFERENCE.read_text()
    data = tomllib.loads(text)
    for entry in data["user"]:
        secret = tmp_path / os.path.basename(entry["secret_file"])
        secret.write_text("x\n")
        secret.chmod(0o600)
        text = text.replace(f'"{entry["secret_file"]}"', f'"{secret}"')
    for entry in data["filesystem"].values():
        if "path" in entry:
            text = text.replace(f'"{entry["path"]}"', '"/usr"')
    path = tmp_path / "ndmpd.toml"
    path.write_text(text)
    settings = Settings.load(path)
    assert settings.drive and settings.changer and settings.disk and settings.datamover
