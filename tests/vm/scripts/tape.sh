# The kernel's tape driver on our drive over iSCSI: what mt and dd expect of a tape.
set -eu
. "$ROOT/tests/vm/scripts/san.sh"
san_start $((24 << 20))
san_login tape0
T=/dev/nst0
W=/run/work
mkdir $W

step() { echo "== $*"; }
fail() { echo "FAILED: $*"; mt -f $T status || true; exit 1; }
at() { local told; told=$(mt -f $T tell); [ "$told" = "At block $1." ] || fail "$told instead of block $1"; }
stands() {
    mt -f $T status >$W/status
    grep -q "^File number=$1, block number=$2, partition=0" $W/status || fail "not in file $1 at block $2"
}
flag() { mt -f $T status | grep -qw "$1" || fail "no $1"; }
written() { dd if="$1" of=$T bs="$2" status=none; }
must_not() { if "$@" >$W/said 2>&1; then fail "went well: $*"; fi; }

step status at the beginning
flag BOT; flag ONLINE; stands 0 0; at 0

step records of every length, a file each
number=0
object=0
for size in 512 1536 10240 64512 65536 262144 1048576; do
    dd if=/dev/urandom of=$W/$size bs=$size count=3 status=none
    written $W/$size $size
    number=$((number + 1)) object=$((object + 4))
    stands $number 0
    at $object
done
mt -f $T rewind
flag BOT
for size in 512 1536 10240 64512 65536 262144 1048576; do
    dd if=$T of=$W/back bs=$size status=none
    cmp $W/$size $W/back
done
at $object

step spaces over marks and records
mt -f $T rewind
mt -f $T fsf 2; stands 2 0; at 8; flag EOF
mt -f $T bsf 1; stands 1 -1; at 7
mt -f $T fsf 1; stands 2 0; at 8
mt -f $T bsfm 2; stands 1 0; at 4
mt -f $T fsfm 1; at 7
mt -f $T rewind
mt -f $T fsr 2; stands 0 2; at 2
mt -f $T bsr 1; stands 0 1; at 1
dd if=$T of=$W/back bs=512 count=1 status=none
cmp $W/back <(dd if=$W/512 bs=512 skip=1 count=1 status=none)
must_not mt -f $T fsr 2
at 4
must_not mt -f $T bsf 5
flag BOT

step tell and seek
mt -f $T seek 13; at 13
dd if=$T of=$W/back bs=64512 count=1 status=none
cmp $W/back <(dd if=$W/64512 bs=64512 skip=1 count=1 status=none)
must_not mt -f $T seek 100000
mt -f $T rewind

step end of data, and what is appended there
mt -f $T eod; stands $number -1; at $object; flag EOD
dd if=$T of=$W/back bs=64k status=none 2>/dev/null || true
[ ! -s $W/back ] || fail "data behind the end of data"
written $W/10240 10240
at $((object + 4))
mt -f $T bsf 2
mt -f $T fsf 1
dd if=$T of=$W/back bs=10240 status=none
cmp $W/10240 $W/back

step a read stops at a mark, and the next one goes on behind it
mt -f $T rewind
dd if=$T of=$W/first bs=64k status=none
dd if=$T of=$W/second bs=64k status=none
cmp $W/512 $W/first
cmp $W/1536 $W/second

step reads shorter and longer than the record
mt -f $T rewind
mt -f $T fsf 3
must_not dd if=$T of=/dev/null bs=32k count=1
grep -q "Cannot allocate memory" $W/said || fail "$(cat $W/said)"
at 13
dd if=$T of=$W/back bs=256k count=1 status=none
cmp $W/back <(dd if=$W/64512 bs=64512 skip=1 count=1 status=none)

step blocks of fixed length
mt -f $T rewind
mt -f $T setblk 4096
mt -f $T status | grep -q "Tape block size 4096 bytes" || fail "block size"
written $W/65536 64k
at 49
mt -f $T rewind
dd if=$T of=$W/back bs=64k status=none
cmp $W/65536 $W/back
mt -f $T setblk 0
mt -f $T rewind
dd if=$T of=$W/back bs=64k count=1 status=none
[ "$(stat -c %s $W/back)" = 4096 ] || fail "a record of $(stat -c %s $W/back) bytes"

step marks without data
mt -f $T rewind
mt -f $T weof 3
stands 3 0; at 3
mt -f $T rewind
for mark in 1 2 3; do
    dd if=$T of=$W/back bs=64k status=none
    [ ! -s $W/back ] || fail "data before mark $mark"
done
at 3

step erase
mt -f $T rewind
written $W/65536 64k
mt -f $T rewind
mt -f $T erase
mt -f $T rewind
dd if=$T of=$W/back bs=64k status=none 2>/dev/null || true
[ ! -s $W/back ] || fail "data on an erased tape"

step early warning
mt -f $T rewind
must_not dd if=/dev/zero of=$T bs=64k
grep -q "No space left on device" $W/said || fail "$(cat $W/said)"
records=$(sed -n 's/^\([0-9]*\)+0 records out$/\1/p' $W/said)
[ "$records" -gt 250 ] && [ "$records" -lt 384 ] || fail "$records records on a cartridge of 24 MiB"
mt -f $T rewind
dd if=$T of=/dev/null bs=64k 2>$W/said
grep -q "^$records+0 records in" $W/said || fail "$records records written, but $(cat $W/said)"

step a cartridge that is write protected
mt -f $T offline
# As if it had been taken out, and put in again.
"$PYTHON" -m ndmpd tape --embedded /run/state label --protect E01001L8
mt -f $T rewind
flag WR_PROT
must_not dd if=/dev/zero of=$T bs=64k count=1
dd if=$T of=/dev/null bs=64k count=1 status=none
echo all is well
