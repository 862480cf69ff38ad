"""Users of an API who submit, poll and follow jobs without a pause, and note whatever fails."""

import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from random import Random
from typing import Any, Self
from uuid import UUID, uuid4

import httpx

from shared.lifecycle import EventType
from tests.faults.programs import STEPS
from tests.support.servers import NO_TLS
from tests.support.waiting import wait_until
from trainshed import Client

EPOCHS = 8
_MAX_UNFINISHED = 6
_FOLLOWERS = 4
_PAUSE_S = 0.25
_END_S = 120.0
_LISTS = ("/v1/jobs?limit=20", "/v1/jobs/counts", "/v1/workers", "/v1/queues", "/readyz", "/")
# what the API of any version accepts, and the stub executor takes 0.3 s an epoch for
_SIZES = {"train_size": STEPS, "validation_size": 20, "evaluation_size": 50, "batch_size": 1}


class Load:
    """Runs its users in threads, for the length of a `with` block.

    Most open a connection for each request, so that none is repeated and each that fails is noted; the
    followers use the client, which resumes streams, and keep their connections.

    Attributes:
        failures: what failed.
        accepted: each job whose submission was acknowledged.
        followed: the numbers and types of the events that a follower has seen of each finished job.
        streamed: the jobs and numbers of all events, as one stream of all jobs brought them.
    """

    def __init__(self, url: str) -> None:
        self.failures: list[str] = []
        self.accepted: list[UUID] = []
        self.followed: dict[UUID, list[tuple[int, str]]] = {}
        self.streamed: list[tuple[UUID, int]] = []
        self._url = url
        self._seeds = count(1)
        self._random = Random(1)
        self._to_follow: SimpleQueue[UUID] = SimpleQueue()
        self._last: UUID | None = None
        self._is_enough, self._ends = threading.Event(), threading.Event()
        self._submitters = [_thread(self._repeat, self._submit, self._is_enough) for _ in range(2)]
        self._stream = _thread(self._follow_all)
        self._others = [
            *(_thread(self._repeat, poll, self._ends) for poll in (self._poll, self._poll, self._poll_long)),
            *(_thread(self._follow) for _ in range(_FOLLOWERS)),
            self._stream,
        ]

    def __enter__(self) -> Self:
        for thread in (*self._submitters, *self._others):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_enough.set()
        self._ends.set()

    def wait_for_more(self, jobs: int) -> None:
        """Wait until so many more jobs have ended."""
        goal = len(self.followed) + jobs
        wait_until(lambda: len(self.followed) >= goal or self.failures, f"{goal} jobs have ended", _END_S)
        self.check()

    def finish(self) -> None:
        """Wait until every job has ended, and every user has seen that."""
        self._is_enough.set()
        for thread in self._submitters:
            thread.join(_END_S)
        wait_until(self._all_followed, "every accepted job has been followed to its end", _END_S)
        # the stream of all jobs ends with this one
        with self._http() as http:
            self._last = self._submit_with(http)
        wait_until(self._all_followed, "the last job has been followed to its end", _END_S)
        self._stream.join(_END_S)
        assert not self._stream.is_alive(), "the stream of all jobs has not brought the last event"
        self._ends.set()
        for thread in self._others:
            thread.join(_END_S)
        self.check()

    def check(self) -> None:
        """Raise AssertionError if anything has failed."""
        assert not self.failures, "\n".join(self.failures)

    def _all_followed(self) -> bool:
        self.check()
        return set(self.followed) == set(self.accepted)

    # users

    def _repeat(self, user: Callable[[httpx.Client], object], end: threading.Event) -> None:
        with self._http() as http:
            while not end.wait(_PAUSE_S):
                self._note_failure(partial(user, http))

    def _submit(self, http: httpx.Client) -> None:
        if len(self.accepted) - len(self.followed) < _MAX_UNFINISHED:
            self._submit_with(http)

    def _submit_with(self, http: httpx.Client) -> UUID:
        spec = {**_SIZES, "epochs": EPOCHS, "seed": next(self._seeds), "keep_weights": True}
        headers = {"Idempotency-Key": str(uuid4())}
        answer = self._request(
            http, "POST", "/v1/jobs", json={"kind": "train", "spec": spec}, headers=headers
        )
        job_id = UUID(answer.json()["id"])
        self.accepted.append(job_id)
        self._to_follow.put(job_id)
        return job_id

    def _poll(self, http: httpx.Client) -> None:
        paths = [self._random.choice(_LISTS)]
        if self.accepted:
            job = f"/v1/jobs/{self._random.choice(self.accepted)}"
            paths += [job, f"{job}/events", f"{job}/metrics"]
        for path in paths:
            self._request(http, "GET", path)

    def _poll_long(self, http: httpx.Client) -> None:
        if self.accepted:
            self._request(http, "GET", f"/v1/jobs/{self.accepted[-1]}?wait=20&until=end")

    def _follow(self) -> None:
        with Client(self._url) as server:
            while not self._ends.is_set():
                try:
                    job_id = self._to_follow.get(timeout=_PAUSE_S)
                except Empty:
                    continue
                self._note_failure(partial(self._follow_job, server, job_id))

    def _follow_job(self, server: Client, job_id: UUID) -> None:
        events = [(event.seq, str(event.type)) for event in server.stream(job_id)]
        state = server.wait(job_id).state
        assert (state, events[-1][1]) == ("succeeded", "succeeded"), f"job {job_id} is {state}: {events}"
        self.followed[job_id] = events

    def _follow_all(self) -> None:
        def follow() -> None:
            with Client(self._url) as server:
                for event in server.stream_all(after="0"):
                    self.streamed.append((event.job_id, event.seq))
                    if event.job_id == self._last and event.type == EventType.SUCCEEDED:
                        return

        self._note_failure(follow)

    # requests

    def _http(self) -> httpx.Client:
        no_kept_connection = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(
            base_url=self._url, limits=no_kept_connection, timeout=40, verify=NO_TLS, trust_env=False
        )

    def _request(self, http: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
        answer = http.request(method, path, **options)
        assert answer.status_code in (200, 202), f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer

    def _note_failure(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            if not self._ends.is_set():
                self.failures.append(f"{type(error).__name__}: {error}")


def _thread(target: Callable[..., None], *arguments: object) -> threading.Thread:
    return threading.Thread(target=target, args=arguments, daemon=True)
