"""What each tenant has waiting and running."""

from functools import partial

from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.schemas import Scope
from shared.store import api_keys, tenant_loads
from shared.store.submissions import NewJobs, NewSweep, Submitter
from shared.store.submit import submit_jobs
from tests.support import factories, queue_driver
from tests.support.fakes import FrozenClock


def _submit(database: Database, clock: FrozenClock, request: NewJobs) -> None:
    database.write(lambda session: submit_jobs(session, [request], now=clock))


def test_tenants_are_listed_with_their_jobs_those_with_the_most_waiting_first(
    database: Database, clock: FrozenClock
) -> None:
    key = api_keys.NewApiKey.draw()
    database.write(lambda session: api_keys.create(session, key, name="Ada", scope=Scope.SUBMIT))
    of_key = Submitter(f"key {key.id}", key.id)
    _submit(database, clock, NewJobs([factories.make_new_job()], submitter=of_key))
    clock.advance(60)
    sweep = NewSweep(uuid7(), "a sweep", {})
    new = [factories.make_new_job(sweep_id=sweep.id) for _ in range(3)]
    _submit(database, clock, NewJobs(new, sweep=sweep, submitter=Submitter("team red")))
    _submit(database, clock, NewJobs([factories.make_new_job(queue="gpu")]))
    for _ in range(2):
        queue_driver.claim_next(database, now=clock)
    clock.advance(5)

    read = partial(tenant_loads.loads, limit=10, now=clock)
    loads = {(queue, load.tenant): load for queue, load in database.read(read)}
    assert list(loads) == [("default", "team red"), ("gpu", None), ("default", f"key {key.id}")]
    [of_team, _, of_ada] = loads.values()
    assert (of_team.name, of_team.queued, of_team.running, of_team.longest_wait_s) == (None, 2, 1, 5)
    assert (of_ada.name, of_ada.queued, of_ada.running, of_ada.longest_wait_s) == ("Ada", 0, 1, None)
    assert [load.tenant for _, load in database.read(partial(read, queue="gpu"))] == [None]
