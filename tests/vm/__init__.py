"""Tests in a virtual machine: Debian's kernel with its own SCSI drivers judges our drives and targets.

The machine has no network device. It sees this machine's files read-only, writes into memory, and hands
back what a script leaves in ``/vmout``.
"""
