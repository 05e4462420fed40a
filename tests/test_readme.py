"""What the README prints of the code is what the code says: state tables, variables, commands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import click
import pytest

from ndmpd.__main__ import main
from ndmpd.client.__main__ import main as client
from ndmpd.devices.disk import Disk
from ndmpd.formats.registry import butypes
from ndmpd.session.data import DATA, DataInput
from ndmpd.session.machine import Step
from ndmpd.session.mover import MOVER, MoverInput
from protocol.ndmp.codes import DataState, MoverState

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
NOWHERE = "·"

Rows = Mapping[tuple[Any, Any], Step[Any]]

_D = DataState
DATA_STATES = (_D.IDLE, _D.LISTEN, _D.CONNECTED, _D.ACTIVE, _D.HALTED)
"""``DataState`` has the numbers of the draft, which come in another order than a job meets them."""
MOVER_STATES = tuple(MoverState)


def state_table(states: Sequence[IntEnum], inputs: type[Enum], rows: Rows) -> str:
    """One line for each input: the state it leads to from each state; requests first, then events.

    Rows that stay where they are for every state (GET_STATE) are left out.
    """
    lines = [" | ".join(("| input", *(f"in {state.name}" for state in states))) + " |",
             "|---" * (len(states) + 1) + "|"]
    for given in inputs:
        steps = [rows.get((state, given)) for state in states]
        if all(step is not None and step.to == state for state, step in zip(states, steps, strict=True)):
            continue
        lines.append(" | ".join((f"| {given.name}", *map(cell, steps))) + " |")
    return "\n".join(lines)


def cell(step: Step[Any] | None) -> str:
    if step is None:
        return NOWHERE
    only = f" (v{step.only.value} only)" if step.only is not None else ""
    return f"{step.to.name}{only}"


@pytest.mark.parametrize(
    "table",
    [state_table(DATA_STATES, DataInput, DATA.rows), state_table(MOVER_STATES, MoverInput, MOVER.rows)],
    ids=["DATA", "MOVER"],
)
def test_the_state_tables_are_the_ones_that_run(table: str) -> None:
    assert table in README, f"put this into README.md:\n{table}"


def test_no_state_is_left_out() -> None:
    assert set(DATA_STATES) == set(DataState)


@pytest.mark.parametrize(
    "butype", [butype for _, butype in sorted(butypes(Disk).items())], ids=lambda butype: butype.name
)
def test_every_variable_that_a_butype_offers_is_explained(butype: Any) -> None:
    explained = set(re.findall(r"`([A-Z_]+)(?:=[^`]*)?`", section("Environment variables")))
    assert {name for name, _ in butype.default_env()} - explained == set()


def test_every_command_is_named_and_none_that_is_missing() -> None:
    named = set(re.findall(r"`(ndmpd|ndmpc) ([a-z]+)", README))
    existing = {(name, command) for name, group in (("ndmpd", main), ("ndmpc", client))
                for command in group.list_commands(click.Context(group))}
    assert named == existing


def test_files_that_it_points_to_exist() -> None:
    paths = set(re.findall(r"`((?:conf|tests|protocol|ndmpd|\.ci)/[a-z_./]*)`", README))
    assert len(paths) > 5
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def section(title: str) -> str:
    """The text below a heading, up to the next one of the same level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found is not None, f"README.md has no section {title!r}"
    return found[1]
