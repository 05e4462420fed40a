# The machine works: its own kernel, modules on demand, this machine's files, a network of its own only.
set -eu
uname -r >/vmout/release
modprobe scsi_debug ptype=1 num_tgts=1
modprobe st
ip link set lo up
ls /sys/class/net >/vmout/networks
for second in 1 2 3 4 5; do [ -e /dev/nst0 ] && break; sleep 1; done
mt -f /dev/nst0 status >/vmout/status
