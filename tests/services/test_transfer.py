"""Which data mover a job may use."""

import pytest

from ndmpd.errors import JobRefused
from ndmpd.formats.environment import Environment
from ndmpd.services.transfer import Mover, choose


def chosen(value: str | None, *, blocks: bool = True, local: bool = True, there: bool = True) -> Mover:
    environment = Environment([] if value is None else [("DATAMOVER", value)])
    return choose(environment, blocks=blocks, local=local, there=there)


@pytest.mark.parametrize(("value", "mover"), [
    (None, Mover.AUTO), ("", Mover.AUTO), ("auto", Mover.AUTO), ("NAS", Mover.NAS), (" nas ", Mover.NAS),
    ("SCSI", Mover.SCSI), ("scsi ", Mover.SCSI),
])
def test_the_dma_chooses_and_auto_is_the_default(value: str | None, mover: Mover) -> None:
    assert chosen(value) is mover


@pytest.mark.parametrize("missing", [{"blocks": False}, {"local": False}, {"there": False}])
def test_a_copy_manager_that_cannot_have_the_job_refuses_it(missing: dict[str, bool]) -> None:
    with pytest.raises(JobRefused, match=r"DATAMOVER=SCSI, but .*send AUTO or NAS"):
        chosen("SCSI", **missing)
    assert chosen("AUTO", **missing) is Mover.AUTO


@pytest.mark.parametrize("value", ["tape", "N"])
def test_an_unknown_type_is_refused(value: str) -> None:
    with pytest.raises(JobRefused, match="NAS, SCSI or AUTO"):
        chosen(value)
