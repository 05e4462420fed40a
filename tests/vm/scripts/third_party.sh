# sg3-utils ask our copy manager over iSCSI, and send it a list of descriptors that none of our code has made.
set -eu
. "$ROOT/tests/vm/scripts/san.sh"
san_start $((256 << 20))
san_login disk0; D=$SG
san_login disk1; E=$SG
san_login tape0; T=$SG
for node in "$D" "$E" "$T"; do sg_turs "$node" >/dev/null 2>&1 || true; done
block() { echo "/dev/$(ls "/sys/class/scsi_generic/${1##*/}/device/block")"; }

sg_inq "$D" | grep -q "3PC=1"
sg_copy_results -p "$T" | tee /vmout/parameters
sg_vpd -p tpc "$T" | tee /vmout/tpc
grep -q "Segment descriptor 0x00: Copy from block device to stream device" /vmout/parameters

dd if=/dev/urandom of="$(block "$D")" bs=1M count=16 oflag=direct status=none

# 4096 blocks in records of 64 KiB, and a filemark.
sg_vpd -p di --raw "$D" >/run/disk.di
sg_vpd -p di --raw "$T" >/run/tape.di
"$PYTHON" - <<'P'
import struct


def naa(path):
    page = open(path, "rb").read()
    at = 4
    while at < len(page):
        code_set, kind, _, length = page[at:at + 4]
        if kind & 0x3F == 3:
            return page[at + 4:at + 4 + length]
        at += 4 + length
    raise SystemExit(f"no NAA designator in {path}")


def cscd(path, device_type, specific):
    name = naa(path)
    head = bytes((0xE4, device_type, 0, 0, 1, 3, 0, len(name)))
    return head + name.ljust(20, b"\0") + specific


targets = cscd("/run/disk.di", 0, bytes((0, 0, 2, 0))) + cscd("/run/tape.di", 1, bytes(4))
segments = struct.pack(">BBHHHBBHHHQ", 0, 0, 0x14, 0, 1, 0, 1, 0, 0, 32768, 0)
segments += struct.pack(">BBHHHBBHI", 0x10, 0, 8, 0, 1, 0, 0, 1, 0)[:12]
header = struct.pack(">BBHIII", 7, 0, len(targets), 0, len(segments), 0)
data = header + targets + segments
open("/run/list", "wb").write(data)
open("/run/length", "w").write(f"{len(data):08x}")
P
cdb="83 00 00 00 00 00 00 00 00 00 $(sed 's/../& /g' /run/length) 00 00"
sg_raw -t 60 -s "$(stat -c %s /run/list)" -i /run/list "$T" $cdb
sg_copy_results -s -l 7 "$T" | tee /vmout/copied
grep -qi "without errors" /vmout/copied
mt -f /dev/nst0 tell | tee /vmout/tell
mt -f /dev/nst0 rewind
dd if=/dev/nst0 of=/run/back bs=64k status=none
cmp /run/back <(dd if="$(block "$D")" bs=1M count=16 iflag=direct status=none)

sg_xcopy if="$D" of="$E" bs=512 count=32768
cmp <(dd if="$(block "$D")" bs=1M count=16 iflag=direct status=none) \
    <(dd if="$(block "$E")" bs=1M count=16 iflag=direct status=none)
