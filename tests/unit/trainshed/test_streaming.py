"""Event streams reconnect, and yield each event once."""

import gc
import sys
from collections.abc import Iterator
from itertools import islice

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.schemas import JobEvent
from tests.support.fake_api import URL, FakeApi, make_event, make_job, make_problem, make_states
from trainshed.client import Client
from trainshed.errors import TrainshedApiError, UnexpectedResponse

JOB = uuid7()
LIFE = [make_event(JOB, seq) for seq in range(1, 5)]
END = 'event: end\ndata: {"state":"succeeded"}\n\n'
OPENED = "retry: 1000\n\n"


class Body(httpx.SyncByteStream):
    """The body that one connection receives before it is lost."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.ReadError("connection reset")

    def close(self) -> None:
        self.is_closed = True


class Streams:
    """A server that streams `texts`, one per connection.

    Attributes:
        resumed_after: the Last-Event-ID of each connection.
        paths: the paths requested.
        bodies: those of the responses.
    """

    def __init__(self, *texts: str) -> None:
        self.resumed_after: list[str | None] = []
        self.paths: set[str] = set()
        self.bodies: list[Body] = []
        self._texts = list(texts)

    def connect(self) -> Client:
        transport = httpx.MockTransport(self._respond)
        return Client(URL, transport=transport, sleep=lambda _: None, patience_s=5.0)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.paths.add(request.url.path)
        self.resumed_after.append(request.headers.get("Last-Event-ID"))
        self.bodies.append(Body(self._texts.pop(0)))
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=self.bodies[-1])


def _sent(*events: JobEvent) -> str:
    return OPENED + "".join(
        f"event: {event.type}\ndata: {event.model_dump_json()}\nid: {event.seq}\n\n" for event in events
    )


def test_a_stream_yields_events_until_the_server_ends_it() -> None:
    streams = Streams(_sent(*LIFE) + END)
    assert list(streams.connect().stream(JOB)) == LIFE
    assert streams.resumed_after == ["0"]
    assert streams.paths == {f"/v1/jobs/{JOB}/stream"}


def test_a_lost_stream_is_resumed_after_the_last_event() -> None:
    streams = Streams(_sent(*LIFE[:1]), _sent(*LIFE[1:3]), OPENED, _sent(*LIFE[3:]), END)
    assert list(streams.connect().stream(JOB)) == LIFE
    assert streams.resumed_after == ["0", "1", "3", "3", "4"]


@pytest.mark.parametrize("cut", range(len(OPENED), len(_sent(*LIFE)), 7))
def test_a_stream_that_is_cut_anywhere_yields_each_event_once(cut: int) -> None:
    first = _sent(*LIFE)[:cut]
    arrived = first.count("\n\n") - OPENED.count("\n\n")
    streams = Streams(first, _sent(*LIFE[arrived:]) + END)
    assert list(streams.connect().stream(JOB)) == LIFE
    assert streams.resumed_after == ["0", str(arrived)]


def test_a_stream_that_the_server_resets_begins_again() -> None:
    reset = 'event: reset\ndata: {"version":2}\nid: 0\n\n'
    streams = Streams(_sent(*LIFE[:3]), OPENED + reset, _sent(*LIFE) + END)
    assert list(streams.connect().stream(JOB)) == [*LIFE[:3], *LIFE]
    assert streams.resumed_after == ["0", "3", "0"]


def test_a_stream_starts_after_the_given_event() -> None:
    streams = Streams(_sent(*LIFE[2:]) + END)
    assert list(streams.connect().stream(JOB, after=2)) == LIFE[2:]
    assert streams.resumed_after == ["2"]


def test_where_no_stream_gets_through_the_events_are_polled() -> None:
    api = FakeApi()
    job_id = api.add(*make_states(make_job()))
    api.events[job_id] = [make_event(job_id, seq) for seq in range(1, 7)]
    api.no_streams = True
    assert list(api.connect().stream(job_id, after=1)) == api.events[job_id][1:]


def test_connections_that_are_lost_before_anything_arrives_are_tried_again() -> None:
    streams = Streams("", "", _sent(*LIFE[:2]), "", "", "", _sent(*LIFE[2:]) + END)
    assert list(streams.connect().stream(JOB)) == LIFE
    assert streams.resumed_after == ["0", "0", "0", "2", "2", "2", "2"]


def test_an_unknown_job_has_no_stream() -> None:
    with pytest.raises(TrainshedApiError, match="there is no job"):
        list(FakeApi().connect().stream(JOB))


def test_connecting_to_a_busy_server_is_retried() -> None:
    api = FakeApi()
    job_id = api.add(make_job())
    api.faults = [
        make_problem(503, "busy"),
        httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=END),
    ]
    assert list(api.connect().stream(job_id)) == []


def test_comments_that_keep_a_connection_alive_are_no_events() -> None:
    streams = Streams(OPENED + ": ping\n\n" + _sent(LIFE[0]) + ": ping\n\n" + _sent(*LIFE[1:]) + END)
    assert list(streams.connect().stream(JOB)) == LIFE


def test_the_stream_of_all_jobs_is_resumed_after_its_last_id() -> None:
    opened = "id: 5\nretry: 1000\n\n"
    sent = [f"data: {event.model_dump_json()}\nid: 6-{event.seq}\n\n" for event in LIFE]
    streams = Streams(opened, opened + sent[0] + sent[1], opened.replace("5", "6-2") + sent[2], *[""] * 5)
    events = streams.connect().stream_all()
    assert list(islice(events, 3)) == LIFE[:3]
    assert streams.resumed_after == [None, "5", "6-2"]
    assert streams.paths == {"/v1/stream"}
    with pytest.raises(UnexpectedResponse, match="no event stream gets through"):
        next(events)


@pytest.fixture
def _no_event_loop() -> Iterator[None]:
    """Have no event loop in this thread: the one that playwright leaves would be asked to close streams."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    yield
    sys.set_asyncgen_hooks(*hooks)


@pytest.mark.usefixtures("_no_event_loop")
def test_a_connection_is_closed_when_its_stream_is_closed_or_dropped() -> None:
    streams = Streams(*[_sent(*LIFE) + END] * 2)
    server = streams.connect()
    events = server.stream(JOB)
    next(events)
    events.close()
    next(server.stream(JOB))
    gc.collect()
    assert [body.is_closed for body in streams.bodies] == [True, True]
