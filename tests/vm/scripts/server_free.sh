# An image goes from one disk of the kernel's target to another, by the kernel's own copy manager: the head sends
# EXTENDED COPY with segments 02h, which the target's trace shows, and moves no byte of the disks.
set -eu
. "$ROOT/tests/vm/scripts/lio.sh"
. "$ROOT/tests/vm/scripts/head.sh"
ip link set lo up
lio_start
lio_disk 1 48; from=$SD
lio_disk 2 48; to=$SD manager=$SG
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
[datamover.kernel]
type = "SCSI"
device = "$manager"
T
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null || true
echo 1 >/sys/kernel/tracing/events/target/target_sequencer_start/enable
ndmpc copy $HEAD_URL/vol/from /vol/to -B image --json -E DATAMOVER=SCSI >/vmout/report.json
echo 0 >/sys/kernel/tracing/events/target/target_sequencer_start/enable
cat /sys/kernel/tracing/trace >/vmout/trace
cmp "$from" "$to"
kill $HEAD
wait $HEAD
