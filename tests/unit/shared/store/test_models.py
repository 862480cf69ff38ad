"""Models: lists, aliases, evaluations and deletion."""

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
from shared.errors import ArtifactNotFound, ModelInUse, ModelNotFound, ModelNotRunnable
from shared.formats.results import KERAS_FILE, ONNX_FILE
from shared.schemas import ModelDetail, ModelPatch, ModelReference
from shared.store import evaluations, job_edits, models
from shared.store.keyset import CreationKey
from tests.support import factories, queue_driver


def _model(database: Database) -> UUID:
    return queue_driver.succeeded(database)[1].id


def _patch(database: Database, model: ModelReference, **changes: Any) -> UUID:
    return database.write(lambda session: models.patch(session, model, ModelPatch(**changes)))


def _detail(database: Database, model: ModelReference) -> ModelDetail:
    return database.read(lambda session: models.detail(session, model))


def _delete(database: Database, model: ModelReference) -> None:
    database.write(lambda session: models.delete_model(session, model))


def _evaluate(database: Database, model_id: UUID) -> UUID:
    spec = factories.make_evaluate_spec(model_id)
    return queue_driver.submit(database, kind="evaluate", spec=spec, model_id=model_id)


def test_models_are_listed_newest_first_each_once(database: Database) -> None:
    ids = [_model(database) for _ in range(5)]
    listed: list[UUID] = []
    after: CreationKey | None = None
    while rows := database.read(partial(models.page, limit=2, after=after)):
        listed += [model.id for _, model in rows]
        after = rows[-1][0]

    assert listed == ids[::-1]


def test_models_with_an_alias_are_listed_by_it(database: Database) -> None:
    first, second, _, deleted = (_model(database) for _ in range(4))
    _patch(database, first, alias="zebra")
    _patch(database, second, alias="champion")
    _delete(database, deleted)

    assert [(model.alias, model.id) for model in database.read(models.named)] == [
        ("champion", second),
        ("zebra", first),
    ]


def test_the_files_of_a_model_are_listed_by_name(database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    files = _detail(database, model.id).artifacts
    assert [(file.name, file.role, file.size) for file in files] == [
        (name, "model", len(content)) for name, content in sorted(model.files.items())
    ]


def test_a_model_of_other_code_has_its_own_files_and_is_not_run(database: Database) -> None:
    model = factories.make_model(files={"b.pt": b"b", "a.pt": b"a"}, layers=(), weights_sha256=None)
    queue_driver.succeed(database, queue_driver.running(database), model)
    detail = _detail(database, model.id)
    assert (detail.kind, detail.parameters, detail.layers, detail.weights_sha256) == (None, None, (), None)
    assert database.read(lambda session: models.file(session, model.id))[1].name == "a.pt"
    with pytest.raises(ArtifactNotFound, match=r"has no file model\.onnx: its files are a\.pt, b\.pt"):
        database.read(lambda session: models.file(session, model.id, ONNX_FILE))
    with pytest.raises(ModelNotRunnable, match="not one of the networks"):
        database.read(lambda session: models.runnable(session, model.id))
    assert database.read(models.best) is None
    assert database.read(partial(models.page, runnable=True, limit=9)) == []


def test_a_model_can_be_referenced_by_its_alias(database: Database) -> None:
    model_id = _model(database)

    assert _patch(database, model_id, alias="champion") == model_id

    detail = _detail(database, "champion")
    assert (detail.id, detail.alias) == (model_id, "champion")
    assert database.read(lambda session: models.file(session, "champion", ONNX_FILE))[0] == model_id


def test_an_alias_belongs_to_one_model_and_a_model_has_one_alias(database: Database) -> None:
    first, second = _model(database), _model(database)
    _patch(database, first, alias="champion")
    _patch(database, second, alias="champion")
    _patch(database, second, alias="best")

    rows = database.read(lambda session: session.execute(select(ModelAlias.alias, ModelAlias.model_id)).all())
    assert [tuple(row) for row in rows] == [("best", second)]


def test_omitted_fields_of_a_patch_stay_unchanged(database: Database) -> None:
    model_id = _model(database)
    _patch(database, model_id, alias="champion", description="best")

    _patch(database, model_id, description=None)
    _patch(database, model_id)

    assert (_detail(database, model_id).alias, _detail(database, model_id).description) == ("champion", None)


def test_an_alias_that_is_moved_concurrently_ends_at_one_model(database: Database) -> None:
    ids = [_model(database) for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda model_id: _patch(database, model_id, alias="champion"), ids * 5))

    assert _detail(database, "champion").id in ids
    assert [_detail(database, model_id).alias for model_id in ids].count("champion") == 1


def test_a_model_is_returned_with_all_its_evaluations(database: Database) -> None:
    trained, model = queue_driver.succeeded(database)
    evaluating = queue_driver.claim(database, _evaluate(database, model.id)).attempt
    queue_driver.succeed_evaluation(database, evaluating, model.id, factories.make_evaluation(accuracy=0.5))

    detail = _detail(database, model.id)

    assert [(evaluation.job_id, evaluation.accuracy) for evaluation in detail.evaluations] == [
        (trained, 0.98),
        (evaluating.job_id, 0.5),
    ]
    assert detail.spec == factories.make_spec()


def test_deleting_a_model_keeps_the_evaluation_of_its_job(database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)

    _delete(database, model.id)

    reads: list[Callable[[Any], object]] = [
        lambda session: models.detail(session, model.id),
        lambda session: models.spec(session, model.id),
        lambda session: models.file(session, model.id, KERAS_FILE),
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
        _delete(database, "champion")


def test_a_model_that_an_evaluation_job_uses_or_has_used_is_not_deleted(database: Database) -> None:
    model_id = _model(database)
    job_id = _evaluate(database, model_id)
    with pytest.raises(ModelInUse, match=str(job_id)):
        _delete(database, model_id)
    evaluating = queue_driver.claim(database, job_id).attempt
    queue_driver.succeed_evaluation(database, evaluating, model_id, factories.make_evaluation())

    with pytest.raises(ModelInUse, match=str(job_id)):
        _delete(database, model_id)


def test_a_model_whose_evaluation_job_was_cancelled_is_deleted(database: Database) -> None:
    model_id = _model(database)
    job_id = _evaluate(database, model_id)
    database.write(lambda session: job_edits.request_cancel(session, job_id))

    _delete(database, model_id)

    with pytest.raises(ModelNotFound):
        _detail(database, model_id)


@pytest.mark.parametrize("reference", [uuid7(), "champion"])
def test_an_unknown_model_is_not_found(database: Database, reference: ModelReference) -> None:
    for call in (_detail, _patch, _delete):
        with pytest.raises(ModelNotFound):
            call(database, reference)
