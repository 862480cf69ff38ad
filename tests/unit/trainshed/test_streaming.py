"""Events come once each, over as many connections as it takes."""

from collections.abc import Iterator
from itertools import islice

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.schemas import JobEvent
from tests.support.fake_api import URL, FakeApi, make_event, make_job, make_life, make_problem
from trainshed.client import Client
from trainshed.errors import TrainshedApiError, UnexpectedAnswer
from trainshed.streaming import Block, blocks

JOB = uuid7()
LIFE = [make_event(JOB, seq) for seq in range(1, 5)]
END = 'event: end\ndata: {"state":"succeeded"}\n\n'
OPENED = "retry: 1000\n\n"


class Body(httpx.SyncByteStream):
    """What one connection brings before it is lost."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.ReadError("connection reset")


class Streams:
    """A server that streams `texts`, one a connection.

    Attributes:
        asked: the Last-Event-ID of each connection.
        paths: what each asked for.
    """

    def __init__(self, *texts: str) -> None:
        self.asked: list[str | None] = []
        self.paths: set[str] = set()
        self._texts = list(texts)

    def connect(self) -> Client:
        transport = httpx.MockTransport(self._answer)
        return Client(URL, transport=transport, sleep=lambda _: None, patience_s=5.0)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.paths.add(request.url.path)
        self.asked.append(request.headers.get("Last-Event-ID"))
        text = self._texts.pop(0)
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Body(text))


def _sent(*events: JobEvent) -> str:
    return OPENED + "".join(
        f"event: {event.type}\ndata: {event.model_dump_json()}\nid: {event.seq}\n\n" for event in events
    )


def test_events_come_until_the_end() -> None:
    streams = Streams(_sent(*LIFE) + END)
    assert list(streams.connect().stream(JOB)) == LIFE
    assert streams.asked == ["0"]
    assert streams.paths == {f"/v1/jobs/{JOB}/stream"}


def test_a_stream_is_resumed_after_the_newest_event() -> None:
    streams = Streams(_sent(*LIFE[:1]), _sent(*LIFE[1:3]), OPENED, _sent(*LIFE[3:]), END)
    assert list(streams.connect().stream(JOB)) == LIFE
    assert streams.asked == ["0", "1", "3", "3", "4"]


@pytest.mark.parametrize("cut", range(len(OPENED), len(_sent(*LIFE)), 7))
def test_a_stream_that_is_cut_anywhere_gives_each_event_once(cut: int) -> None:
    first = _sent(*LIFE)[:cut]
    arrived = first.count("\n\n") - OPENED.count("\n\n")
    streams = Streams(first, _sent(*LIFE[arrived:]) + END)
    assert list(streams.connect().stream(JOB)) == LIFE
    assert streams.asked == ["0", str(arrived)]


def test_a_stream_begins_after_an_event_that_is_known() -> None:
    streams = Streams(_sent(*LIFE[2:]) + END)
    assert list(streams.connect().stream(JOB, after=2)) == LIFE[2:]
    assert streams.asked == ["2"]


def test_where_no_stream_comes_through_the_job_is_watched_instead() -> None:
    api = FakeApi()
    job_id = api.add(*make_life(make_job()))
    api.events[job_id] = [make_event(job_id, seq) for seq in range(1, 7)]
    api.no_streams = True
    assert list(api.connect().stream(job_id, after=1)) == api.events[job_id][1:]


def test_a_job_that_is_not_there_has_no_stream() -> None:
    with pytest.raises(TrainshedApiError, match="there is no job"):
        list(FakeApi().connect().stream(JOB))


def test_a_busy_server_is_asked_again() -> None:
    api = FakeApi()
    job_id = api.add(make_job())
    api.troubles = [
        make_problem(503, "busy"),
        httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=END),
    ]
    assert list(api.connect().stream(job_id)) == []


def test_a_block_has_a_name_its_data_lines_and_an_id() -> None:
    lines = ["event: a", "data: 1", "data:2", "id: 7", "", ": ping", "", "data: cut off"]
    assert list(blocks(lines)) == [Block("a", "1\n2", "7"), Block("", "", "")]


def test_the_stream_of_all_jobs_is_resumed_after_the_newest_of_its_ids() -> None:
    opened = "id: 5\nretry: 1000\n\n"
    told = [f"data: {event.model_dump_json()}\nid: 6-{event.seq}\n\n" for event in LIFE]
    streams = Streams(opened, opened + told[0] + told[1], opened.replace("5", "6-2") + told[2], "")
    found = streams.connect().stream_all()
    assert list(islice(found, 3)) == LIFE[:3]
    assert streams.asked == [None, "5", "6-2"]
    assert streams.paths == {"/v1/stream"}
    with pytest.raises(UnexpectedAnswer, match="no stream comes through"):
        next(found)
