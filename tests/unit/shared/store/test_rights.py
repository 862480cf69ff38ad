"""Rights: a key's jobs, sweeps and models are changed by it, its team and administrators only."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import Job, JobEvent, ModelAlias
from shared.errors import JobNotFound, NotPermitted
from shared.lifecycle import EventType, JobState
from shared.schemas import ApiKeyUpdate, JobListQuery, ModelPatch, Priority, Scope
from shared.store import api_keys, job_edits, job_lists, models, rights, sweeps
from shared.store.api_keys import NewApiKey
from shared.store.rights import LOCAL, Actor
from shared.store.submissions import NewJobs, Submitter
from shared.store.submit import submit_jobs
from shared.store.sweeps import Objective
from tests.support import factories, queue_driver, stored
from tests.support.statements import ON_SQLITE, plan, recorded_statements

Change = Callable[..., None]


def _key(
    database: Database,
    name: str,
    team: str | None = None,
    scope: Scope = Scope.SUBMIT,
    *,
    urgent: bool = False,
) -> Actor:
    key = NewApiKey.draw()
    create = partial(api_keys.create, key=key, name=name, scope=scope, team=team, may_urgent=urgent)
    database.write(create)
    return Actor(name, key.id, is_admin=scope is Scope.ADMIN, may_urgent=urgent or scope is Scope.ADMIN)


def _queued(database: Database, owner: Actor, **overrides: object) -> UUID:
    new = factories.make_new_job(**overrides)
    submitter = Submitter(f"key {owner.key_id}", owner.key_id, owner)
    database.write(lambda session: submit_jobs(session, [NewJobs([new], submitter=submitter)]))
    return new.id


def _finished(database: Database, owner: Actor) -> tuple[UUID, UUID]:
    job_id, model = _queued(database, owner), factories.make_model()
    queue_driver.succeed(database, queue_driver.claim(database, job_id).attempt, model)
    return job_id, model.id


def _event(database: Database, job_id: UUID) -> JobEvent:
    """The last event of a job."""
    of_job = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq.desc()).limit(1)
    return database.read(lambda session: session.scalars(of_job).one())


def _cancel(session: Session, job_id: UUID, actor: Actor) -> None:
    job_edits.request_cancel(session, job_id, actor=actor)


def _rename(session: Session, job_id: UUID, actor: Actor) -> None:
    job_edits.edit(session, job_id, {"name": "theirs"}, actor=actor)


def _hurry(session: Session, job_id: UUID, actor: Actor) -> None:
    job_edits.edit(session, job_id, {"priority": Priority.HIGH}, actor=actor)


@pytest.mark.parametrize("change", [_cancel, _rename, _hurry], ids=["cancel", "edit", "priority"])
def test_a_queued_job_is_changed_by_its_key_its_team_and_administrators_only(
    database: Database, change: Change
) -> None:
    ann, bob, eve = (
        _key(database, "ann", "vision"),
        _key(database, "bob", "vision"),
        _key(database, "eve", "x"),
    )
    lone, admin = _key(database, "lone"), _key(database, "root", scope=Scope.ADMIN)
    for actor in (eve, lone):
        job_id = _queued(database, ann)
        with pytest.raises(NotPermitted, match="belongs to the key 'ann' of the team 'vision'"):
            database.write(partial(change, job_id=job_id, actor=actor))
        assert _event(database, job_id).type == EventType.SUBMITTED
    for actor in (ann, bob, admin, LOCAL):
        job_id = _queued(database, ann)
        database.write(partial(change, job_id=job_id, actor=actor))
        key_id = None if actor.key_id is None else str(actor.key_id)
        assert _event(database, job_id).data["by"] == {"name": actor.name, "key_id": key_id}


def test_the_cancellation_of_a_running_job_names_who_asked_for_it(database: Database) -> None:
    ann = _key(database, "ann")
    job_id = _queued(database, ann)
    queue_driver.claim(database, job_id)
    database.write(partial(_cancel, job_id=job_id, actor=ann))
    event = _event(database, job_id)
    assert (event.type, event.data) == (EventType.CANCEL_REQUESTED, ann.by)


def test_keys_without_a_team_are_strangers_to_each_other(database: Database) -> None:
    ann, bob = _key(database, "ann"), _key(database, "bob")
    job_id = _queued(database, ann)
    with pytest.raises(NotPermitted, match="belongs to the key 'ann': it and keys with the scope `admin`"):
        database.write(partial(_cancel, job_id=job_id, actor=bob))


def test_a_job_without_a_key_is_changed_by_administrators_only(database: Database) -> None:
    job_id = queue_driver.submit(database)
    for actor in (_key(database, "ann", "vision"), Actor("key 1 of READ_KEYS")):
        with pytest.raises(NotPermitted, match="belongs to no API key"):
            database.write(partial(_cancel, job_id=job_id, actor=actor))
    database.write(partial(_cancel, job_id=job_id, actor=_key(database, "root", scope=Scope.ADMIN)))


def test_a_job_that_does_not_exist_is_not_found_whoever_asks(database: Database) -> None:
    with pytest.raises(JobNotFound):
        database.write(partial(_cancel, job_id=uuid7(), actor=_key(database, "ann")))


def test_a_revoked_key_that_gets_a_team_leaves_its_jobs_to_it(database: Database) -> None:
    old, new = _key(database, "ann's old key"), _key(database, "ann's new key", "ann")
    job_id = _queued(database, old)
    assert old.key_id is not None
    database.write(lambda session: api_keys.revoke(session, old.key_id or uuid7()))
    with pytest.raises(NotPermitted):
        database.write(partial(_rename, job_id=job_id, actor=new))
    database.write(partial(api_keys.change, key_id=old.key_id, changes=ApiKeyUpdate(team="ann")))
    database.write(partial(_rename, job_id=job_id, actor=new))


def test_the_team_is_the_one_that_the_database_has_when_the_change_is_made(database: Database) -> None:
    ann, bob = _key(database, "ann", "vision"), _key(database, "bob", "vision")
    job_id = _queued(database, ann)
    assert bob.key_id is not None
    database.write(partial(api_keys.change, key_id=bob.key_id, changes=ApiKeyUpdate(team="speech")))
    with pytest.raises(NotPermitted):
        database.write(partial(_cancel, job_id=job_id, actor=bob))


def test_a_finished_job_and_its_model_are_deleted_by_its_own_only(database: Database) -> None:
    ann, bob, eve = _key(database, "ann", "vision"), _key(database, "bob", "vision"), _key(database, "eve")
    job_id, model_id = _finished(database, ann)
    with pytest.raises(NotPermitted, match=f"job {job_id}"):
        database.write(partial(job_edits.delete_job, job_id=job_id, actor=eve))
    with pytest.raises(NotPermitted, match=f"model {model_id}"):
        database.write(partial(models.delete_model, reference=model_id, actor=eve))
    database.write(partial(models.delete_model, reference=model_id, actor=bob))
    assert _event(database, job_id).data == {"model": "deleted", **bob.by}
    database.write(partial(job_edits.delete_job, job_id=job_id, actor=bob))
    assert database.read(lambda session: session.get(Job, job_id)) is None


def test_an_alias_is_an_event_of_the_jobs_that_trained_both_models(database: Database) -> None:
    ann = _key(database, "ann")
    (first, old), (second, new) = _finished(database, ann), _finished(database, ann)
    champion = ModelPatch(alias="champion")
    for model_id in (old, new, new):
        database.write(partial(models.patch, reference=model_id, changes=champion, actor=ann))
    given, lost = {"alias": "champion", **ann.by}, {"alias": None, **ann.by}
    assert (_event(database, first).data, _event(database, second).data) == (lost, given)
    assert database.read(lambda session: session.get_one(Job, second).state) == JobState.SUCCEEDED


def test_an_alias_is_not_taken_from_others_models(database: Database) -> None:
    ann, eve, admin = _key(database, "ann"), _key(database, "eve"), _key(database, "r", scope=Scope.ADMIN)
    (job_id, anns), (_, eves) = _finished(database, ann), _finished(database, eve)
    champion = ModelPatch(alias="champion")
    with pytest.raises(NotPermitted, match=f"model {anns} belongs"):
        database.write(partial(models.patch, reference=anns, changes=champion, actor=eve))
    database.write(partial(models.patch, reference=anns, changes=champion, actor=ann))

    with pytest.raises(NotPermitted, match=f"model {anns}, which is `champion`, belongs to the key 'ann'"):
        database.write(partial(models.patch, reference=eves, changes=champion, actor=eve))

    assert _event(database, job_id).data["alias"] == "champion"
    assert database.read(lambda session: session.get_one(ModelAlias, "champion").model_id) == anns
    database.write(partial(models.patch, reference=eves, changes=champion, actor=admin))
    assert database.read(lambda session: session.get_one(ModelAlias, "champion").model_id) == eves


def test_urgent_jobs_need_a_key_that_may(database: Database) -> None:
    ann, boss = _key(database, "ann"), _key(database, "boss", urgent=True)
    with pytest.raises(NotPermitted, match="'ann' may not give jobs the priority `urgent`"):
        _queued(database, ann, priority=Priority.URGENT)
    job_id = _queued(database, ann, priority=Priority.HIGH)
    hurry = partial(job_edits.edit, job_id=job_id, values={"priority": Priority.URGENT})
    with pytest.raises(NotPermitted, match="urgent"):
        database.write(partial(hurry, actor=ann))
    own = _queued(database, boss, priority=Priority.URGENT)
    assert _event(database, own).data == boss.by
    database.write(partial(hurry, actor=_key(database, "root", scope=Scope.ADMIN)))
    assert _event(database, job_id).data["priority"] == "urgent"


def test_keys_whose_things_someone_may_change(database: Database) -> None:
    ann, bob, eve = _key(database, "ann", "vision"), _key(database, "bob", "vision"), _key(database, "eve")
    owners = {ann.key_id, bob.key_id, eve.key_id, None}

    def changeable(actor: Actor) -> frozenset[UUID | None]:
        return database.read(partial(rights.changeable, actor=actor, owners=owners))

    assert changeable(ann) == changeable(bob) == {ann.key_id, bob.key_id}
    assert changeable(eve) == {eve.key_id}
    assert changeable(LOCAL) == owners


@pytest.mark.parametrize("sort", ["-created_at", "created_at", "-duration"])
def test_jobs_are_listed_by_who_submitted_them(database: Database, sort: str) -> None:
    ann, other_ann, eve = _key(database, "ann"), _key(database, "ann"), _key(database, "eve")
    first, second, third = _queued(database, ann), _queued(database, other_ann), _queued(database, eve)
    without = queue_driver.submit(database)

    def listed(submitted_by: object) -> set[UUID]:
        query = JobListQuery(submitted_by=str(submitted_by), sort=sort)
        rows = database.read(partial(job_lists.page, query=query, limit=9))
        return {job.id for _, job in rows}

    assert listed("ann") == {first, second}
    assert listed("eve") == listed(eve.key_id) == {third}
    assert listed(ann.key_id) == {first}
    assert (listed("none"), listed("nobody")) == ({without}, set())


def test_sweeps_and_models_say_who_submitted_them_and_are_listed_by_that(database: Database) -> None:
    ann = _key(database, "ann")
    sweep_id, jobs = queue_driver.submit_sweep(database, seed=[1, 2])
    other, _ = queue_driver.submit_sweep(database, seed=[1])
    for job_id in jobs:
        stored.set_columns(database, job_id, api_key_id=ann.key_id)
    _, model_id = _finished(database, ann)
    _, others = queue_driver.succeeded(database)

    page = partial(sweeps.page, objective=Objective.of("loss"), limit=9)
    by = {each.id: (each.api_key_id, each.submitted_by) for _, each in database.read(page)}
    assert by == {sweep_id: (ann.key_id, "ann"), other: (None, None)}
    assert [each.id for _, each in database.read(partial(page, submitted_by="ann"))] == [sweep_id]
    assert [each.id for _, each in database.read(partial(page, submitted_by="none"))] == [other]
    trained = partial(models.page, limit=9)
    by = {each.id: (each.api_key_id, each.submitted_by) for _, each in database.read(trained)}
    assert by == {model_id: (ann.key_id, "ann"), others.id: (None, None)}
    assert [each.id for _, each in database.read(partial(trained, submitted_by="ann"))] == [model_id]
    assert database.read(partial(models.detail, reference=model_id)).submitted_by == "ann"


def test_a_sweep_is_cancelled_by_its_own_only(database: Database) -> None:
    ann, eve = _key(database, "ann"), _key(database, "eve")
    sweep_id, jobs = queue_driver.submit_sweep(database, seed=[1, 2])
    for job_id in jobs:
        stored.set_columns(database, job_id, api_key_id=ann.key_id)
    assert database.read(partial(sweeps.cancellable, sweep_id=sweep_id, actor=ann)) == jobs
    with pytest.raises(NotPermitted, match=f"sweep {sweep_id} belongs to the key 'ann'"):
        database.read(partial(sweeps.cancellable, sweep_id=sweep_id, actor=eve))


@ON_SQLITE
def test_the_many_jobs_of_a_key_are_read_from_an_index_in_the_order_of_the_list(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lists, "_LOOKUP_LIMIT", {"sqlite": 0})
    ann = _key(database, "ann")
    query = JobListQuery(submitted_by=str(ann.key_id))
    with recorded_statements(database) as statements:
        database.read(partial(job_lists.page, query=query, limit=9))
    [listed] = [each for each in statements if "ORDER BY jobs.created_at" in each.sql]
    steps = plan(database, listed)
    assert "USING INDEX ix_jobs_by_created_at" in steps
    assert "TEMP B-TREE" not in steps


@ON_SQLITE
def test_the_few_jobs_of_a_key_are_looked_up(database: Database) -> None:
    ann = _key(database, "ann")
    for key_id in (ann.key_id, None):
        queue_driver.submit(database, key_id=key_id)
    query = JobListQuery(submitted_by=str(ann.key_id))
    with recorded_statements(database) as statements:
        [(_, listed)] = database.read(partial(job_lists.page, query=query, limit=9))
    assert listed.api_key_id == ann.key_id
    [keys] = [each for each in statements if "ORDER BY jobs.created_at" in each.sql]
    assert "USING COVERING INDEX ix_jobs_of_key (api_key_id=?)" in plan(database, keys)


def test_keys_may_submit_urgent_jobs_if_they_are_administrators(database: Database) -> None:
    _key(database, "root", scope=Scope.ADMIN)
    _key(database, "ann")
    keys = database.read(
        lambda session: {key.name: key.may_urgent for _, key in api_keys.page(session, limit=9)}
    )
    assert keys == {"root": True, "ann": False}
