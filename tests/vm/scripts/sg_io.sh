# A head that reaches its drive and its disks by SG_IO: a drive that the kernel's iSCSI initiator has attached, and
# disks of the kernel's own target. An image goes to tape, and from there to another disk.
set -eu
. "$ROOT/tests/vm/scripts/san.sh"
. "$ROOT/tests/vm/scripts/lio.sh"
san_start $((256 << 20))
san_login tape0
san_login mc0; C=$SG

lio_start
_seen=$(echo /sys/class/scsi_generic/sg*)
lio_disk 1 48; from=$SD
lio_disk 2 48; to=$SG to_blocks=$SD
dd if=/dev/urandom of="$from" bs=1M count=48 oflag=direct status=none

mkdir -p /run/head
echo secret >/run/head/secret
chmod 600 /run/head/secret
cat >/run/head/ndmpd.toml <<T
[server]
listen = "tcp:10000:interface=127.0.0.1"
state_dir = "/run/head/state"
[[user]]
name = "backup"
secret_file = "/run/head/secret"
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
cd "$ROOT"
"$PYTHON" -m ndmpd serve --config /run/head/ndmpd.toml >/vmout/head.log 2>&1 &
HEAD=$!
for _ in $(seq 300); do
    (: </dev/tcp/127.0.0.1/10000) 2>/dev/null && break
    kill -0 $HEAD
    sleep 0.1
done
ndmpc() { local verb=$1; shift; "$PYTHON" -m ndmpd.client "$verb" -v "$@" --password-file /run/head/secret 2>&1; }
head=ndmp://backup@127.0.0.1:10000
ndmpc query $head | tee /vmout/query
ndmpc backup $head /vol/from -B image --history n --drive tape -b 256KiB --catalogue /run/head/catalogue
ndmpc restore $head --drive tape --catalogue /run/head/catalogue --to /vol/to
cmp "$from" "$to_blocks"
kill $HEAD
wait $HEAD
