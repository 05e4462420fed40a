"""``[initiator]``: how this machine presents itself to iSCSI targets, and what it expects of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from ndmpd.config_files import absolute, read_private
from ndmpd.config_mistakes import quoted
from ndmpd.config_parts import Mistakes, Origin, Part, Table, no_rows
from ndmpd.config_types import Device, Iscsi

_NAME = re.compile(r"(iqn\.\d{4}-\d{2}\.[^\s,/]+|eui\.[0-9A-Fa-f]{16}|naa\.([0-9A-Fa-f]{16}){1,2})")
_LONGEST_NAME = 223
_LONGEST_SECRET = 255


def parse_iscsi_name(value: Any) -> str:
    """An initiator's or target's name: iqn, eui or naa (RFC 7143 4.2.7)."""
    if not isinstance(value, str) or len(value.encode()) > _LONGEST_NAME or not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not an iSCSI name; write it like \"iqn.2026-11.com.example:name\"")
    return value.lower()


IscsiName = Annotated[str, BeforeValidator(parse_iscsi_name)]
SecretFile = Annotated[Path, BeforeValidator(absolute)]


class Credentials(Part):
    """CHAP: ``user`` and the secret that a target asks for; ``target_user`` and the one it has to prove that
    it knows (mutual CHAP). The secrets are read when the settings are loaded.
    """

    user: str | None = Field(default=None, min_length=1, max_length=255)
    secret_file: SecretFile | None = None
    target_user: str | None = Field(default=None, min_length=1, max_length=255)
    target_secret_file: SecretFile | None = None
    header_digest: Literal["none", "crc32c"] | None = None
    secret: SecretStr = Field(default=SecretStr(""), exclude=True)
    target_secret: SecretStr = Field(default=SecretStr(""), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _secrets_are_no_keys(cls, data: Any) -> Any:
        found = [key for key in ("secret", "target_secret") if isinstance(data, dict) and key in data]
        if found:
            raise Mistakes(*((key, "a secret does not belong in this file; write it to a file of its own and "
                                   f"name that as {key}_file") for key in found))
        return data

    @model_validator(mode="after")
    def _read_secrets(self, info: ValidationInfo) -> Self:
        lenient = isinstance(info.context, Origin) and info.context.lenient
        for user, file, secret in (("user", "secret_file", "secret"),
                                   ("target_user", "target_secret_file", "target_secret")):
            path = getattr(self, file)
            if (path is None) != (getattr(self, user) is None):
                missing, given = (file, user) if path is None else (user, file)
                raise Mistakes((missing, f"is missing; {given} alone does not log in anywhere"))
            if path is not None:
                object.__setattr__(self, secret, _secret(file, path, lenient=lenient))
        if self.target_user is not None and self.user is None:
            raise Mistakes(("target_user", "a target proves itself only to somebody who does; write user and "
                                           "secret_file too"))
        if self.user is not None and self.secret == self.target_secret:
            raise Mistakes(("target_secret_file", "holds the same secret as secret_file, which would prove "
                                                  "nothing; agree upon another with the target"))
        return self


def _secret(key: str, path: Path, *, lenient: bool) -> SecretStr:
    try:
        found = read_private(path, lenient=lenient)
    except ValueError as error:
        raise Mistakes((key, str(error))) from None
    if not 1 <= len(found.encode()) <= _LONGEST_SECRET:
        raise Mistakes((key, f"{path} must hold a secret of 1 to {_LONGEST_SECRET} bytes on its first line, "
                             f"not {len(found.encode())}; 12 or more are what targets ask for"))
    return SecretStr(found)


class Initiator(Credentials):
    """``name`` None: this machine's own. Times in seconds. ``target``: what is otherwise with some."""

    name: IscsiName | None = None
    login_timeout: float = Field(default=15.0, ge=1, le=300)
    silence_timeout: float = Field(default=15.0, ge=3, le=3600)
    target: Table[IscsiName, Credentials] = Field(default_factory=no_rows)

    def credentials(self, target: str) -> Credentials:
        """What is written for ``target``, and otherwise for all ("" is for asking portals what they have)."""
        return self.target.get(target.lower(), self)

    def digests(self, target: str) -> bool:
        """Whether headers are to be protected by CRC32C."""
        return (self.credentials(target).header_digest or self.header_digest) == "crc32c"

    def strangers(self, devices: Iterable[Device]) -> Iterator[tuple[str, str]]:
        """Mistakes (see ``Mistakes``): tables of ``target`` at which none of ``devices`` is reached."""
        reached = {device.target.lower() for device in devices if isinstance(device, Iscsi)}
        for target in self.target:
            if target not in reached:
                yield f"initiator.target.{quoted(target)}", ("no device is reached at this target; "
                                                             "remove it, or correct the name")
