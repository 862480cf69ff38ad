"""How `bench.chaos` accounts for what its systems have recorded."""

from pathlib import Path

import pytest

from bench import chaos_account
from bench.chaos_account import Span, Submission
from bench.chaos_load import Log

BEFORE, FAULT, END = Span(10, 20), Span(20, 30), 40.0


def submission(number: int, *, accepted: bool = True) -> Submission:
    return Submission(number, sent_at=float(number), answered_at=number + 0.1, accepted=accepted)


def account(numbers: list[int], at: list[tuple[float, int]]) -> chaos_account.Account:
    return chaos_account.account([submission(each) for each in numbers], at, BEFORE, FAULT, END)


def test_jobs_accepted_and_not_executed_are_lost_and_those_refused_are_not() -> None:
    submissions = [submission(10), submission(11, accepted=False), submission(12)]
    found = chaos_account.account(submissions, [(10.5, 10)], BEFORE, FAULT, END)
    assert (found.accepted, found.refused, found.lost, found.twice) == (2, 1, 1, 0)


def test_a_job_executed_again_counts_once_and_is_waited_for_until_its_first_execution() -> None:
    found = account([10, 11], [(10.5, 10), (13.0, 11), (30.0, 11), (31.0, 11)])
    assert (found.lost, found.twice, found.slowest_s) == (0, 1, 2.0)


def test_the_longest_gap_reaches_from_the_fault_to_the_end_of_the_load() -> None:
    assert account([10], [(10.5, 10), (22.0, 11), (29.0, 12)]).gap_s == 11
    assert account([10], []).gap_s == 20


@pytest.mark.parametrize(("resumed_at", "recovery_s"), [(30.0, 0.0), (33.0, 3.0), (39.5, None)])
def test_recovery_is_when_two_seconds_have_as_many_executions_as_before_the_fault(
    resumed_at: float, recovery_s: float | None
) -> None:
    before = [10 + number / 8 for number in range(80)]
    after = [resumed_at + number / 8 for number in range(1, 8 * int(END - resumed_at))]
    found = account([], [(at, number) for number, at in enumerate(before + after)])
    assert found.recovery_s == (None if recovery_s is None else pytest.approx(recovery_s, abs=0.3))


def test_records_are_read_as_they_were_appended(tmp_path: Path) -> None:
    executed, submitted = tmp_path / "executed", tmp_path / "submitted"
    for number in (2, 1):
        Log(executed).append(number, 3.5 - number)
    Log(submitted).append(1, 0.25, 0.5, 1)
    Log(submitted).append(2, 0.5, 30.5, 0)
    submissions = chaos_account.read_submissions(submitted)
    executions = chaos_account.read_executions([executed, tmp_path / "of a replica that has not started"])
    assert submissions == [Submission(1, 0.25, 0.5, True), Submission(2, 0.5, 30.5, False)]
    assert executions == [(1.5, 2), (2.5, 1)]
    assert chaos_account.unexecuted(submissions, executions[:1]) == {1}
