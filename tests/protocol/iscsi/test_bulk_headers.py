"""The two headers that are packed by hand say what their declarations say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.iscsi.pdu import RESERVED_TAG, DataIn, ScsiResponse, put_data_in, put_good

NUMBER = st.integers(0, 2**32 - 1)
RESIDUAL = st.integers(-(2**32 - 1), 2**32 - 1)
LENGTH = st.integers(0, 2**24 - 1)


def _signs(residual: int) -> dict[str, int]:
    return {"overflow": int(residual < 0), "underflow": int(residual > 0), "residual": abs(residual)}


@given(NUMBER, LENGTH, st.booleans(), NUMBER, NUMBER, st.tuples(NUMBER, NUMBER))
def test_data_in_between(tag: int, length: int, final: bool, offset: int, sn: int,
                         numbers: tuple[int, int]) -> None:
    declared = DataIn(task_tag=tag, final=int(final), offset=offset, data_sn=sn, exp_cmd_sn=numbers[0],
                      max_cmd_sn=numbers[1], transfer_tag=RESERVED_TAG)
    assert put_data_in(tag, length, final, offset, sn, numbers) == declared.put(length)


@given(NUMBER, LENGTH, NUMBER, NUMBER, st.tuples(NUMBER, NUMBER), NUMBER, RESIDUAL)
def test_data_in_that_ends_a_command(tag: int, length: int, offset: int, sn: int, numbers: tuple[int, int],
                                     status: int, residual: int) -> None:
    declared = DataIn(task_tag=tag, offset=offset, data_sn=sn, exp_cmd_sn=numbers[0], max_cmd_sn=numbers[1],
                      has_status=1, stat_sn=status, **_signs(residual))
    assert put_data_in(tag, length, True, offset, sn, numbers, status, residual) == declared.put(length)


@given(NUMBER, st.tuples(NUMBER, NUMBER), NUMBER, RESIDUAL)
def test_the_response_to_a_command_that_went_well(tag: int, numbers: tuple[int, int], status: int,
                                                  residual: int) -> None:
    declared = ScsiResponse(task_tag=tag, exp_cmd_sn=numbers[0], max_cmd_sn=numbers[1], stat_sn=status,
                            **_signs(residual))
    assert put_good(tag, numbers, status, residual) == declared.put()
