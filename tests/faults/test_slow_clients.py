"""Clients that hold connections, send what has no end, or follow all events: others do not notice."""

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
from tests.support.lacking import environment_lacks
from tests.support.servers import NO_TLS, RedisServer
from tests.support.waiting import wait_until
from trainshed.local.ports import find_free

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

CLIENTS = 1_000
MIB = 2**20
MAX_GROWTH = 60 * MIB
ENDLESS = 400 * MIB
SUBMITS = 30
READERS = 1_500
KEY = "k" * 16
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
BODY = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    """This process, which has the other end of each connection, may open as many."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < READERS + 500:
        environment_lacks(f"the hard limit of descriptors is {before[1]}: ulimit -Hn {READERS + 500}")
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


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    """A client with a key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=api.url, headers=headers, verify=NO_TLS, timeout=60) as client:
        yield client


def submit(client: httpx.Client) -> list[float]:
    """Submit jobs one after another, and return how many seconds each took."""
    times = []
    for seed in range(SUBMITS):
        began = monotonic()
        client.post("/v1/jobs", json={"kind": "train", "spec": {"seed": seed}}).raise_for_status()
        times.append(monotonic() - began)
    return times


def resident(api: Api) -> int:
    return int(psutil.Process(api.program.pid).memory_info().rss)


def test_a_thousand_half_open_connections_and_an_endless_head_harm_nobody(
    api: Api, client: httpx.Client
) -> None:
    usual_s, idle = median(submit(client)), resident(api)
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
        besieged_s = median(submit(client))
        most = max(most, resident(api))
        grown = f"{idle / MIB:.0f} to {most / MIB:.0f} MiB"
        print(f"{grown}; a submit {usual_s * 1e3:.1f}, then {besieged_s * 1e3:.1f} ms")  # noqa: T201
        assert most - idle < MAX_GROWTH
        assert besieged_s < 2 * usual_s + 0.02
        wait_until(lambda: api.connections() < CLIENTS / 10, "their connections end", 60)
    assert api.program.logged("a request failed") == 0


def test_submits_are_as_fast_beside_1500_readers_of_all_events(api: Api, client: httpx.Client) -> None:
    keys = [
        client.post("/v1/api-keys", json={"name": f"reader {n}", "scope": "read"}).json() for n in range(8)
    ]
    submit(client)  # the first ones prepare statements
    alone_s = sum(submit(client))
    with ExitStack() as opened:
        readers = list[socket.socket]()
        while len(readers) < READERS:  # a few at a time: each of them reads where the events end
            for _ in range(50):
                reader = socket.create_connection(("127.0.0.1", api.port), timeout=60)
                readers.append(opened.enter_context(closing(reader)))
                key = f"Authorization: Bearer {keys[len(readers) % len(keys)]['key']}"
                reader.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{key}\r\n\r\n".encode())
            for reader in readers[-50:]:
                assert reader.recv(2**16).startswith(b"HTTP/1.1 200 ")
        beside_s = sum(submit(client))
        began, slowest = monotonic(), 0.0
        while monotonic() - began < 3:
            asked = monotonic()
            client.get("/livez").raise_for_status()
            slowest = max(slowest, monotonic() - asked)
        for reader in readers:
            received = b""
            while received.count(b"event: submitted\n") < SUBMITS:
                received += reader.recv(2**16)
        rss = resident(api) / MIB
    print(  # noqa: T201
        f"{SUBMITS} submits: {alone_s:.2f} s, with {READERS} readers {beside_s:.2f} s; "
        f"/livez at most {slowest * 1e3:.0f} ms, {rss:.0f} MiB"
    )
    assert beside_s < 2 * alone_s + 1
    assert slowest < 0.5
