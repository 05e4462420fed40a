"""The embedded SAN: virtual drives, changer, disks, as SCSI logical units that answer CDBs."""
