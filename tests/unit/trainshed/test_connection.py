"""Requests are tried again while that may help; answers are checked."""

from collections.abc import Callable, Sequence

import httpx
import pytest

from shared.schemas import WorkerList
from tests.support.fake_api import URL, make_problem
from trainshed.connection import Connection
from trainshed.errors import ServerUnreachable, TrainshedApiError, UnexpectedAnswer, UsageError

Answer = httpx.Response | Exception


class Server:
    """Gives the answers that were written for it, one a request."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.pauses: list[float] = []
        self.asked = 0

    def connection(self, patience_s: float = 60.0) -> Connection:
        return Connection(
            URL,
            patience_s=patience_s,
            timeout_s=1.0,
            transport=httpx.MockTransport(self._answer),
            sleep=self.pauses.append,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def refused() -> Exception:
    return httpx.ConnectError("[Errno 111] Connection refused")


def busy(**headers: str) -> httpx.Response:
    response = make_problem(503, "the database does not answer")
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
    ],
)
def test_a_failure_that_may_pass_is_tried_again(trouble: Callable[[], Answer]) -> None:
    server = Server([trouble(), trouble(), httpx.Response(200, text="at last")])
    assert server.connection().call("GET", "/").text == "at last"
    assert len(server.pauses) == 2


def test_the_pauses_grow_from_a_tenth_of_a_second_to_about_two() -> None:
    server = Server([busy() for _ in range(8)] + [httpx.Response(200)])
    server.connection().call("GET", "/")
    assert server.pauses[0] == pytest.approx(0.1, rel=0.2)
    assert server.pauses[1] == pytest.approx(0.2, rel=0.2)
    assert server.pauses[-1] == pytest.approx(2.0, rel=0.2)


def test_retry_after_is_waited_for() -> None:
    server = Server([busy(**{"Retry-After": "7"}), httpx.Response(200)])
    server.connection().call("GET", "/")
    assert server.pauses == [7.0]


def test_a_retry_after_that_is_a_date_is_as_none() -> None:
    server = Server([busy(**{"Retry-After": "Fri, 02 Jan 2026 03:04:05 GMT"}), httpx.Response(200)])
    server.connection().call("GET", "/")
    assert server.pauses[0] < 1


def test_a_retry_after_beyond_all_patience_is_not_waited_for() -> None:
    server = Server([busy(**{"Retry-After": "3600"})])
    with pytest.raises(TrainshedApiError, match="database"):
        server.connection().call("GET", "/")
    assert server.pauses == []


def test_a_server_is_given_more_time_once_it_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainshed.connection._FIRST_CONTACT_S", 0.0)
    server = Server([refused(), httpx.Response(200), refused(), httpx.Response(200)])
    connection = server.connection()
    with pytest.raises(ServerUnreachable):
        connection.call("GET", "/")
    connection.call("GET", "/")
    connection.call("GET", "/")
    assert server.asked == 4


def test_out_of_patience_the_last_failure_is_raised() -> None:
    server = Server([refused()])
    with pytest.raises(ServerUnreachable) as caught:
        server.connection(patience_s=0).call("GET", "/")
    assert caught.value.url == URL
    assert f"the server at {URL} cannot be reached (connection refused)" in str(caught.value)
    assert "`trainshed up`" in str(caught.value)


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
def test_a_refusal_is_raised_at_once_with_its_problem(status: int) -> None:
    server = Server([make_problem(status, "because")])
    with pytest.raises(TrainshedApiError, match="because") as caught:
        server.connection().call("GET", "/")
    assert caught.value.problem.status == status
    assert server.asked == 1


def test_a_refusal_that_is_no_problem_is_not_taken_for_trainsheds() -> None:
    page = httpx.Response(404, html="<h1>nginx</h1>")
    with pytest.raises(UnexpectedAnswer, match=r"404 and text/html.*another program"):
        Server([page]).connection().call("GET", "/v1/jobs")


def test_an_answer_of_another_form_is_not_taken_for_trainsheds() -> None:
    connection = Server([httpx.Response(200, json={"hello": "world"})]).connection()
    with pytest.raises(UnexpectedAnswer, match=rf"GET {URL}/v1/workers was answered with 200"):
        connection.read(WorkerList, connection.call("GET", "/v1/workers"))


def test_not_modified_is_an_answer() -> None:
    assert Server([httpx.Response(304)]).connection().call("GET", "/").status_code == 304


def test_a_probe_is_made_once_and_raises_nothing() -> None:
    server = Server([refused(), busy()])
    connection = server.connection()
    assert connection.probe("/") is None
    answer = connection.probe("/")
    assert answer is not None
    assert answer.status_code == 503
    assert server.pauses == []


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_servers_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"is no (server's )?URL"):
        Connection(url, patience_s=1, timeout_s=1, transport=None, sleep=lambda _: None)


def test_a_key_is_shown_with_every_request_and_none_is_none() -> None:
    def shown(**key: str) -> str:
        seen: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json={})

        transport = httpx.MockTransport(answer)
        Connection(URL, patience_s=1, timeout_s=1, transport=transport, sleep=lambda _: None, **key).call(
            "GET", "/"
        )
        return str(seen[0].headers.get("Authorization", ""))

    assert shown(api_key="ts_1_2") == "Bearer ts_1_2"
    assert shown() == ""


def test_a_proxy_of_the_environment_is_not_asked_for_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    def proxied(url: str) -> bool:
        connection = Connection(url, patience_s=1, timeout_s=1, transport=None, sleep=lambda _: None)
        try:
            return bool(connection._http._mounts)
        finally:
            connection.close()

    assert proxied("http://10.0.0.1:8000")
    assert not proxied("http://127.0.0.1:8000")
