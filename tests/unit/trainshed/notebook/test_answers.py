"""What the client returns has HTML and DataFrames in notebooks."""

from uuid import UUID

import pytest

from shared.db.engine import Database
from tests.support import queue_driver
from tests.support.drawings import STROKES, draw
from trainshed import Client, GridSweepCreate


def test_a_training_is_shown_with_its_curves_and_evaluation(server: Client, database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)

    assert str(job_id) in server.job(job_id)._repr_html_()
    assert server.metrics(job_id)._repr_html_().count("<svg") == 2
    evaluation = server.evaluation(job_id)
    assert "confusion" not in evaluation._repr_html_()
    assert evaluation.to_frame().loc[0, "count"] == evaluation.per_class[0].count
    [metrics] = server.metrics_of([job_id])
    assert metrics.to_frame().equals(server.metrics(job_id).to_frame())


def test_compared_jobs_are_shown_with_their_curves(server: Client, database: Database) -> None:
    ids = [queue_driver.succeeded(database)[0] for _ in range(2)]

    comparison = server.compare(*ids)

    assert comparison._repr_html_().count("<polyline") == 4
    assert list(comparison.to_frame().index) == ids


def test_a_sweep_is_shown_with_its_jobs(server: Client) -> None:
    sweep = server.submit_sweep(GridSweepCreate(parameters={"epochs": (1, 2)}))

    assert "2 queued" in sweep._repr_html_()
    assert sorted(sweep.to_frame().epochs) == [1, 2]


@pytest.mark.parametrize("reference", ["last", "id"])
def test_predictions_are_shown_with_what_the_model_saw(
    server: Client, model_id: UUID, reference: str
) -> None:
    predictions = server.predict(draw(STROKES[3]), model_id if reference == "id" else "last")

    assert str(model_id) in predictions._repr_html_()
    assert 'src="data:image/png;base64,' in predictions._repr_html_()
