"""Every row of ``make bench``."""

from __future__ import annotations

from tests.bench import control, history, network, offload, processes, san, streams, targets
from tests.bench.rows import Row
from tests.bench.series import AtLeast, Below, Rate, Unit

_COPY = "one core's copy from page to page through one buffer"

ROWS: tuple[Row, ...] = (
    Row("image", "image backup by LOCAL, against dd from file to file", Unit.BYTES,
        (AtLeast("dd", 0.9), AtLeast("ndmjob", 3)), _COPY, streams.image),
    Row("image-tcp", "the same by TCP, against a sendfile loop from file to file", Unit.BYTES,
        (AtLeast("loop", 0.8),), "the receiving core: one copy out of the socket and one into the file",
        streams.image_by_tcp,
        note="DATA and MOVER are two servers with nothing in common, so that no local channel joins them"),
    Row("offload", "image backup by TYPE=SCSI, against TYPE=NAS", Unit.BYTES,
        (AtLeast("NAS", 0.95),), "the same copy, made in the copy manager's process", offload.image_by_each),
    Row("network", "bytes over the head's interface for an image by TYPE=SCSI, and by TYPE=NAS", Unit.TRAFFIC,
        (Below(2 << 20, "2 MiB"),), "commands and their sense", network.traffic_by_each,
        note="head and SAN node in two network namespaces; the NAS head reads and writes every byte"),
    Row("iscsi-drive", "image backup by TYPE=NAS to a drive over iSCSI, against libiscsi writing it",
        Unit.BYTES, (AtLeast("libiscsi", 0.9),), "both cores: bursts of 256 KiB, one at a time",
        san.image_to_an_iscsi_drive,
        note="libiscsi: a loop that reads the same disk, one command in flight, the best of three transfer "
             "sizes; one buffer: the same without reading anything"),
    *targets.rows(),
    Row("plan", "planning EXTENDED COPY for a fragmented map of a million extents", Unit.EXTENTS,
        (Rate(100_000),), "the planner's Python for each extent", offload.planning),
    Row("plan-memory", "the most memory of that, in a process of its own", Unit.MEMORY,
        (Below(128 << 20, "128 MiB"),), "the interpreter", offload.planning_memory),
    Row("commands", "EXTENDED COPY commands for a GiB of one extent", Unit.COMMANDS,
        (Below(20, "20"),), "the batch of 80 MB", offload.commands),
    Row("file", "tar backup of one large file by LOCAL, against dd", Unit.BYTES,
        (AtLeast("dd", 0.9), AtLeast("ndmjob", 3)), _COPY, streams.large_file),
    Row("file-tcp", "the same by TCP, against a sendfile loop", Unit.BYTES,
        (AtLeast("loop", 0.8),), "as image-tcp", streams.large_file_by_tcp, note="two servers"),
    Row("small", "tar backup of small files of 2 KiB with file history, against tar -cf", Unit.FILES,
        (AtLeast("GNU tar", 0.6), AtLeast("ndmjob", 1)), "the planner's Python and the system calls for each",
        streams.small_files, note="tar writes over its archive without cutting it, and makes no history"),
    Row("tree", "tar backup of a real tree with file history, against tar -cf", Unit.FILES,
        (AtLeast("GNU tar", 0.6), AtLeast("ndmjob", 1)), "as small", streams.real_tree),
    Row("restore-image", "image restored onto a disk, against dd conv=fdatasync", Unit.BYTES,
        (AtLeast("dd", 0.9),), "the disk, and the copy that feeds it", streams.restored_image,
        note="a restore ends with the image on the medium, and so does this dd"),
    Row("restore-file", "one large file restored to an empty folder, against tar -xf", Unit.BYTES,
        (AtLeast("GNU tar", 0.6),), "fresh pages and blocks of the new file, which both pay for",
        streams.restored_large_file),
    Row("restore-small", "small files restored to an empty folder, against tar -xf", Unit.FILES,
        (AtLeast("GNU tar", 0.6),), "the Python and the system calls for each file",
        streams.restored_small_files, note="both to a tmpfs: deletions cost the next run nothing there"),
    Row("history", "file history read by the DMA: RECOVER_FILEHIST of a tape of empty files", Unit.ENTRIES,
        (Rate(100_000),), "taking headers of the stream apart in Python, an entry at a time",
        history.file_history, note="the loop packs and reads as many entries and does nothing else"),
    Row("control", "replies (p99) on five control connections while four backups run", Unit.LATENCY,
        (Below(0.050, "50 ms"),), "turns of the scheduler, with more that runs than there are cores",
        control.replies_under_load, note="echo: a bare ping under the same streams"),
    Row("memory", "memory (PSS) of all processes with 64 idle sessions", Unit.MEMORY,
        (Below(2 << 30, "2 GiB"),), "pages of the interpreter that a fork writes to",
        processes.idle_sessions),
    Row("one-core", "one backup of small files: the server free, against all of it on one core", Unit.FILES,
        (AtLeast("one core", 1.5),), "the part of the work that one process does alone",
        processes.on_one_core),
    Row("two-at-once", "two such backups at once, files a second of both together", Unit.FILES,
        (AtLeast("one at a time", 0.95),), "the cores: one backup alone uses both already",
        processes.two_at_once),
)
