"""The comparison of jobs."""

import re
from uuid import UUID

import httpx

from shared.db.engine import Database
from tests.support import factories, queue_driver, registry


def show(client: httpx.Client, *ids: UUID) -> httpx.Response:
    return client.get("/compare", params={"job": list(map(str, ids))})


def test_it_shows_what_differs_and_what_does_not(client: httpx.Client, database: Database) -> None:
    ids = [
        queue_driver.submit(database, name=f"rate {rate}", spec=factories.make_spec(learning_rate=rate))
        for rate in (0.001, 0.0003)
    ]

    html = show(client, *ids).text

    differing, equal = html.split("The same in all")
    assert re.search(
        r"Learning rate</th>\s*<td class=\"num\"><code>0.001</code></td><td class=\"num\"><code>0.0003",
        differing,
    )
    assert "Batch size" not in differing
    assert "Batch size" in equal


def test_the_address_of_the_api_shows_the_same(client: httpx.Client, database: Database) -> None:
    ids = [str(queue_driver.succeeded(database)[0]) for _ in range(2)]

    for query in (f"jobs={','.join(ids)}", f"job={ids[0]}&job={ids[1]}", f"job={ids[0]}&jobs={ids[1]}"):
        html = client.get(f"/compare?{query}").text
        assert re.findall(r'<th scope="col" data-key="([^"]+)"', html)[:2] == ids


def test_each_job_keeps_its_line_where_another_one_has_none(client: httpx.Client, database: Database) -> None:
    waits, _ = queue_driver.submit(database), registry.worker(database)
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 2)

    html = show(client, waits, attempt.job_id).text

    assert re.findall(r'<polyline class="([^"]+)"', html) == ["line-2"] * 4


def test_classes_are_side_by_side(client: httpx.Client, database: Database) -> None:
    (first, _), (second, _) = queue_driver.succeeded(database), queue_driver.succeeded(database)

    html = show(client, first, second).text

    assert re.search(r"Nine</th>(\s*<td.*?80\.00 %</span></td>){2}", html, re.DOTALL)


def test_it_says_how_many_jobs_can_be_compared(client: httpx.Client, database: Database) -> None:
    ids = [queue_driver.submit(database) for _ in range(11)]

    assert "Choose two to ten jobs" in show(client, ids[0], ids[0]).text
    assert "That are 11 jobs" in show(client, *ids).text
    assert show(client, *ids[:10]).status_code == 200


def test_a_job_that_does_not_exist_is_not_found(client: httpx.Client, database: Database) -> None:
    assert show(client, queue_driver.submit(database), UUID(int=0)).status_code == 404
