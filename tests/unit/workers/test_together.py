"""Jobs that a process has claimed together: one that is refused or takes long costs the others nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest

from shared.db.engine import Database
from shared.formats.results import Produced
from shared.lifecycle import AttemptOutcome, JobState
from shared.schemas import LayerSummary, TrainSpec
from shared.settings import Settings
from tests.support import stored
from tests.support.factories import make_evaluation, make_spec
from tests.support.queue_driver import submit
from tests.support.stub_executor import QuickExecutor
from tests.support.waiting import wait_until
from tests.unit.workers.conftest import MakeProcess
from workers.executor import Checkpoint, Monitor
from workers.pace import Pace
from workers.pool_process import PoolProcess
from workers.runner import claim_next, run_claimed

_REFUSED, _LONG = 77, 78  # seeds


class _UnreadableLayers(tuple[LayerSummary, ...]):
    def __iter__(self) -> Iterator[LayerSummary]:
        raise ValueError("the summary cannot be read")


class _Mixed(QuickExecutor):
    """Trains models of which some cannot be stored, and some take until a test lets them end."""

    def __init__(self, settings: Settings, refused: dict[str, Any], long: Callable[[], None]) -> None:
        super().__init__(settings)
        self._refused, self._long = refused, long

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        if spec.seed == _LONG:
            self._long()
        produced = super().train(spec, start, monitor)
        return replace(produced, **self._refused) if spec.seed == _REFUSED else produced


def _nothing() -> None:
    pass


def _process(make_process: MakeProcess, refused: dict[str, Any], long: Callable[[], None]) -> PoolProcess:
    """Return a process whose last jobs were many and short."""
    process = make_process()
    pace = Pace()
    pace.ended(0.001)
    pace.found(8, of=8)
    return replace(process, pace=pace, executor=_Mixed(process.settings, refused, long))


def _submit(database: Database, *seeds: int) -> list[UUID]:
    return [submit(database, spec=make_spec(epochs=1, seed=seed)) for seed in seeds]


def _states(database: Database, job_ids: list[UUID]) -> list[str]:
    return [stored.job(database, job_id).state for job_id in job_ids]


def _run(process: PoolProcess) -> int:
    """Run what is claimed together; return how many these are."""
    claimed = claim_next(process)
    run_claimed(process, claimed)
    return len(claimed)


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param({"layers": _UnreadableLayers()}, id="by this process"),
        pytest.param({"result": replace(make_evaluation(), type=cast(Any, None))}, id="by the database"),
    ],
)
def test_a_result_that_is_refused_fails_its_job_and_none_that_is_reported_with_it(
    make_process: MakeProcess, refused: dict[str, Any]
) -> None:
    process = _process(make_process, refused, _nothing)
    job_ids = _submit(process.database, 1, _REFUSED, 2, 3)
    assert _run(process) == 4
    states = [JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED, JobState.SUCCEEDED]
    assert _states(process.database, job_ids) == states
    for job_id in job_ids:
        types = stored.event_types(process.database, job_id)
        assert [types.count("claimed"), types.count("succeeded") + types.count("failed")] == [1, 1]
    failed = stored.job(process.database, job_ids[1])
    assert str(failed.error_message).startswith("the result could not be stored: ")
    assert [stored.job(process.database, job_id).lost_attempts for job_id in job_ids] == [0] * 4


@pytest.mark.parametrize("first", [1, _REFUSED])
def test_a_long_job_holds_up_none_that_was_claimed_with_it(
    make_process: MakeProcess, database: Database, first: int
) -> None:
    ended = JobState.FAILED if first == _REFUSED else JobState.SUCCEEDED
    unloaded = [ended, JobState.SUCCEEDED, JobState.RUNNING, JobState.QUEUED]
    job_ids: list[UUID] = []

    def wait_for_the_others() -> None:
        wait_until(lambda: _states(database, job_ids) == unloaded, "they wait no longer", timeout=5)

    process = _process(make_process, {"layers": _UnreadableLayers()}, wait_for_the_others)
    job_ids += _submit(database, first, 2, _LONG, 3)
    claimed = claim_next(process)
    assert len(claimed) == 4
    [next_claim] = run_claimed(process, claimed)
    assert _states(database, job_ids) == [*unloaded[:2], JobState.SUCCEEDED, JobState.RUNNING]
    assert (next_claim.attempt.job_id, next_claim.attempt.number) == (job_ids[3], 2)
    put_back = stored.attempt(database, job_ids[3], 1)
    assert put_back.outcome == AttemptOutcome.RELEASED
