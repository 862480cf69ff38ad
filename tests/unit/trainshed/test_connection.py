"""Requests are retried while that may help; responses are validated."""

from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from shared.schemas import Version
from tests.support.fake_api import URL, make_problem
from tests.support.proxies import make_certificate
from trainshed.connection import BlockingTransport, Connection, http_options
from trainshed.errors import ServerUnreachable, TrainshedApiError, UnexpectedResponse, UsageError
from trainshed.items import run

Outcome = httpx.Response | Exception


class Server:
    """A server whose responses and errors are scripted, one for each request."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = list(outcomes)
        self.pauses: list[float] = []
        self.requests: list[httpx.Request] = []

    def connection(self, patience_s: float = 60.0, api_key: str = "", url: str = URL) -> Connection:
        http = httpx.Client(**http_options(url, api_key, 1.0), transport=httpx.MockTransport(self._respond))
        return Connection(url, BlockingTransport(http, self.pauses.append), patience_s=patience_s)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def refused() -> Exception:
    return httpx.ConnectError("[Errno 111] Connection refused")


def busy(**headers: str) -> httpx.Response:
    response = make_problem(503, "the database does not respond")
    response.headers.update(headers)
    return response


@pytest.mark.parametrize(
    "trouble",
    [
        refused,
        busy,
        lambda: httpx.ReadTimeout("timed out"),
        lambda: httpx.RemoteProtocolError("closed"),
        lambda: make_problem(429, "later"),
        lambda: httpx.Response(502, text="a proxy's page"),
        lambda: httpx.Response(504),
        lambda: httpx.Response(500, text="Internal Server Error"),  # of a server that is being stopped
    ],
)
def test_a_transient_failure_is_retried(trouble: Callable[[], Outcome]) -> None:
    server = Server([trouble(), trouble(), httpx.Response(200, text="at last")])
    assert run(server.connection().call("GET", "/")).text == "at last"
    assert len(server.pauses) == 2


def test_the_backoff_grows_from_a_tenth_of_a_second_to_about_two_seconds() -> None:
    server = Server([busy() for _ in range(8)] + [httpx.Response(200)])
    run(server.connection().call("GET", "/"))
    assert server.pauses[0] == pytest.approx(0.1, rel=0.2)
    assert server.pauses[1] == pytest.approx(0.2, rel=0.2)
    assert server.pauses[-1] == pytest.approx(2.0, rel=0.2)


def test_the_backoff_is_jittered() -> None:
    server = Server([busy() for _ in range(20)] + [httpx.Response(200)])
    run(server.connection().call("GET", "/"))
    assert len(set(server.pauses)) == 20


def test_every_request_starts_with_the_shortest_backoff() -> None:
    server = Server([busy(), busy(), busy(), httpx.Response(200), busy(), httpx.Response(200)])
    connection = server.connection()
    for _ in range(2):
        run(connection.call("GET", "/"))
    assert server.pauses[-1] == pytest.approx(0.1, rel=0.2)


def test_retry_after_is_honoured() -> None:
    server = Server([busy(**{"Retry-After": "7"}), httpx.Response(200)])
    run(server.connection().call("GET", "/"))
    assert server.pauses == [7.0]


def test_a_retry_after_that_is_a_date_is_ignored() -> None:
    server = Server([busy(**{"Retry-After": "Fri, 02 Jan 2026 03:04:05 GMT"}), httpx.Response(200)])
    run(server.connection().call("GET", "/"))
    assert server.pauses[0] < 1


def test_a_retry_after_beyond_the_patience_is_not_waited_for() -> None:
    server = Server([busy(**{"Retry-After": "3600"})])
    with pytest.raises(TrainshedApiError, match="database"):
        run(server.connection().call("GET", "/"))
    assert server.pauses == []


def test_a_server_has_more_time_once_it_has_responded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainshed.connection._FIRST_CONTACT_S", 0.0)
    server = Server([refused(), httpx.Response(200), refused(), httpx.Response(200)])
    connection = server.connection()
    with pytest.raises(ServerUnreachable):
        run(connection.call("GET", "/"))
    run(connection.call("GET", "/"))
    run(connection.call("GET", "/"))
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (refused, "connection refused"),
        (busy, "the database does not respond"),
        (lambda: httpx.Response(502, text="a proxy's page"), "it returned 502"),
    ],
)
def test_a_wait_of_some_seconds_is_told_once_with_its_reason(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[], Outcome],
    reason: str,
) -> None:
    monkeypatch.setattr("trainshed.connection._TOLD_AFTER_S", 0.0)
    server = Server([httpx.Response(200), trouble(), trouble(), httpx.Response(200)])
    connection = server.connection()
    run(connection.call("GET", "/"))
    run(connection.call("GET", "/"))
    told = [record.getMessage() for record in caplog.records if record.name == "trainshed"]
    assert told == [f"Waiting for the server at {URL}: {reason}."]


def test_a_wait_is_told_if_it_is_long(caplog: pytest.LogCaptureFixture) -> None:
    for seconds in ("1", "3"):
        server = Server([httpx.Response(200), busy(**{"Retry-After": seconds}), httpx.Response(200)])
        connection = server.connection()
        run(connection.call("GET", "/"))
        run(connection.call("GET", "/"))
    assert len([record for record in caplog.records if record.name == "trainshed"]) == 1


def test_who_follows_a_job_has_three_times_the_patience() -> None:
    long = {"Retry-After": "60"}
    server = Server([httpx.Response(200), busy(**long), busy(**long), httpx.Response(200), busy(**long)])
    connection = server.connection(30)
    run(connection.call("GET", "/"))
    with pytest.raises(TrainshedApiError):
        run(connection.call("GET", "/"))
    with connection.following(), connection.following():
        run(connection.call("GET", "/"))
    with pytest.raises(TrainshedApiError):
        run(connection.call("GET", "/"))
    assert server.pauses == [60.0]


def test_no_message_has_the_password_of_the_url() -> None:
    html = httpx.Response(200, text="<html>", headers={"Content-Type": "text/html"})
    server = Server([httpx.ConnectError("refused"), html])
    connection = server.connection(patience_s=0, url="http://ann:secret@trainshed.test")
    with pytest.raises(ServerUnreachable) as unreachable:
        run(connection.call("GET", "/v1/jobs"))
    with pytest.raises(UnexpectedResponse) as unexpected:
        connection.read(Version, run(connection.call("GET", "/version")))
    assert "secret" not in f"{unreachable.value} {unexpected.value} {connection.url}"
    assert server.requests[0].headers["Authorization"].startswith("Basic ")
    with pytest.raises(UsageError) as wrong:
        server.connection(url="ftp://ann:secret@trainshed.test")
    assert "secret" not in str(wrong.value)


def test_after_the_last_retry_the_failure_is_raised_with_its_cause() -> None:
    server = Server([refused()])
    with pytest.raises(ServerUnreachable) as caught:
        run(server.connection(patience_s=0).call("GET", "/"))
    assert f"the server at {URL} cannot be reached (connection refused)" in str(caught.value)
    assert "`trainshed up`" in str(caught.value)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
def test_a_refusal_is_raised_at_once_with_its_problem(status: int) -> None:
    server = Server([make_problem(status, "because")])
    with pytest.raises(TrainshedApiError, match="because") as caught:
        run(server.connection().call("GET", "/"))
    assert caught.value.problem.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "words"), [(500, r"because \(request r-1\)"), (404, "because")])
def test_the_message_of_a_servers_failure_has_the_requests_id(status: int, words: str) -> None:
    problem = make_problem(status, "because", request_id="r-1")
    with pytest.raises(TrainshedApiError, match=f"^{words}$"):
        run(Server([problem]).connection(patience_s=0).call("GET", "/"))


def test_a_refusal_without_a_problem_is_not_trainsheds() -> None:
    page = httpx.Response(404, html="<h1>nginx</h1>")
    with pytest.raises(UnexpectedResponse, match=r"404 with text/html.*another program"):
        run(Server([page]).connection().call("GET", "/v1/jobs"))


def test_a_response_that_does_not_match_the_schema_is_not_trainsheds() -> None:
    connection = Server([httpx.Response(200, json={"hello": "world"})]).connection()
    with pytest.raises(UnexpectedResponse, match=rf"GET {URL}/version returned 200"):
        connection.read(Version, run(connection.call("GET", "/version")))


def test_not_modified_is_a_response_and_not_an_error() -> None:
    assert run(Server([httpx.Response(304)]).connection().call("GET", "/")).status_code == 304


def test_a_probe_is_made_once_and_raises_nothing() -> None:
    server = Server([refused(), busy()])
    connection = server.connection()
    assert run(connection.probe("/")) is None
    response = run(connection.probe("/"))
    assert response is not None
    assert response.status_code == 503
    assert server.pauses == []


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://host:port"])
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"is not a (server's )?URL"):
        http_options(url, "", 1.0)


@pytest.mark.parametrize(("api_key", "header"), [("ts_1_2", "Bearer ts_1_2"), ("", None)])
def test_a_key_is_sent_if_there_is_one(api_key: str, header: str | None) -> None:
    server = Server([httpx.Response(200)])
    run(server.connection(api_key=api_key).call("GET", "/"))
    assert server.requests[0].headers.get("Authorization") == header


def test_a_request_within_a_span_of_the_callers_program_has_its_context() -> None:
    server = Server([httpx.Response(200), httpx.Response(200)])
    connection = server.connection()
    context = SpanContext(7, 8, is_remote=False, trace_flags=TraceFlags(1))
    with use_span(NonRecordingSpan(context)):
        run(connection.call("GET", "/"))
    run(connection.call("GET", "/"))
    assert [request.headers.get("traceparent") for request in server.requests] == [
        "00-00000000000000000000000000000007-0000000000000008-01",
        None,
    ]


def test_the_environments_proxy_is_not_used_for_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    def uses_proxy(url: str) -> bool:
        with httpx.Client(**http_options(url, "", 1.0)) as http:
            return bool(http._mounts)

    assert uses_proxy("http://10.0.0.1:8000")
    assert not uses_proxy("http://127.0.0.1:8000")


def test_the_environments_certificates_are_trusted_for_this_host_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    for url in ("https://127.0.0.1", "https://example.org"):
        [trusted] = http_options(url, "", 1.0)["verify"].get_ca_certs()
        assert trusted["subject"] == ((("commonName", "localhost"),),)
