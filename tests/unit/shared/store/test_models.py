from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import ModelAlias
from shared.errors import ModelInUse, ModelNotFound
from shared.schemas import ModelDetail, ModelFormat, ModelPatch, ModelReference
from shared.store import attempts, evaluations, job_edits, models
from tests.support import factories


def _model(database: Database) -> UUID:
    return factories.succeeded(database)[1].id


def _patch(database: Database, model: ModelReference, **changes: Any) -> UUID:
    return database.write(lambda session: models.patch(session, model, ModelPatch(**changes)))


def _detail(database: Database, model: ModelReference) -> ModelDetail:
    return database.read(lambda session: models.detail(session, model))


def _remove(database: Database, model: ModelReference) -> None:
    database.write(lambda session: models.delete_model(session, model))


def _measuring(database: Database, model_id: UUID) -> UUID:
    spec = factories.make_evaluate_spec(model_id)
    return factories.submitted(database, kind="evaluate", spec=spec, model_id=model_id)


def test_models_come_newest_first_in_pages_without_gap_or_repeat(database: Database) -> None:
    ids = [_model(database) for _ in range(5)]
    first, second, third = (
        [one.id for one in database.read(partial(models.page, limit=2, before=before))]
        for before in (None, ids[3], ids[1])
    )

    assert first + second + third == ids[::-1]


def test_a_model_is_found_by_its_alias_wherever_by_its_id(database: Database) -> None:
    model_id = _model(database)

    assert _patch(database, model_id, alias="champion") == model_id

    found = _detail(database, "champion")
    assert (found.id, found.alias) == (model_id, "champion")
    file = database.read(lambda session: models.file(session, "champion", ModelFormat.ONNX))
    assert file.model_id == model_id


def test_an_alias_is_one_models_at_a_time_and_a_model_has_one(database: Database) -> None:
    first, second = _model(database), _model(database)
    _patch(database, first, alias="champion")
    _patch(database, second, alias="champion")
    _patch(database, second, alias="best")

    rows = database.read(lambda session: session.execute(select(ModelAlias.alias, ModelAlias.model_id)).all())
    assert [tuple(row) for row in rows] == [("best", second)]


def test_what_a_patch_leaves_out_stays(database: Database) -> None:
    model_id = _model(database)
    _patch(database, model_id, alias="champion", description="best")

    _patch(database, model_id, description=None)
    _patch(database, model_id)

    assert (_detail(database, model_id).alias, _detail(database, model_id).description) == ("champion", None)


def test_whoever_moves_an_alias_at_once_it_ends_with_one_of_them(database: Database) -> None:
    ids = [_model(database) for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda model_id: _patch(database, model_id, alias="champion"), ids * 5))

    assert _detail(database, "champion").id in ids
    assert [_detail(database, model_id).alias for model_id in ids].count("champion") == 1


def test_a_model_tells_every_evaluation_of_it(database: Database) -> None:
    trained, model = factories.succeeded(database)
    measuring = factories.claimed(database, _measuring(database, model.id)).attempt
    database.write(
        lambda session: attempts.succeed_evaluation(
            session, measuring, model.id, "mnist", factories.make_evaluation(accuracy=0.5)
        )
    )

    found = _detail(database, model.id)

    assert [(one.job_id, one.accuracy) for one in found.evaluations] == [
        (trained, 0.98),
        (measuring.job_id, 0.5),
    ]
    assert found.spec == model.spec


def test_a_deleted_model_is_gone_and_its_jobs_evaluation_is_not(database: Database) -> None:
    job_id, model = factories.succeeded(database)

    _remove(database, model.id)

    reads: list[Callable[[Any], object]] = [
        lambda session: models.detail(session, model.id),
        lambda session: models.spec(session, model.id),
        lambda session: models.file(session, model.id, ModelFormat.KERAS),
    ]
    for read in reads:
        with pytest.raises(ModelNotFound):
            database.read(read)
    assert database.read(lambda session: models.page(session, limit=9)) == []
    assert database.read(lambda session: evaluations.get(session, job_id)).accuracy == 0.98


def test_a_model_with_an_alias_is_not_deleted(database: Database) -> None:
    model_id = _model(database)
    _patch(database, model_id, alias="champion")

    with pytest.raises(ModelInUse, match="`champion`"):
        _remove(database, "champion")


def test_a_model_that_is_to_be_measured_or_was_is_not_deleted(database: Database) -> None:
    model_id = _model(database)
    job_id = _measuring(database, model_id)
    with pytest.raises(ModelInUse, match=str(job_id)):
        _remove(database, model_id)
    measuring = factories.claimed(database, job_id).attempt
    database.write(
        lambda session: attempts.succeed_evaluation(
            session, measuring, model_id, "mnist", factories.make_evaluation()
        )
    )

    with pytest.raises(ModelInUse, match=str(job_id)):
        _remove(database, model_id)


def test_a_model_whose_measuring_was_cancelled_is_deleted(database: Database) -> None:
    model_id = _model(database)
    job_id = _measuring(database, model_id)
    database.write(lambda session: job_edits.request_cancel(session, job_id))

    _remove(database, model_id)

    with pytest.raises(ModelNotFound):
        _detail(database, model_id)


@pytest.mark.parametrize("reference", [uuid7(), "champion"])
def test_an_unknown_model_is_not_found(database: Database, reference: ModelReference) -> None:
    for call in (_detail, _patch, _remove):
        with pytest.raises(ModelNotFound):
            call(database, reference)
