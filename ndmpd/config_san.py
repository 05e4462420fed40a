"""``[san]``: the embedded SAN, and who may reach it as an iSCSI target (``ndmpd san serve``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from ndmpd.config_files import absolute, read_private
from ndmpd.config_initiator import IscsiName
from ndmpd.config_parts import Mistakes, Origin, Part, Table, no_rows
from ndmpd.config_types import ListenAt, Size, UnitName

ISCSI_PORT = 3260
SHORTEST_SECRET, LONGEST_SECRET = 12, 255
"""Bytes: RFC 7143 9.2.1 wants 96 bits at least where the network is not protected otherwise."""
_NAMES = ("disk0", "disk1", "tape0", "tape1", "mc0", "copy0")
AbsolutePath = Annotated[Path, BeforeValidator(absolute)]


class TargetUser(Part):
    """``[[san.target.user]]``: an initiator that logs in by CHAP, and, for mutual CHAP, what we answer with.

    The secrets are read when the settings are loaded.
    """

    name: str = Field(min_length=1, max_length=255)
    secret_file: AbsolutePath
    our_name: str | None = Field(default=None, min_length=1, max_length=255)
    our_secret_file: AbsolutePath | None = None
    secret: SecretStr = Field(default=SecretStr(""), exclude=True)
    our_secret: SecretStr = Field(default=SecretStr(""), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _secrets_are_no_keys(cls, data: Any) -> Any:
        found = [key for key in ("secret", "our_secret") if isinstance(data, dict) and key in data]
        if found:
            raise Mistakes(*((key, "a secret does not belong in this file; write it to a file of its own and "
                                   f"name that as {key}_file") for key in found))
        return data

    @model_validator(mode="after")
    def _read_secrets(self, info: ValidationInfo) -> Self:
        if (self.our_name is None) != (self.our_secret_file is None):
            missing = "our_name" if self.our_name is None else "our_secret_file"
            raise Mistakes((missing, "is missing; mutual CHAP takes our_name and our_secret_file"))
        lenient = isinstance(info.context, Origin) and info.context.lenient
        for key in ("secret", "our_secret"):
            path = getattr(self, f"{key}_file")
            if path is not None:
                object.__setattr__(self, key, _secret(f"{key}_file", path, lenient=lenient))
        if self.our_secret_file is not None and self.secret == self.our_secret:
            raise Mistakes(("our_secret_file", "holds the same secret as secret_file, which would prove "
                                               "nothing; agree upon another"))
        return self


def _secret(key: str, path: Path, *, lenient: bool) -> SecretStr:
    try:
        found = read_private(path, lenient=lenient)
    except ValueError as error:
        raise Mistakes((key, str(error))) from None
    if not SHORTEST_SECRET <= len(found.encode()) <= LONGEST_SECRET:
        raise Mistakes((key, f"{path} must hold a secret of {SHORTEST_SECRET} to {LONGEST_SECRET} bytes on "
                             f"its first line, not {len(found.encode())}"))
    return SecretStr(found)


class Target(Part):
    """``[san.target]``. ``allow``: names of the initiators that may come; empty for all of them."""

    listen: ListenAt = Field(default=f"tcp:{ISCSI_PORT}", validate_default=True)
    allow: tuple[IscsiName, ...] = ()
    user: tuple[TargetUser, ...] = ()

    @model_validator(mode="after")
    def _one_of_a_name(self) -> Self:
        names = [one.name for one in self.user]
        for name in sorted({name for name in names if names.count(name) > 1}):
            raise Mistakes(("user", f"{name!r} stands there more than once; keep one"))
        return self


class ServedDisk(Part):
    """``[san.disk.NAME]``: a file or block device of this machine, served as a disk."""

    path: AbsolutePath
    read_only: bool = False
    block_length: Literal[512, 4096] = 512


class San(Part):
    """``[san]``: the embedded SAN under ``state_dir/san``, used where a device is ``virtual:NAME``."""

    tape_capacity: Size = Field(default=8 << 30, ge=1 << 20)
    disk_block_length: Literal[512, 4096] = 512
    target: Target = Field(default_factory=Target)
    disk: Table[UnitName, ServedDisk] = Field(default_factory=no_rows)

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name in self.disk:
            if name in _NAMES:
                raise Mistakes((f"disk.{name}", "the embedded SAN has a unit of this name; choose another"))
        return self
