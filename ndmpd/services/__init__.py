"""Carry out what the session core decides: data, mover, tape, SCSI, config and notices."""
