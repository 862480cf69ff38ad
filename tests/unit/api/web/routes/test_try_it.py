"""Which models the page "Try it" offers."""

import re
from uuid import UUID

import httpx

from shared.db.engine import Database
from tests.support import factories, queue_driver, registry


def choices(html: str, name: str) -> list[str]:
    """The ids that a select offers."""
    select = re.search(rf'<select name="{name}">(.*?)</select>', html, re.DOTALL)
    assert select is not None
    return re.findall(r'value="([^"]*)"', select[1])


def chosen(html: str) -> list[str]:
    return re.findall(r'value="([^"]*)" selected', html)


def trained(database: Database, accuracy: float) -> UUID:
    model = factories.make_model(evaluation=factories.make_evaluation(accuracy=accuracy))
    queue_driver.succeed(database, queue_driver.running(database), model)
    return model.id


def test_models_with_an_alias_come_first(client: httpx.Client, database: Database) -> None:
    trained = [queue_driver.succeeded(database)[1].id for _ in range(3)]
    registry.change_model(database, trained[0], alias="champion")
    ids = list(map(str, trained))

    html = client.get("/try").text

    assert choices(html, "model") == [ids[0], ids[2], ids[1]]
    assert choices(html, "with") == ["", ids[0], ids[2], ids[1]]
    assert chosen(html) == [ids[0]]


def test_the_best_model_is_chosen_where_there_is_no_champion(
    client: httpx.Client, database: Database
) -> None:
    best, _, last = (trained(database, accuracy) for accuracy in (0.9, 0.1, 0.5))
    registry.change_model(database, last, alias="other")

    assert chosen(client.get("/try").text) == [str(best)]


def test_the_address_chooses_the_models(client: httpx.Client, database: Database) -> None:
    first, second = (queue_driver.succeeded(database)[1].id for _ in range(2))
    registry.change_model(database, second, alias="champion")

    assert chosen(client.get(f"/models/{first}/try").text) == [str(first)]
    assert chosen(client.get(f"/try?model={first}&with=champion").text) == [str(first), str(second)]


def test_without_a_model_it_says_where_they_come_from(client: httpx.Client) -> None:
    assert "No model to try yet" in client.get("/try").text


def test_an_unknown_model_is_not_found(client: httpx.Client) -> None:
    assert client.get("/try?model=nothing").status_code == 404
