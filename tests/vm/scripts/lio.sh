# Sourced by scripts: disks of the kernel's own target (LIO), attached to this kernel by tcm_loop.
#   lio_disk NUMBER MIB     makes one; its sg node is then in $SG, its sd node in $SD

_core=/sys/kernel/config/target/core/fileio_0
# All are units of one target: the kernel copies between units that the same initiator sees.
_gate=/sys/kernel/config/target/loopback/naa.5001405000000001/tpgt_1

lio_start() {
    for module in scsi_mod sd_mod sg target_core_mod target_core_file tcm_loop; do modprobe $module; done
    mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
    mkdir -p "$_gate"
    echo -n naa.5001405000000002 >"$_gate/nexus"
}

lio_disk() {
    local number=$1 bytes=$(($2 << 20)) node
    mkdir -p "$_core/disk$number"
    echo "fd_dev_name=/run/disk$number,fd_dev_size=$bytes,fd_buffered_io=1" >"$_core/disk$number/control"
    printf '%08x-0000-0000-0000-000000000000\n' "$number" >"$_core/disk$number/wwn/vpd_unit_serial"
    echo 1 >"$_core/disk$number/enable"
    mkdir "$_gate/lun/lun_$number"
    ln -s "$_core/disk$number" "$_gate/lun/lun_$number/port"
    # The kernel names the units in its own time.
    for _ in $(seq 50); do
        for node in /sys/class/scsi_generic/sg*; do
            case " ${_seen:-} " in *" $node "*) continue ;; esac
            [ -e "$node/device/block" ] || continue
            _seen="${_seen:-} $node"
            SG=/dev/${node##*/}
            SD=/dev/$(ls "$node/device/block")
            # "Reported luns data has changed" is told once.
            sg_turs "$SG" >/dev/null 2>&1 || sg_turs "$SG"
            return 0
        done
        sleep 0.2
    done
    echo "disk $number did not appear" >&2
    return 1
}
