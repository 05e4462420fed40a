"""The embedded SAN: virtual drives, changer, disks, as SCSI logical units that answer CDBs.

``create`` makes one or finds it; ``ndmpd.san.registry.open_unit`` gives its units.
"""

from ndmpd.san.creation import create
from ndmpd.san.folder import Flush, San

__all__ = ["Flush", "San", "create"]
