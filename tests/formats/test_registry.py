"""Every butype can be found by its name, and says of itself only what is so."""

from __future__ import annotations

import pytest

from ndmpd.devices.disk import Disk
from ndmpd.formats.registry import butypes
from protocol.ndmp.codes import ButypeAttr


def test_the_butypes_are_tar_and_image():
    assert list(butypes(Disk)) == ["tar", "image"]


@pytest.mark.parametrize("name", ["tar", "image"])
def test_a_butype_knows_its_own_name_and_tells_it_as_type(name):
    butype = butypes(Disk)[name]
    assert butype.name == name
    assert dict(butype.default_env())["TYPE"] == name


@pytest.mark.parametrize("name", ["tar", "image"])
def test_default_variables_are_named_once_and_short(name):
    pairs = butypes(Disk)[name].default_env()
    assert len({variable for variable, _ in pairs}) == len(pairs)
    assert all(len(variable) + len(value) < 500 for variable, value in pairs)


@pytest.mark.parametrize("name", ["tar", "image"])
def test_incrementals_are_not_claimed(name):
    incremental = ButypeAttr.BACKUP_INCREMENTAL | ButypeAttr.RECOVER_INCREMENTAL
    assert not butypes(Disk)[name].attributes() & incremental


def test_each_call_makes_butypes_of_its_own():
    """One object serves one job; two jobs in one process must not share."""
    assert butypes(Disk)["tar"] is not butypes(Disk)["tar"]


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        butypes(Disk)["zip"] = None
