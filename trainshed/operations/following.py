"""Operations that follow jobs: wait, watch, events, logs."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from math import inf
from typing import Any, Literal
from uuid import UUID

import httpx

from shared.lifecycle import TERMINAL
from shared.schemas import JobEvent, JobLogLine, LogLevel, Page
from trainshed.errors import UnexpectedResponse
from trainshed.items import AsyncItems
from trainshed.notebook.answers import JobDetail, SweepDetail
from trainshed.notebook.progress import live_view
from trainshed.operations.base import JobLike, SweepLike
from trainshed.operations.fields import AnyLevel
from trainshed.operations.jobs import Jobs
from trainshed.operations.sweeps import Sweeps
from trainshed.streaming import EventStream

_LOG_POLL_S = 1.0
_JOB_POLL_S = (0.2, 1.0)  # for a server that does not long-poll: the first interval, and the longest


class Following(Jobs, Sweeps):
    """Following jobs."""

    _long_poll_s: float

    async def wait(
        self, job: JobLike, *, timeout_s: float | None = None, progress: bool | None = None
    ) -> JobDetail:
        """Wait until a job is finished, and return it.

        Args:
            job: the job.
            timeout_s: seconds to wait at most; no limit if None.
            progress: whether to show the job's progress meanwhile; if None, only in a notebook and in
                interactive Python.

        Raises:
            TimeoutError: the job is not finished after `timeout_s`.
        """
        job_id = await self._job_id(job)
        with self._connection.following(), live_view(progress) as show:
            async with aclosing(self._watch(job_id, timeout_s, "change" if show else "end")) as states:
                async for finished in states:
                    if show:
                        show(finished)
        return finished

    async def wait_sweep(
        self, sweep: SweepLike, *, timeout_s: float | None = None, progress: bool | None = None
    ) -> SweepDetail:
        """Wait until every job of a sweep is finished, and return the sweep; arguments as in `wait`.

        Raises:
            TimeoutError: the sweep is not finished after `timeout_s`.
        """
        deadline = inf if timeout_s is None else time.monotonic() + timeout_s
        now = await self.sweep(sweep)
        with self._connection.following(), live_view(progress) as show:
            while unfinished := [job.job_id for job in now.jobs if job.state not in TERMINAL]:
                if show:
                    show(now)
                left_s = None if timeout_s is None else max(0.0, deadline - time.monotonic())
                try:
                    await self.wait(unfinished[-1], timeout_s=left_s, progress=False)
                except TimeoutError:
                    raise TimeoutError(f"sweep {now.id} is not finished after {timeout_s:g} s") from None
                now = await self.sweep(now)
            if show:
                show(now)
        return now

    def watch(self, job: JobLike, *, timeout_s: float | None = None) -> AsyncItems[JobDetail]:
        """Iterate over a job's states: the current one, then one after each change until the job is finished.

        Raises:
            TimeoutError: the job is not finished after `timeout_s`.
        """
        return AsyncItems(self._followed(job, timeout_s))

    async def _followed(
        self, job: JobLike, timeout_s: float | None = None
    ) -> AsyncGenerator[JobDetail, None]:
        job_id = await self._job_id(job)
        with self._connection.following():
            async with aclosing(self._watch(job_id, timeout_s, "change")) as states:
                async for state in states:
                    yield state

    async def _watch(
        self, job_id: UUID, timeout_s: float | None, until: Literal["change", "end"]
    ) -> AsyncGenerator[JobDetail, None]:
        deadline = inf if timeout_s is None else time.monotonic() + timeout_s
        etag, previous, interval_s = "", None, _JOB_POLL_S[0]
        while True:
            began = time.monotonic()
            wait_s = min(self._long_poll_s, max(0.0, deadline - began))
            response = await self._poll(job_id, etag, wait_s, until)
            if response.status_code != httpx.codes.NOT_MODIFIED:
                etag, interval_s = response.headers.get("ETag", ""), _JOB_POLL_S[0]
                job = self._connection.read(JobDetail, response)
                if job != previous:
                    previous = job
                    yield job
                if job.state in TERMINAL:
                    return
            elif time.monotonic() - began < interval_s:  # this server does not long-poll
                await self._connection.transport.sleep(interval_s)
                interval_s = min(interval_s * 1.5, _JOB_POLL_S[1])
            if time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is not finished after {timeout_s:g} s")

    async def _poll(
        self, job_id: UUID, etag: str, wait_s: float, until: Literal["change", "end"]
    ) -> httpx.Response:
        """GET a job; wait at most `wait_s` seconds for its end or, with an ETag, for a change.

        With neither, the server responds at once.
        """
        headers = {"If-None-Match": etag} if etag else {}
        params = {"wait": wait_s, "until": until} if etag or until == "end" else {}
        return await self._connection.call("GET", f"/v1/jobs/{job_id}", headers=headers, params=params)

    def events(self, job: JobLike, *, after: int = 0) -> AsyncItems[JobEvent]:
        """Iterate over a job's events so far, after the event with the number `after`."""
        return AsyncItems(self._job_items(Page[JobEvent], job, "events", after=after))

    def stream(self, job: JobLike, *, after: int = 0) -> AsyncItems[JobEvent]:
        """Iterate over a job's events as they happen, after event number `after`, until the job is finished.

        Each event is yielded once, however often the connection is lost or the server restarts. Where streams
        do not get through, as behind some proxies, the server is polled instead. If the server's database is
        restored from a backup that lacks some events, all events come again from the first one.
        """
        return AsyncItems(self._stream(job, after))

    async def _stream(self, job: JobLike, after: int) -> AsyncGenerator[JobEvent, None]:
        job_id = await self._job_id(job)
        stream = EventStream(self._connection, f"/v1/jobs/{job_id}/stream", str(after))
        with self._connection.following():
            async with aclosing(stream.events()) as streamed:
                async for event in streamed:
                    after = event.seq
                    yield event
        if not stream.ended:
            async for _ in self._followed(job_id):
                async for event in self._job_items(Page[JobEvent], job_id, "events", after=after):
                    after = event.seq
                    yield event

    def stream_all(self, *, after: str = "") -> AsyncItems[JobEvent]:
        """Iterate over the events of all jobs as they happen, endlessly.

        Each event is yielded once, and those of a job in order, however often the connection is lost or the
        server restarts.

        Args:
            after: the id of the last event received; `0` to begin with the first event, empty to begin now.

        Raises:
            UnexpectedResponse: streams do not get through, as behind some proxies.
        """
        return AsyncItems(self._stream_all(after))

    async def _stream_all(self, after: str) -> AsyncGenerator[JobEvent, None]:
        stream = EventStream(self._connection, "/v1/stream", after)
        with self._connection.following():
            async with aclosing(stream.events()) as streamed:
                async for event in streamed:
                    yield event
        raise UnexpectedResponse(
            f"no event stream gets through from {self._connection.url}: does a proxy in between buffer "
            "responses?"
        )

    def logs(
        self, job: JobLike, *, level: AnyLevel = LogLevel.DEBUG, text: str = "", follow: bool = False
    ) -> AsyncItems[JobLogLine]:
        """Iterate over the log lines of a job's attempts, oldest first; with `follow`, until the job's end.

        Only lines of at least this level are yielded, and only those whose message contains `text`.
        """
        return AsyncItems(self._logs(job, follow, level=level, q=text))

    async def _logs(self, job: JobLike, follow: bool, **query: Any) -> AsyncGenerator[JobLogLine, None]:
        job_id = await self._job_id(job)
        path, cursor, finished = f"/v1/jobs/{job_id}/logs", None, not follow
        with self._connection.following() if follow else nullcontext():
            while True:
                async for page in self._pages(Page[JobLogLine], path, cursor=cursor, **query):
                    cursor = page.next_cursor
                    for line in page.data:
                        yield line
                if finished:
                    return
                finished = (await self.job(job_id)).state in TERMINAL
                # also after the job's end: its last lines arrive within a second
                await self._connection.transport.sleep(_LOG_POLL_S)
