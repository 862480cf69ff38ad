"""Two API processes behind one address that leads to either: neither has what the other needs."""

import re
from collections.abc import Iterator
from time import monotonic
from typing import Any

import httpx
import pytest

from shared.lifecycle import JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE, NewCluster
from tests.faults.programs import Api, training
from tests.faults.proxy import Proxy
from tests.support.round_robin import RoundRobin
from tests.support.servers import RedisServer
from tests.support.streams import StreamEvent, open_stream
from tests.support.waiting import wait_until
from trainshed import Client

pytestmark = pytest.mark.faults

KEY = "an administrator's key"
BEARER = {"Authorization": f"Bearer {KEY}"}
OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}


def start(cluster: Cluster, **settings: str) -> list[Api]:
    environment = {f"TRAINSHED_{name.upper()}": value for name, value in settings.items()}
    return [cluster.api(environment=environment) for _ in range(2)]


@pytest.fixture
def apis(cluster: Cluster) -> list[Api]:
    return start(cluster, api_keys=KEY)


@pytest.fixture
def turns(apis: list[Api]) -> RoundRobin:
    return RoundRobin([api.url for api in apis])


@pytest.fixture
def http(turns: RoundRobin) -> Iterator[httpx.Client]:
    """A client whose requests go to each of them in turn."""
    with httpx.Client(base_url="http://127.0.0.1", transport=turns, headers=BEARER) as client:
        yield client
    assert min(turns.sent) > 0


def submit(http: httpx.Client, **options: Any) -> httpx.Response:
    body = {"kind": "train", "spec": training().model_dump(mode="json"), **options.pop("body", {})}
    return http.post("/v1/jobs", json=body, **options)


@KILLS_ON_SQLITE
def test_a_job_is_submitted_once_and_followed_by_streams_that_move_at_each_event(
    cluster: Cluster, http: httpx.Client
) -> None:
    answers = [submit(http, headers={"Idempotency-Key": "monday"}) for _ in range(4)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, *["true"] * 3]
    [job_id] = cluster.expect_stored_jobs()
    cluster.worker()

    seen, message = list[StreamEvent](), None
    while message is None or message.event != "end":
        with open_stream(http, f"/v1/jobs/{job_id}/stream", seen[-1].id if seen else None) as stream:
            message = next(stream)
        if message.id:  # which steps within an epoch have not
            seen.append(message)

    listed = http.get(f"/v1/jobs/{job_id}/events", params={"limit": 200}).json()["data"]
    assert [int(event.id) for event in seen] == [event["seq"] for event in listed]
    assert (seen[0].event, seen[-1].event) == ("submitted", "succeeded")


@KILLS_ON_SQLITE
def test_what_one_has_changed_is_seen_at_the_other_by_who_names_its_version(
    cluster: Cluster, http: httpx.Client
) -> None:
    path = f"/v1/jobs/{submit(http).json()['id']}"
    [job_id] = cluster.expect_stored_jobs()
    cluster.expected[job_id] = JobState.CANCELLED
    for number in range(20):
        for _ in range(2):  # so that each process keeps the response
            http.get(path)
        changed = http.patch(path, json={"name": f"name {number}"})
        found = http.get(path, headers={"If-None-Match": changed.headers["ETag"]})
        # 304, unless what else it says of a queued job has changed
        assert found.status_code == 304 or found.json()["name"] == f"name {number}"
        again = http.patch(path, json={"tags": [str(number)]}, headers={"If-Match": changed.headers["ETag"]})
        assert again.status_code == 200
        stale = http.patch(path, json={"name": "late"}, headers={"If-Match": changed.headers["ETag"]})
        assert stale.status_code == 412
    assert http.post(f"{path}/cancel").json()["state"] == "cancelled"
    wait_until(lambda: {http.get(path).json()["state"] for _ in range(2)} == {"cancelled"}, "both know it")


