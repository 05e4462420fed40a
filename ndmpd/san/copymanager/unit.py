"""The copy manager as a logical unit of its own: a processor device that only copies. SPC-4 5.17.2."""

from __future__ import annotations

from ndmpd.san.copymanager.commands import THIRD_PARTY_OPERATIONS
from ndmpd.san.primary import PRIMARY_OPERATIONS
from ndmpd.san.task import OperationTable
from ndmpd.san.unit import Unit
from protocol.scsi.spc import DeviceType


class CopyManagerUnit(Unit):
    device_type = DeviceType.PROCESSOR
    product = "COPY MANAGER"
    third_party = True
    operations = OperationTable(PRIMARY_OPERATIONS, THIRD_PARTY_OPERATIONS)
