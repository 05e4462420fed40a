"""The settings of a SAN node: what it serves to whom, and what its copy manager reaches elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from ndmpd.config import Unit
from ndmpd.config_initiator import Initiator
from ndmpd.config_mistakes import checked, quoted, read_toml
from ndmpd.config_parts import Mistakes, Part, Table, no_rows
from ndmpd.config_san import San
from ndmpd.config_types import UnitName, Virtual

_TABLES: dict[str, type[Part]] = {"disk": Unit, "drive": Unit, "initiator": Initiator, "san": San}


class NodeSettings(Part):
    """``[san]``, ``[disk.NAME]``, ``[drive.NAME]`` and ``[initiator]`` as a server has them; nothing else."""

    disk: Table[UnitName, Unit] = Field(default_factory=no_rows)
    drive: Table[UnitName, Unit] = Field(default_factory=no_rows)
    initiator: Initiator = Field(default_factory=Initiator)
    san: San = Field(default_factory=San)

    @property
    def units(self) -> Iterator[tuple[str, str, Unit]]:
        """Every unit as (table, name, unit)."""
        yield from (("disk", name, unit) for name, unit in self.disk.items())
        yield from (("drive", name, unit) for name, unit in self.drive.items())

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        mistakes = tuple(self._mistakes())
        if mistakes:
            raise Mistakes(*mistakes)
        return self

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        for table, name, unit in self.units:
            if isinstance(unit.device, Virtual):
                yield f"{table}.{quoted(name)}.device", ("is a unit of this node, which its copy manager "
                                                         "reaches anyway; remove it")
        yield from self.initiator.strangers(unit.device for _, _, unit in self.units)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NodeSettings:
        """The settings of a TOML file. Raises ConfigError."""
        return checked(cls, _TABLES, read_toml(path), os.fspath(path))
