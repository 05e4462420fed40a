# A head that reaches its drive and its disks by SG_IO: a drive that the kernel's iSCSI initiator has attached, and
# disks of the kernel's own target. An image goes to tape, and from there to another disk.
set -eu
. "$ROOT/tests/vm/scripts/san.sh"
. "$ROOT/tests/vm/scripts/lio.sh"
. "$ROOT/tests/vm/scripts/head.sh"
san_start $((256 << 20))
san_login tape0
san_login mc0; C=$SG

lio_start
_seen=$(echo /sys/class/scsi_generic/sg*)
lio_disk 1 48; from=$SD
lio_disk 2 48; to=$SD
dd if=/dev/urandom of="$from" bs=1M count=48 oflag=direct status=none

head_start <<T
[filesystem."/vol/from"]
disk = "from"
[filesystem."/vol/to"]
disk = "to"
[disk.from]
device = "$from"
[disk.to]
device = "$to"
[drive.tape]
device = "/dev/nst0"
[changer.robot]
device = "$C"
T
ndmpc query $HEAD_URL | tee /vmout/query
ndmpc backup $HEAD_URL /vol/from -B image --history n --drive tape -b 256KiB --catalogue /run/head/catalogue
ndmpc restore $HEAD_URL --drive tape --catalogue /run/head/catalogue --to /vol/to
cmp "$from" "$to"
kill $HEAD
wait $HEAD
