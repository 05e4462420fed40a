"""Which data mover a job may use."""

import pytest

from ndmpd.errors import JobRefused
from ndmpd.formats.environment import Environment
from ndmpd.services.transfer import Mover, choose


@pytest.mark.parametrize("value", ["", "AUTO", "auto", "NAS", " nas "])
def test_the_head_moves_what_no_one_forbids_it_to(value: str) -> None:
    assert choose(Environment([("DATAMOVER", value)])) is Mover.NAS
    assert choose(Environment()) is Mover.NAS


@pytest.mark.parametrize("value", ["SCSI", "scsi", "tape", "N"])
def test_a_mover_that_is_not_there_refuses_the_job(value: str) -> None:
    with pytest.raises(JobRefused, match="DATAMOVER"):
        choose(Environment([("DATAMOVER", value)]))
