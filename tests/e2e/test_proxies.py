"""nginx and Caddy, with the files of `deploy/proxy`, in front of two API processes, as users reach them.

Those tests that take many seconds have the marker `hosts`: `make e2e-hosts`.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from threading import Event
from time import monotonic

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from typer.testing import CliRunner

from api.http.middleware import MAX_IMAGES_BYTES
from shared.formats.results import KERAS_FILE, ONNX_FILE
from shared.schemas import Scope
from tests.support import factories, queue_driver
from tests.support.browsing import CHROMIUM, WatchedPages, event_loop_of, is_live, running_chromium, sign_in
from tests.support.onnx_models import make_counting_onnx
from tests.support.proxies import HOST, ReverseProxy, make_certificate, running_caddy, running_nginx
from tests.support.stored import count_jobs
from tests.support.streams import open_stream
from tests.support.waiting import wait_until
from tests.support.web_stack import WebStack, running_web_stack
from trainshed import Client
from trainshed.cli.main import app
from trainshed.local import ports

PROXIES = {"nginx": running_nginx, "caddy": running_caddy}
RATE_LIMIT = 10.0  # of each process; ten times as many may come at once
READERS = 8
LONGEST_POLL_S = 30.0

Replicas = tuple[WebStack, WebStack]


@pytest.fixture(scope="module")
def replicas(
    tmp_path_factory: pytest.TempPathFactory, new_sqlite: Callable[[Path], str]
) -> Iterator[Replicas]:
    """Two API processes with one database and one Redis, which need a key."""
    values = {"api_keys": "an administrator's key", "trusted_proxies": "127.0.0.1", "rate_limit": RATE_LIMIT}
    with running_web_stack(tmp_path_factory.mktemp("first"), new_sqlite, **values) as first:
        others = {"port": ports.find_free("127.0.0.1"), "data_dir": tmp_path_factory.mktemp("second")}
        second = WebStack(first.settings.model_copy(update=others), first.database)
        second.start()
        yield first, second
        second.api.stop()


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, replicas: Replicas
) -> Iterator[ReverseProxy]:
    folder = tmp_path_factory.mktemp(request.param)
    behind = [replica.settings.port for replica in replicas]
    with PROXIES[request.param](folder / "proxy", make_certificate(folder), behind) as proxy:
        yield proxy


@pytest.fixture
def key(replicas: Replicas) -> str:
    """A key of the test's own: it has a rate limit of its own."""
    return replicas[0].new_key(Scope.ADMIN)


@pytest.fixture
def client(proxy: ReverseProxy, key: str) -> Iterator[httpx.Client]:
    with proxy.client(key) as client:
        yield client


def test_events_arrive_when_they_happen(replicas: Replicas, client: httpx.Client) -> None:
    database = replicas[0].database
    attempt = queue_driver.running(database)
    with open_stream(client, f"/v1/jobs/{attempt.job_id}/stream") as stream:
        assert [next(stream).event for _ in range(2)] == ["submitted", "claimed"]
        for epoch in range(3):
            began = monotonic()
            queue_driver.record(database, attempt, 1, first=epoch)
            assert next(stream).event == "progress"
            assert monotonic() - began < 1.0


def test_browsers_are_offered_http_2(proxy: ReverseProxy) -> None:
    browser = ssl.create_default_context(cafile=str(proxy.certificate.file))
    browser.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", proxy.port)) as connection,
        browser.wrap_socket(connection, server_hostname=HOST) as encrypted,
    ):
        assert encrypted.selected_alpn_protocol() == "h2"


def test_who_comes_without_tls_is_led_to_it(proxy: ReverseProxy) -> None:
    response = httpx.get(
        f"http://{HOST}:{proxy.plain_port}/jobs?state=failed", verify=proxy.certificate.trusted
    )
    assert response.status_code == HTTPStatus.PERMANENT_REDIRECT
    assert httpx.URL(response.headers["Location"]).copy_with(port=None) == f"https://{HOST}/jobs?state=failed"


@pytest.mark.hosts
def test_no_request_fails_while_one_replica_after_the_other_ends(
    proxy: ReverseProxy, replicas: Replicas, key: str
) -> None:
    killed, stopped = replicas
    before, ended, statuses = count_jobs(killed.database), Event(), list[int]()

    def read(key: str) -> None:
        with proxy.client(key) as reader:
            while not ended.wait(READERS / RATE_LIMIT / 10):
                statuses.append(reader.get("/v1/jobs").status_code)

    def answered(more: int) -> None:
        least = len(statuses) + more
        wait_until(lambda: len(statuses) >= least, f"{more} more requests are answered", timeout=20)

    with (
        ThreadPoolExecutor() as threads,
        Client(proxy.url, api_key=key, transport=proxy.transport()) as server,
    ):
        for _ in range(READERS):
            threads.submit(read, killed.new_key(Scope.READ))
        try:
            answered(20)
            killed.kill()
            wait_until(killed.api.exit_reason, "the first replica has ended")
            submitted = {server.submit(factories.make_train_request()).id for _ in range(5)}
            answered(50)
            killed.restart()
            stopped.api.stop()  # at once, before the proxy has tried the other again
            submitted |= {server.submit(factories.make_train_request()).id for _ in range(5)}
            answered(50)
        finally:
            ended.set()
            stopped.restart()
    assert set(statuses) == {HTTPStatus.OK}
    assert count_jobs(killed.database) - before == len(submitted) == 10


