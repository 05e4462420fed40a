# mtx works our changer over iSCSI; cartridges carry what the kernel's driver wrote on them.
set -eu
. "$ROOT/tests/vm/scripts/san.sh"
san_start $((24 << 20))
san_login mc0; C=$SG
san_login tape0
san_login tape1

mtx -f "$C" inquiry | grep -q "Medium Changer"
mtx -f "$C" status | tee /vmout/status
slot_of() { mtx -f "$C" status | sed -n "s/^ *Storage Element \([0-9]*\):Full :VolumeTag=$1 *$/\1/p"; }
home_of() { mtx -f "$C" status | sed -n "s/^Data Transfer Element $1:Full (Storage Element \([0-9]*\) Loaded).*/\1/p"; }

echo written in the first drive >/run/one
dd if=/run/one of=/dev/nst0 bs=10240 conv=sync status=none
home=$(home_of 0)
mt -f /dev/nst0 offline
mtx -f "$C" unload "$home" 0
mtx -f "$C" status | grep -q "^Data Transfer Element 0:Empty"
[ "$(slot_of E01001L8)" = "$home" ]
if mt -f /dev/nst0 status | grep -qw ONLINE; then echo "a drive without a cartridge is ready"; exit 1; fi

mt -f /dev/nst1 offline
mtx -f "$C" unload "$(home_of 1)" 1
mtx -f "$C" load "$home" 1
for _ in 1 2 3; do mt -f /dev/nst1 status >/run/status && break; done
grep -qw BOT /run/status
dd if=/dev/nst1 bs=10240 status=none | head -n1 | tr -d '\0' | cmp - /run/one

empty=$(mtx -f "$C" status | sed -n 's/^ *Storage Element \([0-9]*\):Empty.*/\1/p' | head -n1)
full=$(slot_of E01003L8)
mtx -f "$C" transfer "$full" "$empty"
[ "$(slot_of E01003L8)" = "$empty" ]
if mtx -f "$C" load "$full" 0 2>/run/said; then echo "an empty slot was loaded"; exit 1; fi
cat /run/said
