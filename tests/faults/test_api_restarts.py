"""Nobody who follows a job notices that the API is restarted."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals
from time import monotonic
from uuid import UUID

import pytest

from shared.lifecycle import Phase
from tests.faults.cluster import Cluster
from tests.faults.programs import Api
from tests.support import factories, queue_driver
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from trainshed import Client
from trainshed.local.ports import find_free

pytestmark = pytest.mark.faults

# an API that waits for its requests takes 5 s, and ends them with errors then
STOPS_WITHIN_S = 3.0


@pytest.fixture
def cluster(tmp_path: Path, sqlite_url: str, redis: RedisServer) -> Iterator[Cluster]:
    """A cluster whose jobs the tests themselves run."""
    settings = factories.make_settings(
        tmp_path, database_url=sqlite_url, redis_url=redis.url, port=find_free("127.0.0.1")
    )
    with Cluster(tmp_path, settings) as cluster:
        yield cluster


def _start(cluster: Cluster) -> Api:
    program = cluster.start("trainshed.cli.main", "api", name="api")
    api = Api(program, f"http://127.0.0.1:{cluster.settings.port}")
    wait_until(api.responds, "the API responds", timeout=60)
    return api


def _stop(api: Api) -> float:
    """Stop an API, and return the seconds that it took."""
    began = monotonic()
    api.program.send(Signals.SIGTERM)
    api.program.wait(timeout=30)
    return monotonic() - began


def _watch(url: str, job_id: UUID) -> str:
    with Client(url) as server:
        *_, job = server.watch(job_id)
        return job.state


def _wait(url: str, job_id: UUID) -> str:
    with Client(url) as server:
        return server.wait(job_id).state


def _stream(url: str, job_id: UUID) -> str:
    with Client(url) as server:
        events = list(server.stream(job_id))
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        return events[-1].type


def _logs(url: str, job_id: UUID) -> str:
    with Client(url) as server:
        list(server.logs(job_id, follow=True))
        return server.job(job_id).state


def _command(*arguments: str) -> Callable[[str, UUID], str]:
    """Return a follower that is a command of the command line."""

    def run(url: str, job_id: UUID) -> str:
        command = [sys.executable, "-m", "trainshed.cli.main", arguments[0], str(job_id), *arguments[1:]]
        environment = {**os.environ, "TRAINSHED_URL": url}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        if arguments[0] == "events":
            return str(json.loads(result.stdout.splitlines()[-1])["type"])
        with Client(url) as server:
            return server.job(job_id).state

    return run


_JOBS_READER = re.compile(r'"client": "([^"]+)", "method": "GET", "path": "/v1/jobs/')  # in the access log

FOLLOWERS = [
    *[_watch, _wait, _stream, _logs] * 3,
    _command("watch"),
    _command("logs", "--follow", "--json"),
    _command("events", "--follow", "--json"),
]


def test_followers_of_a_job_outlast_restarts_of_the_api(cluster: Cluster) -> None:
    api = _start(cluster)
    attempt = queue_driver.running(cluster.database)
    with ThreadPoolExecutor(len(FOLLOWERS)) as threads:
        following = [threads.submit(follow, api.url, attempt.job_id) for follow in FOLLOWERS]
        stops = []
        for phase in (Phase.LOADING_DATA, Phase.TRAINING, Phase.EVALUATING):
            _wait_for_followers(api)
            queue_driver.record_progress(cluster.database, attempt, factories.make_progress(phase))
            stops.append(_stop(api))
            api = _start(cluster)
        queue_driver.succeed(cluster.database, attempt, factories.make_model())

        assert [follower.result(90) for follower in following] == ["succeeded"] * 15
    assert max(stops) < STOPS_WITHIN_S


def _wait_for_followers(api: Api) -> None:
    """Wait until every follower has been answered by this API; each has a connection of its own."""

    def followers() -> set[str]:
        return set(_JOBS_READER.findall(api.program.log.read_text()))

    wait_until(lambda: len(followers()) >= len(FOLLOWERS), "everyone follows", timeout=60)
