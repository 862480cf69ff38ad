"""The client's methods for results, against the real API on SQLite."""

import json
from hashlib import sha256
from io import BytesIO
from uuid import UUID

import numpy as np
import pytest
from PIL import Image

from shared.db.engine import Database
from shared.formats.results import NewArtifact, Produced
from shared.schemas import (
    GridSweepCreate,
    NoDigitReason,
    Part,
    RandomSweepCreate,
    Range,
    Resolution,
)
from tests.support import factories, queue_driver
from tests.support.drawings import make_drawing
from tests.support.onnx_models import make_readable_model
from trainshed import Client, TrainshedApiError, UsageError


def _file(format_: str = "PNG") -> bytes:
    file = BytesIO()
    Image.fromarray(make_drawing()).save(file, format_)
    return file.getvalue()


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_an_image_file_is_predicted(server: Client, model_id: UUID, format_: str) -> None:
    predictions = server.predict(_file(format_), model_id)

    assert (predictions.model_id, predictions.data[0].prediction) == (model_id, 3)


def test_several_images_are_predicted_at_once(server: Client, model_id: UUID) -> None:
    predictions = server.predict(
        [_file(), np.zeros((28, 28)), np.full((28, 28), 0.01)], model_id, threshold=0.9
    )

    assert [prediction.reason for prediction in predictions.data] == [
        None,
        NoDigitReason.BLANK,
        NoDigitReason.BELOW_THRESHOLD,
    ]
    assert predictions.threshold == 0.9


