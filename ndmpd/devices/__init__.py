"""Drives, changers, disks: drive logic written once on CDBs, and the transports that carry them."""
