"""Every route that cancels jobs also cancels the jobs that wait for them."""

import httpx
import pytest

from shared.db.engine import Database
from shared.lifecycle import JobState
from tests.support import factories, queue_driver, stored
from tests.support.waiting import wait_until

_DEPENDENTS = 120  # more than end with the job itself


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/{job}/cancel",
        "/v1/jobs/batch",
        "/v1/sweeps/{sweep}/cancel",
        "/jobs/{job}/cancel",
        "/sweeps/{sweep}/cancel",
    ],
)
def test_all_that_waits_for_a_cancelled_job_is_cancelled_although_no_worker_runs(
    client: httpx.Client, database: Database, path: str
) -> None:
    sweep_id, [job_id] = queue_driver.submit_sweep(database, seed=[1])
    waiting = [factories.make_new_job(after=(job_id,)) for _ in range(_DEPENDENTS)]
    queue_driver.submit_all(database, waiting)

    batch = {"action": "cancel", "ids": [str(job_id)]}
    own_page = {"Sec-Fetch-Site": "same-origin"}
    answer = client.post(path.format(job=job_id, sweep=sweep_id), json=batch, headers=own_page)

    assert answer.status_code in (200, 303)
    wait_until(lambda: not stored.job_ids(database, JobState.QUEUED), "all that waits is cancelled")
