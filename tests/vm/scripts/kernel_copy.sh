# The kernel's own copy manager copies a disk for sg_xcopy: what our copies are compared with.
set -eu
. "$(dirname "$0")/lio.sh"
lio_start
lio_disk 1 64; from=$SG from_blocks=$SD
lio_disk 2 64; to=$SG to_blocks=$SD
dd if=/dev/urandom of="$from_blocks" bs=1M count=64 oflag=direct status=none
sg_xcopy if="$from" of="$to" bs=512 count=131072
cmp "$from_blocks" "$to_blocks"
