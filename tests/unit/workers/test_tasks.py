"""The Celery task: a message names a job, and an attempt at it is run."""

from uuid import UUID, uuid4

import pytest

from tests.unit.workers.conftest import MakeProcess
from workers import pool_process, runner
from workers.pool_process import PoolProcess
from workers.tasks import run_job


@pytest.fixture
def process(make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch) -> PoolProcess:
    """The state of this process, as if it were a pool process."""
    process = make_process()
    monkeypatch.setattr(pool_process, "_current", process)
    return process


@pytest.mark.usefixtures("process")
def test_a_message_without_a_valid_job_id_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    run_job("no id")
    assert "message without a valid job id" in caplog.text


@pytest.mark.usefixtures("process")
def test_an_error_of_the_attempt_is_not_mistaken_for_an_invalid_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_process: PoolProcess, _job_id: UUID) -> None:
        raise ValueError("the attempt broke")

    monkeypatch.setattr(runner, "run_attempt", fail)
    with pytest.raises(ValueError, match="the attempt broke"):
        run_job(str(uuid4()))
