"""Clients without a key that hold connections, or send what has no end: others do not notice."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from statistics import median
from time import monotonic

import httpx
import psutil
import pytest

from tests.faults.cluster import Cluster
from tests.faults.programs import Api
from tests.support import factories
from tests.support.servers import NO_TLS, RedisServer
from tests.support.waiting import wait_until
from trainshed.local.ports import find_free

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

CLIENTS = 1_000
MIB = 2**20
MAX_GROWTH = 60 * MIB
ENDLESS = 400 * MIB
SUBMITS = 30
KEY = "k" * 16
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
BODY = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    """This process, which has the other end of each connection, may open as many."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def api(tmp_path: Path, database_url: str, redis: RedisServer) -> Iterator[Api]:
    """The API as `trainshed api` serves it, under the usual limit of descriptors, with a key."""
    port = find_free("127.0.0.1")
    settings = factories.make_settings(
        tmp_path, database_url=database_url, redis_url=redis.url, port=port, rate_limit=0.0
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with Cluster(tmp_path, settings) as cluster:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))
        keys = {"TRAINSHED_API_KEYS": KEY}
        program = cluster.start("trainshed.cli.main", "api", name="api", environment=keys)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        api = Api(program, f"http://127.0.0.1:{port}")
        wait_until(api.responds, "the API responds", timeout=60)
        yield api


def submit_s(api: Api) -> float:
    """The usual time of a submit."""
    times = []
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=api.url, headers=headers, verify=NO_TLS, timeout=30) as client:
        for seed in range(SUBMITS):
            began = monotonic()
            client.post("/v1/jobs", json={"kind": "train", "spec": {"seed": seed}}).raise_for_status()
            times.append(monotonic() - began)
    return median(times)


def resident(api: Api) -> int:
    return int(psutil.Process(api.program.pid).memory_info().rss)


def test_a_thousand_half_open_connections_and_an_endless_head_harm_nobody(api: Api) -> None:
    usual_s, idle = submit_s(api), resident(api)
    with ExitStack() as opened:

        def connect(sent: bytes) -> socket.socket:
            connection = opened.enter_context(closing(socket.create_connection(("127.0.0.1", api.port))))
            connection.sendall(sent)
            return connection

        for number in range(CLIENTS):
            connect(HEAD if number % 2 else BODY)
        wait_until(lambda: api.connections() >= CLIENTS, "all are connected", 30)
        endless, most = connect(HEAD), idle
        with suppress(ConnectionError):
            for _ in range(ENDLESS // MIB):
                endless.sendall(b"x" * MIB)
                most = max(most, resident(api))
        assert api.responds()
        besieged_s = submit_s(api)
        most = max(most, resident(api))
        grown = f"{idle / MIB:.0f} to {most / MIB:.0f} MiB"
        print(f"{grown}; a submit {usual_s * 1e3:.1f}, then {besieged_s * 1e3:.1f} ms")  # noqa: T201
        assert most - idle < MAX_GROWTH
        assert besieged_s < 2 * usual_s + 0.02
        wait_until(lambda: api.connections() < CLIENTS / 10, "their connections end", 60)
    assert api.program.logged("a request failed") == 0