def test_predictions_are_filtered_and_their_images_shown(server: Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    model = factories.make_model(spec=factories.make_spec(dataset="digits"))
    queue_driver.succeed(database, attempt, model)

    [wrong] = server.predictions(attempt.job_id, correct=False)
    all_of_class = list(server.predictions(attempt.job_id, label=9))

    assert (wrong.index, wrong.label, wrong.predicted) == (7, 9, 4)
    assert server.predictions_file(attempt.job_id) == model.evaluation.body
    assert len(all_of_class) == 5
    strip = Image.open(BytesIO(server.images("digits", [image.index for image in all_of_class])))
    assert strip.size == (28, 5 * 28)


def test_images_of_a_job_are_read(server: Client, database: Database) -> None:
    job_id = queue_driver.submit(database, spec=factories.make_spec(dataset="digits"))

    images = server.job_images(job_id, Part.VALIDATION, count=3)

    assert (images.total, len(images.data), images.split) == (20, 3, "test")


def test_what_a_worker_ran_and_what_finished_is_read(server: Client, database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)

    assert [attempt.job_id for attempt in server.worker_attempts("worker-1")] == [job_id]
    assert sum(minute.succeeded for minute in server.throughput(5).data) == 1


def test_kept_weights_are_listed_and_read(server: Client, database: Database) -> None:
    attempt = queue_driver.running(database, spec=factories.make_spec(keep_weights=True))
    queue_driver.record(database, attempt, 2, keep_weights=True)

    kept = server.weights(attempt.job_id)

    assert kept.epochs == (0, 1)
    assert server.weights_after(attempt.job_id, 1) == factories.make_epoch_weights(1)


def test_a_model_for_tensorflow_js_has_two_files_that_refer_to_each_other(
    server: Client, database: Database
) -> None:
    model = make_readable_model(factories.make_spec())
    queue_driver.succeed(database, queue_driver.running(database), model)
    server.change_model(model.id, alias="champion")

    files = server.tfjs_files("champion")

    assert json.loads(files["model.json"])["weightsManifest"][0]["paths"] == ["weights.bin"]
    assert sha256(files["weights.bin"]).hexdigest() == model.weights_sha256


def test_a_model_is_given_an_alias_read_by_it_and_deleted(server: Client, model_id: UUID) -> None:
    named = server.change_model(model_id, alias="champion", description="best")
    assert (named.alias, named.description) == ("champion", "best")
    assert server.model("champion").id == model_id
    assert server.download("champion", "keras") == b"a .keras file"

    server.change_model("champion", alias=None)
    server.delete_model(model_id)

    assert list(server.models()) == []
    with pytest.raises(TrainshedApiError, match="there is no model"):
        server.model(model_id)


def test_the_description_alone_is_changed(server: Client, model_id: UUID) -> None:
    assert server.change_model(model_id, description="mine").description == "mine"
    assert server.model(model_id).description == "mine"


def test_models_and_sweeps_are_named_by_the_ends_of_their_ids(
    server: Client, database: Database, model_id: UUID
) -> None:
    sweep_id, _ = queue_driver.submit_sweep(database, epochs=[1, 2])

    assert server.model(str(model_id)[-8:]).id == model_id
    assert server.evaluate(str(model_id)[-8:]).model_id == model_id
    assert server.sweep(str(sweep_id)[-8:]).id == server.cancel_sweep(str(sweep_id)[-8:]).id == sweep_id
    with pytest.raises(
        UsageError, match="'Bad Alias' is not a model: give its id or alias, its job, or `last`"
    ):
        server.model("Bad Alias")


def test_every_page_of_models_is_listed(server: Client, database: Database) -> None:
    ids = [queue_driver.succeeded(database)[1].id for _ in range(5)]

    assert [model.id for model in server.models(page_size=2)] == ids[::-1]


def test_metrics_of_one_job_and_of_several_are_read(server: Client, database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)
    other = queue_driver.submit(database)

    [loss] = server.metrics(job_id, Resolution.STEP, names=["loss"], max_points=2).series
    both = server.metrics_of([other, job_id], names=["val_loss"])

    assert (len(loss.y), loss.total_points) == (2, 6)
    assert [(job.job_id, [len(series.y) for series in job.series]) for job in both] == [
        (other, []),
        (job_id, [3]),
    ]


def test_jobs_are_compared(server: Client, database: Database) -> None:
    ids = [queue_driver.submit(database, spec=factories.make_spec(epochs=epochs)) for epochs in (1, 2)]

    comparison = server.compare(*ids)

    assert comparison.differing == {"epochs": (1, 2)}
    assert [job.id for job in comparison.jobs] == ids


def test_misclassified_images_are_read(server: Client, model_id: UUID) -> None:
    job_id = server.model(model_id).job_id

    [image] = server.misclassified(job_id, label=9, predicted=4)

    assert (image.index, (image.image or "")[:22]) == (7, "data:image/png;base64,")
    assert list(server.misclassified(job_id, label=1)) == []


def test_a_sweep_is_submitted_listed_and_cancelled(server: Client) -> None:
    sweep = server.submit_sweep(GridSweepCreate(strategy="grid", parameters={"epochs": (1, 2, 3)}))

    assert sweep.states == {"queued": 3}
    by_loss = server.sweep(sweep.id, "loss", mode="max")
    assert (by_loss.objective, by_loss.mode) == ("loss", "max")
    assert [listed.id for listed in server.sweeps()] == [sweep.id]
    assert server.cancel_sweep(sweep.id).states == {"cancelled": 3}


def test_two_submissions_of_a_sweep_with_the_same_key_create_one_sweep(server: Client) -> None:
    parameters = {"learning_rate": Range(min=0.001, max=0.1, log=True)}
    request = RandomSweepCreate(strategy="random", count=4, parameters=parameters)

    first, second = (server.submit_sweep(request, idempotency_key="mine") for _ in range(2))

    assert first == second
    assert len({job.parameters["learning_rate"] for job in first.jobs}) == 4


def test_a_sweep_is_waited_for(server: Client) -> None:
    sweep = server.submit_sweep(GridSweepCreate(parameters={"epochs": (1, 2)}))
    for job in sweep.jobs:
        server.cancel(job)

    assert server.wait_sweep(sweep, timeout_s=10).states == {"cancelled": 2}
    assert server.wait_sweep("last", progress=True).id == sweep.id


def test_waiting_for_a_sweep_ends_at_its_timeout(server: Client) -> None:
    server.submit_sweep(GridSweepCreate(parameters={"epochs": (1, 2)}))

    with pytest.raises(TimeoutError, match=r"sweep .* is not finished after 0 s"):
        server.wait_sweep("last", timeout_s=0)


def test_results_without_classes_are_shown_in_a_notebook(server: Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    files = (NewArtifact("report.txt", b"it converged"),)
    queue_driver.report(database, attempt, Produced(files, factories.make_regression()))

    evaluation = server.evaluation(attempt.job_id)

    assert "r2 <b>-0.2500</b>, 40 examples" in evaluation._repr_html_()
    assert evaluation.to_frame().to_dict() == {"value": {"mae": 1.5, "r2": -0.25}}
    assert [file.name for file in server.artifacts(attempt.job_id)] == ["report.txt"]
    assert server.artifact(attempt.job_id, "report.txt") == b"it converged"


def test_a_job_without_an_evaluation_is_compared(server: Client, model_id: UUID, database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.report(database, attempt, Produced(result=factories.make_regression()))
    other = queue_driver.running(database)
    queue_driver.report(database, other, Produced())
    with pytest.raises(TrainshedApiError, match="has succeeded without an evaluation"):
        server.evaluation(other.job_id)

    rows = server.compare(attempt.job_id, model_id, other.job_id).to_frame()

    assert rows["evaluation_r2"].isna().tolist() == [False, True, True]
    assert rows["evaluation_accuracy"].tolist()[1] == 0.98
