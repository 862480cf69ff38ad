"""The list of models, and a model's page: its facts, alias and deletion."""

from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories, queue_driver, registry, stored

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


def submit(client: httpx.Client, model_id: UUID, action: str, **fields: str) -> httpx.Response:
    return client.post(f"/models/{model_id}/{action}", data=fields or {"a": "b"}, headers=OWN_PAGE)


def test_models_are_listed_newest_first_with_alias_and_job(client: httpx.Client, database: Database) -> None:
    _, first = queue_driver.succeeded(database, name="the first job")
    _, second = queue_driver.succeeded(database, name="the second job")
    registry.change_model(database, first.id, alias="champion")

    html = client.get("/models").text

    assert html.index(str(second.id)) < html.index("champion")
    assert "the first job" in html


def test_pages_of_the_list_follow_each_other(client: httpx.Client, database: Database) -> None:
    for _ in range(3):
        queue_driver.succeeded(database)

    first = client.get("/models?limit=2").text
    second = client.get(first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")).text

    assert (first.count('class="name" href="/models/'), second.count('class="name" href="/models/')) == (2, 1)
    assert 'rel="next"' not in second


def test_no_model_says_where_they_come_from(client: httpx.Client) -> None:
    assert "No models yet" in client.get("/models").text


def test_a_model_shows_layers_evaluations_lineage_and_files(client: httpx.Client, database: Database) -> None:
    original = queue_driver.failed(database, name="the original")
    attempt = queue_driver.running(database, name="its retry", retry_of=original)
    model = factories.make_model()
    queue_driver.succeed(database, attempt, model)

    html = client.get(f"/models/{model.id}").text

    assert all(text in html for text in ("flatten", "7,850", "98.00 %", "its retry", "the original"))
    assert f"tf.loadLayersModel('{client.base_url}/v1/models/{model.id}/tfjs/model.json')" in html
    assert f'href="/v1/models/{model.id}/download?name=model.onnx"' in html


def test_an_alias_is_set_moved_and_removed(client: httpx.Client, database: Database) -> None:
    _, first = queue_driver.succeeded(database)
    _, second = queue_driver.succeeded(database)

    assert submit(client, first.id, "edit", alias="champion", description="good").status_code == 303
    assert stored.model(database, first.id).alias == "champion"
    assert client.get("/models/champion").text.count("good") > 1
    submit(client, second.id, "edit", alias="champion")
    assert (stored.model(database, first.id).alias, stored.model(database, second.id).alias) == (
        None,
        "champion",
    )
    submit(client, second.id, "edit", alias="")
    assert stored.model(database, second.id).alias is None


def test_an_invalid_alias_is_refused_beside_its_field(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)

    answer = submit(client, model.id, "edit", alias="<b>No</b>")

    assert answer.status_code == 422
    assert 'value="&lt;b&gt;No&lt;/b&gt;"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert stored.model(database, model.id).alias is None


def test_a_model_is_deleted_unless_it_is_in_use(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    submit(client, model.id, "edit", alias="champion")

    assert submit(client, model.id, "delete").status_code == 409
    submit(client, model.id, "edit", alias="")
    assert submit(client, model.id, "delete").headers["Location"] == "/models"
    assert client.get(f"/models/{model.id}").status_code == 404


@pytest.mark.parametrize("action", ["edit", "delete"])
def test_pages_of_other_sites_change_nothing(client: httpx.Client, database: Database, action: str) -> None:
    _, model = queue_driver.succeeded(database)

    answer = client.post(
        f"/models/{model.id}/{action}", data={"alias": "x"}, headers={"Sec-Fetch-Site": "cross-site"}
    )

    assert answer.status_code == 403
    assert stored.model(database, model.id).alias is None
