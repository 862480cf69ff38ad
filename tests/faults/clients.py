"""Clients whose requests and responses are recorded, and threads of clients that make them at random."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import Any
from uuid import UUID

import httpx

from shared.lifecycle import JobState
from shared.schemas import TrainSpec
from tests.faults.client_histories import ClientHistory, Operation, Request

_TIMEOUT_S = 10.0
_GIVE_UP_S = 60.0  # after so long a submit that is not acknowledged is an error of the test
_REPEAT_S = 0.2
_RECENT = 10  # jobs that random clients care about; now and then they look at any other
_RECENT_SHARE = 0.8


@dataclass(frozen=True)
class Seen:
    """The newest that a client knows of a job: the entity tag, version and state of a response."""

    tag: str = ""
    version: int = 0
    state: JobState | None = None


class RecordingClient:
    """A client that records what it asks and what it is answered. For one thread."""

    def __init__(self, history: ClientHistory) -> None:
        self._history = history
        self._http = httpx.Client(timeout=_TIMEOUT_S, trust_env=False)
        self._seen: dict[UUID, Seen] = {}

    def submit(self, api: str, key: str, spec: TrainSpec) -> Request:
        body = {"kind": "train", "spec": spec.model_dump(mode="json")}
        return self._send(Request(Operation.SUBMIT, api, monotonic(), key=key), "POST", "", json=body)

    def read(self, api: str, job_id: UUID, *, with_tag: bool) -> Request:
        """Poll a job; with the newest entity tag that this client knows, or as if it knew none."""
        seen = self._seen.get(job_id, Seen()) if with_tag else Seen()
        asked = Request(Operation.READ, api, monotonic(), job_id=job_id, known=seen.version)
        return self._send(asked, "GET", "", {"If-None-Match": seen.tag} if seen.tag else {})

    def cancel(self, api: str, job_id: UUID) -> Request:
        return self._send(Request(Operation.CANCEL, api, monotonic(), job_id=job_id), "POST", "/cancel")

    def retry(self, api: str, job_id: UUID, key: str) -> Request:
        return self._send(
            Request(Operation.RETRY, api, monotonic(), job_id=job_id, key=key), "POST", "/retry"
        )

    def delete(self, api: str, job_id: UUID) -> Request:
        return self._send(Request(Operation.DELETE, api, monotonic(), job_id=job_id), "DELETE", "")

    def close(self) -> None:
        self._http.close()

    def _send(
        self, asked: Request, method: str, path: str, headers: Mapping[str, str] = {}, **body: Any
    ) -> Request:
        url = f"{asked.api}/v1/jobs" + (f"/{asked.job_id}{path}" if asked.job_id else "")
        keys = {"Idempotency-Key": asked.key} if asked.key else {}
        try:
            response = self._http.request(method, url, headers={**headers, **keys}, **body)
        except httpx.ConnectError:
            return asked  # it was not sent
        except httpx.TransportError:
            request = replace(asked, ended=monotonic())
        else:
            request = self._answered(replace(asked, ended=monotonic()), response)
        self._history.add(request)
        return request

    def _answered(self, asked: Request, response: httpx.Response) -> Request:
        answered = replace(asked, status=response.status_code)
        if response.status_code == HTTPStatus.NOT_MODIFIED and asked.job_id is not None:
            seen = self._seen[asked.job_id]
            return replace(answered, version=seen.version, state=seen.state)
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            return answered
        job = response.json()
        seen = Seen(response.headers["ETag"], job["version"], JobState(job["state"]))
        job_id = UUID(job["id"])
        if seen.version >= self._seen.get(job_id, Seen()).version:
            self._seen[job_id] = seen
        is_replay = "Idempotency-Replayed" in response.headers
        answered = replace(answered, version=seen.version, state=seen.state, is_replay=is_replay)
        return answered if asked.key is None else replace(answered, made=job_id)


class RandomClient(Thread):
    """A client that makes random requests to random API processes until it is stopped."""

    def __init__(
        self,
        name: str,
        history: ClientHistory,
        apis: Sequence[str],
        random: Random,
        weights: Mapping[Operation, float],
        pause_s: float,
        new_spec: Callable[[Random], TrainSpec] | None = None,
    ) -> None:
        """Prepare a client.

        Args:
            name: unique among all clients of the history; its keys begin with it.
            weights: how often it makes each kind of request.
            pause_s: the mean time between two requests.
            new_spec: makes the specification of a job that it submits, if it submits any.
        """
        super().__init__(name=name, daemon=True)
        self._history, self._apis, self._random = history, apis, random
        self._operations, self._weights = zip(*weights.items(), strict=True)
        self._new_spec, self._pause_s = new_spec, pause_s
        self._client = RecordingClient(history)
        self._stop_requested = Event()
        self._keys = 0
        self.error: BaseException | None = None

    def stop(self) -> None:
        self._stop_requested.set()

    def run(self) -> None:
        try:
            while not self._stop_requested.wait(self._random.uniform(0, 2 * self._pause_s)):
                self._act(self._random.choices(self._operations, self._weights)[0])
        except BaseException as error:  # for the thread that waits for it
            self.error = error
        finally:
            self._client.close()

    def _act(self, operation: Operation) -> None:
        if operation == Operation.SUBMIT and self._new_spec is not None:
            spec = self._new_spec(self._random)
            self._read_what_was_made(self._until_known(lambda api, key: self._client.submit(api, key, spec)))
        elif (job_id := self._some_job()) is not None:
            self._act_on(operation, job_id)

    def _act_on(self, operation: Operation, job_id: UUID) -> None:
        match operation:
            case Operation.RETRY:
                made = self._until_known(lambda api, key: self._client.retry(api, job_id, key))
                self._read_what_was_made(made)
            case Operation.CANCEL:
                self._client.cancel(self._api(), job_id)
            case Operation.DELETE:
                self._client.delete(self._api(), job_id)
            case _:
                pass
        # what it has written it looks at, as a user does; with the entity tag, whichever process responds
        is_write = operation != Operation.READ
        self._client.read(self._api(), job_id, with_tag=is_write or self._random.random() < 0.5)

    def _until_known(self, submit: Callable[[str, str], Request]) -> Request:
        """Repeat a submission with one key until it is acknowledged or refused."""
        self._keys += 1
        key, deadline = f"{self.name}-{self._keys}", monotonic() + _GIVE_UP_S
        while (request := submit(self._api(), key)).is_unknown:
            assert monotonic() < deadline, f"no API has acknowledged {key} for {_GIVE_UP_S:g} s"
            Event().wait(_REPEAT_S)
        return request

    def _read_what_was_made(self, request: Request) -> None:
        if request.made is not None:
            self._client.read(self._api(), request.made, with_tag=self._random.random() < 0.5)

    def _some_job(self) -> UUID | None:
        job_ids = self._history.job_ids
        if not job_ids:
            return None
        recent = self._random.random() < _RECENT_SHARE
        return self._random.choice(job_ids[-_RECENT:] if recent else job_ids)

    def _api(self) -> str:
        return self._random.choice(self._apis)


def stop(clients: Sequence[RandomClient]) -> None:
    """Stop the clients and wait until each has its last response.

    Raises:
        AssertionError: a submission of one was not acknowledged.
    """
    for client in clients:
        client.stop()
    for client in clients:
        client.join()
        if client.error is not None:
            raise client.error