def test_strangers_are_limited_by_their_own_addresses(proxy: ReverseProxy) -> None:
    def statuses(address: str, count: int, **headers: str) -> set[int]:
        with proxy.client("a wrong key", address=address, headers=headers) as stranger:
            return {stranger.get("/v1/jobs").status_code for _ in range(count)}

    refused, limited = {HTTPStatus.UNAUTHORIZED}, {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}
    burst = int(2 * 10 * RATE_LIMIT)  # of two processes
    one, another = (f"127.0.{proxy.port % 250}.{number}" for number in (1, 2))  # that no other test has
    assert statuses(one, 2 * burst) == limited
    assert statuses(another, 20) == refused
    # what a client claims about itself changes nothing
    assert HTTPStatus.TOO_MANY_REQUESTS in statuses(one, 2 * burst, **{"X-Forwarded-For": "203.0.113.5"})


def test_images_of_the_largest_size_are_classified_and_larger_ones_refused(
    replicas: Replicas, client: httpx.Client
) -> None:
    database = replicas[0].database
    files = {KERAS_FILE: b"", ONNX_FILE: make_counting_onnx()}
    model = factories.make_model(files=files)
    queue_driver.succeed(database, queue_driver.running(database), model)
    image = noise_of(MAX_IMAGES_BYTES - 200_000)
    path, media_type = f"/v1/models/{model.id}/predict", {"Content-Type": "image/png"}
    answer = client.post(path, content=image, headers=media_type)
    assert (answer.status_code, len(answer.json()["data"])) == (200, 1), answer.text
    too_large = image + bytes(MAX_IMAGES_BYTES + 1 - len(image))
    assert client.post(path, content=too_large, headers=media_type).status_code == 413
    refused = client.post(
        "/v1/jobs", content=b" " * (2**20 + 1), headers={"Content-Type": "application/json"}
    )
    assert (refused.status_code, refused.json()["title"]) == (413, "The body is too large")


def noise_of(size: int) -> bytes:
    """A PNG of about so many bytes."""
    side = int(size**0.5)
    file = BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (side, side), np.uint8)
    Image.fromarray(noise).save(file, "PNG", compress_level=0)
    return file.getvalue()


@pytest.mark.hosts
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_a_page_is_live(proxy: ReverseProxy, replicas: Replicas, key: str) -> None:
    database = replicas[0].database
    attempt = queue_driver.running(database)
    with (
        running_chromium() as browser,
        event_loop_of(browser),
        closing(WatchedPages(browser, proxy.url)) as pages,
    ):
        # a container of another program that starts or ends is a change of the network
        page = pages.open(ignore_https_errors=True, allow=["ERR_NETWORK_CHANGED"])
        page.goto(f"/jobs/{attempt.job_id}")
        sign_in(page, key)
        is_live(page)
        queue_driver.record(database, attempt, 2)
        expect(page.locator(".facts")).to_contain_text("2/3")
        assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        assert [cookie["secure"] for cookie in page.context.cookies() if cookie["httpOnly"]] == [True]
        assert pages.unexpected() == []


def test_the_command_line_trusts_the_authority_that_it_is_told(
    proxy: ReverseProxy, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--url", proxy.url, "--api-key", key, "status"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code != 0
    assert "SSL_CERT_FILE" in refused.output
    with monkeypatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(proxy.certificate.file))
        done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.output) == (0, done.output)
    assert "jobs:" in done.output.lower()


@pytest.mark.hosts
def test_the_longest_poll_is_not_cut_and_neither_is_a_silent_stream(
    replicas: Replicas, client: httpx.Client
) -> None:
    database = replicas[0].database
    attempt = queue_driver.running(database)
    path = f"/v1/jobs/{attempt.job_id}"
    tag = client.get(path).headers["ETag"]
    with open_stream(client, f"{path}/stream") as stream:
        assert [next(stream).event for _ in range(2)] == ["submitted", "claimed"]
        began = monotonic()
        poll = client.get(
            path, params={"wait": LONGEST_POLL_S}, headers={"If-None-Match": tag}, timeout=2 * LONGEST_POLL_S
        )
        assert (poll.status_code, monotonic() - began >= LONGEST_POLL_S) == (HTTPStatus.NOT_MODIFIED, True)
        queue_driver.record(database, attempt, 1)
        assert next(stream).event == "progress"