@KILLS_ON_SQLITE
def test_pages_of_a_list_come_from_either(cluster: Cluster, http: httpx.Client) -> None:
    for _ in range(7):
        submit(http, body={"scheduled_at": "2100-01-01T00:00:00Z"})
    jobs = cluster.expect_stored_jobs()
    found, cursor = list[str](), None
    while cursor is not None or not found:
        page = http.get("/v1/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
    assert sorted(found) == sorted(map(str, jobs))
    for job_id in jobs:
        cluster.cancel(job_id)


@KILLS_ON_SQLITE
def test_who_signs_in_at_one_is_signed_in_at_the_other(cluster: Cluster, apis: list[Api]) -> None:
    assert cluster.orphans() == []
    turns = RoundRobin([api.url for api in apis])
    with httpx.Client(base_url="http://127.0.0.1", transport=turns, headers=OWN_PAGE) as browser:
        assert browser.get("/jobs").status_code == 303
        signed_in = browser.post("/sign-in", data={"key": KEY, "next": "/jobs"})
        assert (signed_in.status_code, signed_in.headers["Location"]) == (303, "/jobs")
        for _ in range(2):
            page = browser.get("/settings")
            assert page.status_code == 200
            [script] = re.findall(r'src="(/static/\w+/settings\.js)"', page.text)
            assert browser.get(script).status_code == 200
        for name in ("Ada", "Grace"):
            made = browser.post("/settings/keys", data={"name": name, "scope": "read", "expires_in_s": ""})
            [key] = re.findall(r'id="new-key"[^>]*>([^<]+)<', made.text)
            answer = browser.get("/v1/me", headers={"Authorization": f"Bearer {key}"})
            assert answer.json()["name"] == name
        browser.post("/theme", data={"theme": "dark"})
        assert all("dark" in browser.get("/settings").text for _ in range(2))
        browser.post("/sign-out")
        assert browser.get("/settings").status_code == 303


@KILLS_ON_SQLITE
def test_one_is_killed_and_its_clients_go_on_at_the_other(
    cluster: Cluster, apis: list[Api], turns: RoundRobin, http: httpx.Client
) -> None:
    cluster.worker()
    with Client("http://127.0.0.1", transport=turns, api_key=KEY) as server:
        job = server.job(submit(http, body={"spec": training(epochs=8).model_dump(mode="json")}).json()["id"])
        cluster.expect_stored_jobs()
        events = server.stream(job.id)
        seqs = [next(events).seq for _ in range(3)]
        apis[0].program.kill()
        seqs += [event.seq for event in events]
        assert seqs == list(range(1, server.job(job.id).version + 1))


@pytest.mark.kills
@pytest.mark.parametrize("delay_s", [0.0, 0.02])
def test_their_rate_limit_is_one_although_redis_is_slow(
    new_cluster: NewCluster, sqlite_url: str, redis: RedisServer, delay_s: float
) -> None:
    rate = 50  # so that what is let through until Redis replies is little of it
    with (
        Proxy(redis.socket, delay_s=delay_s) as proxy,
        new_cluster(sqlite_url, f"redis://127.0.0.1:{proxy.port}") as cluster,
    ):
        turns = RoundRobin([api.url for api in start(cluster, api_keys=KEY, rate_limit=str(rate))])
        with httpx.Client(base_url="http://127.0.0.1", transport=turns, headers=BEARER) as http:
            statuses, refused, began = list[int](), 0, monotonic()
            while refused < 40:
                answer = http.get("/v1/me")
                statuses.append(answer.status_code)
                refused += answer.status_code == 429
            allowed = statuses.count(200)
            # ten seconds of requests, one more, what was answered until Redis replied, what was worked off
            assert 10 * rate <= allowed <= (13 + monotonic() - began) * rate
            assert 1 <= int(answer.headers["Retry-After"]) <= 3  # until that is worked off
            assert min(turns.sent) > 40
