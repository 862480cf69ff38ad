"""The form for a new job: filled by the address, refused with reasons, submitted once."""

import re
from html import unescape

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories, queue_driver, stored

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
NO_JOB = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


def submit(client: httpx.Client, **fields: str) -> httpx.Response:
    return client.post("/jobs/new", data={"idempotency_key": "k", **fields}, headers=OWN_PAGE)


def jobs(database: Database) -> int:
    return stored.count_jobs(database)


def value(html: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found is not None
    return unescape(found[1])


def test_an_empty_form_is_the_codelabs_job(client: httpx.Client, database: Database) -> None:
    answer = submit(client)

    assert answer.status_code == 303
    assert client.get(answer.headers["Location"]).status_code == 200
    [job] = stored.listed(database)
    assert job.spec.model_dump() == {
        **job.spec.model_dump(),
        "epochs": 10,
        "train_size": 5_500,
        "batch_size": 512,
        "learning_rate": 0.001,
    }


def test_limits_are_beside_the_fields_and_follow_the_dataset(client: httpx.Client) -> None:
    assert "1 to 55,000" in client.get("/jobs/new").text
    assert "1 to 1,400" in client.get("/jobs/new?dataset=digits").text


def test_the_commands_are_those_of_the_address(client: httpx.Client) -> None:
    html = unescape(client.get("/jobs/new?epochs=20&name=my+job&tags=a,b").text)

    assert "trainshed train --epochs 20 --name 'my job' --tag a --tag b" in html
    assert '"spec": {"epochs": 20}' in html
    assert "20 epochs of 11 steps: 220 on 5,500 images" in html


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"epochs": "0"}, "epochs", "Must be 1 to 1,000"),
        (
            {"train_size": "55001"},
            "train_size",
            "Train size is 55,001, and the dataset has 55,000 training images",
        ),
        ({"kind": "evaluate"}, "model_id", "Is required"),
        ({"kind": "evaluate", "model_id": "nothing"}, "model_id", "There is no model"),
        ({"dataset": "<b>"}, "dataset", "There is no dataset '<b>'"),
        ({"after": NO_JOB}, "after", f"There is no job {NO_JOB}"),
        ({"kind": "evaluate", "model_id": NO_JOB, "after": NO_JOB}, "after", f"There is no job {NO_JOB}"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at", "Must be a time as in RFC 3339"),
    ],
)
def test_what_is_refused_is_said_beside_its_field_and_what_was_typed_stays(
    client: httpx.Client, database: Database, fields: dict[str, str], name: str, message: str
) -> None:
    answer = submit(client, name="kept <b>", **fields)

    note = re.search(r'<p class="note field-error" id="(\w+)-note"[^>]*>([^<]*)<', answer.text)
    assert answer.status_code == 422
    assert note is not None
    assert (note[1], message in unescape(note[2])) == (name, True)
    assert value(answer.text, "name") == "kept <b>"
    assert "<b>" not in answer.text
    assert jobs(database) == 0


def test_the_deleted_model_of_a_job_in_after_is_refused_beside_the_field(
    client: httpx.Client, database: Database
) -> None:
    job_id = str(queue_driver.succeeded(database)[0])
    assert client.delete(f"/v1/models/{job_id}").status_code == 204
    answer = submit(client, kind="evaluate", model_id=job_id, after=job_id)

    note = re.search(r'id="model_id-note"[^>]*>([^<]*)<', answer.text)
    assert (answer.status_code, jobs(database)) == (422, 1)
    assert note is not None
    assert f"There is no model {job_id}" in unescape(note[1])


def test_a_job_after_one_that_failed_is_refused_beside_the_field(
    client: httpx.Client, database: Database
) -> None:
    answer = submit(client, after=str(queue_driver.failed(database)))

    note = re.search(r'id="after-note"[^>]*>([^<]*)<', answer.text)
    assert (answer.status_code, jobs(database)) == (422, 1)
    assert note is not None
    assert "retry it, and name the new job" in unescape(note[1])


def test_a_second_click_submits_nothing_and_a_changed_form_another_job(
    client: httpx.Client, database: Database
) -> None:
    first, second, changed = submit(client), submit(client), submit(client, epochs="3")

    assert first.headers["Location"] == second.headers["Location"] != changed.headers["Location"]
    assert jobs(database) == 2


def test_a_clone_begins_with_what_the_job_has(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database, name="the source", tags=["x"], queue="slow")

    html = client.get(f"/jobs/new?from={job_id}").text

    assert [value(html, name) for name in ("name", "tags", "queue", "epochs", "seed", "train_size")] == [
        *("the source", "x", "slow", "3", "1", "100"),
    ]


def test_a_clone_of_an_evaluation_names_its_model(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id, threshold=0.5)
    job_id = queue_driver.submit(database, kind="evaluate", spec=spec, model_id=model.id)

    html = client.get(f"/jobs/new?from={job_id}").text

    assert (value(html, "model_id"), value(html, "threshold")) == (str(model.id), "0.5")
    assert f"trainshed evaluate {model.id}" in html


def test_a_clone_of_nothing_is_not_found(client: httpx.Client) -> None:
    assert client.get("/jobs/new?from=00000000-0000-7000-8000-000000000000").status_code == 404


def test_models_and_queues_are_suggested(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database, queue="night")

    html = client.get("/jobs/new?kind=evaluate").text

    assert f'<option value="{model.id}">' in html
    assert '<option value="default">' in html
