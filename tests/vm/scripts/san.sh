# Sourced by scripts: the SAN node in this machine, and the kernel's initiator as its client.
#   san_start CAPACITY     cartridges of so many bytes; the node listens on 127.0.0.1:3260
#   san_login UNIT         afterwards the unit's sg node is in $SG

san_start() {
    for module in crc32c_generic scsi_mod sd_mod sg st ch iscsi_tcp; do modprobe $module; done
    ip link set lo up
    cd "$ROOT"
    "$PYTHON" -c "from ndmpd.san import create; create('/run/state', capacity=$1)"
    "$PYTHON" -m ndmpd san serve --embedded /run/state --listen tcp:3260:interface=127.0.0.1 \
        >/vmout/san.log 2>&1 &
    SAN=$!
    for _ in $(seq 300); do
        (: </dev/tcp/127.0.0.1/3260) 2>/dev/null && return 0
        kill -0 $SAN
        sleep 0.1
    done
    echo "the SAN node does not listen" >&2
    return 1
}

san_login() {
    timeout 30 iscsistart -i iqn.2026-11.test:guest -t "iqn.2026-11.io.ndmpd:$1" -g 1 -a 127.0.0.1 -p 3260 \
        >/vmout/login-"$1".log 2>&1
    for _ in $(seq 100); do
        for node in /sys/class/scsi_generic/sg*; do
            [ -e "$node" ] || continue
            case " ${_known:-} " in *" $node "*) continue ;; esac
            _known="${_known:-} $node"
            SG=/dev/${node##*/}
            # Drivers attach in their own time.
            udevadm settle 2>/dev/null || sleep 0.5
            return 0
        done
        sleep 0.1
    done
    echo "$1 did not appear" >&2
    return 1
}
