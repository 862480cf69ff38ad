"""The oracle of what clients saw, on hand-made histories and on those of a simulated, correct API."""

from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.lifecycle import TERMINAL, JobState
from tests.faults.client_histories import ClientHistory, Operation, Request

A, B = "http://a", "http://b"
JOB, OTHER = UUID(int=1), UUID(int=2)
QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = JobState


def submit(began: float, **more: Any) -> Request:
    stored = {"status": 202, "made": JOB, "version": 1, "state": QUEUED}
    return replace(Request(Operation.SUBMIT, A, began, began + 0.1, key="one"), **{**stored, **more})


def read(began: float, version: int, state: JobState, **more: Any) -> Request:
    seen = {"status": 200, "version": version, "state": state, **more}
    return replace(Request(Operation.READ, A, began, began + 0.1, job_id=JOB), **seen)


def act(operation: Operation, began: float, status: int | None, **more: Any) -> Request:
    return replace(Request(operation, A, began, began + 0.1, job_id=JOB, status=status), **more)


def cancel(began: float, version: int | None = 2, state: JobState | None = CANCELLED, **more: Any) -> Request:
    return replace(act(Operation.CANCEL, began, 200, version=version, state=state), **more)


def missing(began: float, **more: Any) -> Request:
    return act(Operation.READ, began, 404, **more)


def delete(began: float, status: int | None = 204, **more: Any) -> Request:
    return act(Operation.DELETE, began, status, **more)


UNKNOWN = {"status": None, "made": None, "version": None, "state": None}

GOOD = {
    "a job's life": [
        submit(0),
        read(1, 1, QUEUED),
        read(2, 2, RUNNING),
        read(3, 9, SUCCEEDED),
        delete(4),
        missing(5),
    ],
    "a poll of another process is up to a second old": [submit(0), cancel(1), read(1.9, 1, QUEUED, api=B)],
    "a poll at the same time is old or new": [
        submit(0),
        cancel(2, ended=9),
        read(3, 2, CANCELLED),
        read(3, 1, QUEUED),
    ],
    "a submit without a response was stored": [submit(0, **UNKNOWN), submit(5, version=2, state=RUNNING)],
    "a submit without a response is stored late": [submit(0, **UNKNOWN), submit(5), read(6, 1, QUEUED)],
    "a cancel without a response took effect": [
        submit(0),
        act(Operation.CANCEL, 1, None),
        read(3, 2, CANCELLED),
    ],
    "a cancel without a response took effect late": [
        submit(0),
        act(Operation.CANCEL, 1, 503),
        read(3, 3, RUNNING),
        read(5, 4, CANCELLED),
    ],
    "a cancel without a response did nothing": [
        submit(0),
        act(Operation.CANCEL, 1, None),
        read(3, 1, QUEUED),
    ],
    "a cancelled job may still succeed": [
        submit(0),
        act(Operation.CANCEL, 1, 202, version=3, state=RUNNING),
        read(3, 5, SUCCEEDED),
        act(Operation.CANCEL, 4, 409),
    ],
    "a repeated cancel is refused": [submit(0), act(Operation.CANCEL, 1, 409), read(3, 7, FAILED)],
    "a delete without a response took effect": [
        submit(0),
        cancel(1),
        delete(2, None),
        delete(3, 404),
        missing(4),
    ],
    "a delete whose transaction was repeated finds nothing": [
        submit(0),
        cancel(1),
        delete(2, 404),
        missing(4),
    ],
    "another process still shows a deleted job": [
        submit(0),
        cancel(1),
        delete(3),
        read(3.9, 2, CANCELLED, api=B),
    ],
    "an unfinished job is neither retried nor deleted": [
        submit(0),
        act(Operation.RETRY, 1, 409, key="two"),
        delete(2, 409),
        read(3, 1, QUEUED),
    ],
    "a retry": [
        submit(0),
        cancel(1),
        act(Operation.RETRY, 2, 202, key="two", made=OTHER, version=1, state=QUEUED),
    ],
    "a no-op cancel tells its process nothing": [
        submit(0),
        cancel(1, api=B),
        cancel(1.2),
        read(1.4, 1, QUEUED),
    ],
    "a replay of a finished retry whose source is gone": [
        submit(0),
        cancel(1),
        act(Operation.RETRY, 2, 202, key="two", made=OTHER, version=1, state=QUEUED),
        delete(3),
        act(Operation.RETRY, 4, 202, key="two", made=OTHER, version=5, state=FAILED, is_replay=True),
    ],
}

BAD = {
    "an acknowledged submit is not there": [submit(0), missing(0.2, api=B)],
    "an acknowledged submit is gone later": [submit(0), read(1, 1, QUEUED), missing(5)],
    "a key names two jobs": [submit(0), submit(1, made=OTHER)],
    "a poll is older than a second": [submit(0), cancel(1), read(2.2, 1, QUEUED, api=B)],
    "a poll of the same process misses its change": [submit(0), cancel(1), read(1.2, 1, QUEUED)],
    "a poll is older than the tag it was sent": [submit(0), cancel(1), read(1.2, 1, QUEUED, api=B, known=2)],
    "a version goes back": [submit(0), read(1, 5, RUNNING), read(3, 4, RUNNING)],
    "a version has two states": [submit(0), read(1, 3, RUNNING), read(3, 3, QUEUED)],
    "a terminal state changes": [submit(0), read(1, 5, FAILED), read(3, 6, RUNNING)],
    "a terminal version rises by itself": [submit(0), read(1, 5, FAILED), read(3, 6, FAILED)],
    "a cancel is forgotten": [submit(0), cancel(1), read(3, 1, QUEUED)],
    "nobody cancelled the job": [submit(0), read(2, 2, CANCELLED)],
    "a finished job is cancelled": [submit(0), read(1, 5, FAILED), cancel(3, 5, FAILED)],
    "a deleted job comes back": [submit(0), cancel(1), delete(2), missing(3), read(5, 2, CANCELLED, api=B)],
    "a job is deleted twice": [submit(0), cancel(1), delete(2), delete(3)],
    "an unfinished job is retried": [
        submit(0),
        act(Operation.RETRY, 1, 202, key="two", made=OTHER, version=1, state=QUEUED),
        read(3, 1, QUEUED),
    ],
    "a finished job is not deleted": [submit(0), cancel(1), delete(2, 409)],
    "a retry finds no job": [submit(0), act(Operation.RETRY, 1, 404, key="two")],
    "a job changes without being there": [submit(0, **UNKNOWN), missing(9), cancel(10), missing(11)],
}


def violations(requests: list[Request]) -> str:
    history = ClientHistory()
    for request in reversed(requests):
        history.add(request)
    try:
        history.check()
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", GOOD)
def test_what_the_api_promises_is_accepted(name: str) -> None:
    assert violations(GOOD[name]) == ""


@pytest.mark.parametrize("name", BAD)
def test_what_breaks_a_promise_is_found(name: str) -> None:
    assert violations(BAD[name])


def test_the_violation_names_the_job_and_the_steps_without_an_explanation() -> None:
    text = violations([submit(0), cancel(1), read(3, 1, QUEUED)])
    assert f"job {JOB}: of 5 steps, no order explains these" in text
    assert "[3.000 to 3.100] http://a: see 1 queued" in text


class SimulatedApi:
    """A correct API of two processes in simulated time; its requests overlap, and some responses are lost."""

    def __init__(self, random: Random, *, lost: float = 0.2) -> None:
        self.random = random
        self._lost = lost  # the share of responses
        self.requests: list[Request] = []
        self.now = 0.0
        self.states: list[tuple[float, JobState | None]] = []  # when it had each version; None: deleted
        self._written: list[tuple[Request, int]] = []  # what was acknowledged, with the version after it
        self._cancel_requested = False
        self._change(QUEUED)
        self._answer(self._asked(Operation.SUBMIT), 202, made=JOB, version=1)
        # the clients know of it
        known = submit(self.now, is_replay=True, ended=self.now + random.random())
        self.requests.append(known)
        self._written.append((known, 1))

    @property
    def state(self) -> JobState | None:
        return self.states[-1][1] if self.states else None

    def step(self) -> None:
        self.now += self.random.choice((0.01, 0.1, 0.5))
        acts = (self._submit, self._work, self._work, self._cancel, self._delete, self._retry)
        self.random.choice((*acts, self._read, self._read, self._read))()

    def _change(self, state: JobState | None) -> None:
        self.states.append((self.now, state))

    def _asked(self, operation: Operation) -> Request:
        """A request whose effect is now, and whose response takes a while."""
        began, ended = (self.now - self.random.random(), self.now + self.random.random())
        key = "one" if operation == Operation.SUBMIT else None
        job_id = None if operation == Operation.SUBMIT else JOB
        return Request(operation, self.random.choice((A, B)), began, ended, job_id=job_id, key=key)

    def _answer(self, asked: Request, status: int, **seen: Any) -> None:
        if self.random.random() < self._lost:
            self.requests.append(replace(asked, status=self.random.choice((None, 500, 503))))
            return
        if self.states and "version" in seen:
            seen["state"] = self.states[seen["version"] - 1][1]
        request = replace(asked, status=status, **seen)
        self.requests.append(request)
        self._written.append((request, len(self.states)))

    def _submit(self) -> None:
        if self.state is not None:
            asked = self._asked(Operation.SUBMIT)
            self._answer(asked, 202, made=JOB, version=len(self.states), is_replay=True)

    def _work(self) -> None:
        match self.state:
            case JobState.QUEUED:
                self._change(RUNNING)
            case JobState.RUNNING:
                ends = [RUNNING, QUEUED, SUCCEEDED, FAILED, *([CANCELLED] if self._cancel_requested else [])]
                self._change(self.random.choice(ends))

    def _cancel(self) -> None:
        asked, state = self._asked(Operation.CANCEL), self.state
        if state is None or state in (SUCCEEDED, FAILED):
            self._answer(asked, 404 if state is None else 409)
            return
        if state in (QUEUED, RUNNING) and not (state == RUNNING and self._cancel_requested):
            self._change(CANCELLED if state == QUEUED else RUNNING)
        self._cancel_requested = True
        self._answer(asked, 200 if self.state == CANCELLED else 202, version=len(self.states))

    def _delete(self) -> None:
        asked, state = self._asked(Operation.DELETE), self.state
        if state in TERMINAL:
            self._change(None)
        self._answer(asked, 404 if state is None else 204 if state in TERMINAL else 409)

    def _retry(self) -> None:
        asked = replace(self._asked(Operation.RETRY), key=f"retry at {self.now}")
        if self.state in TERMINAL:
            self._answer(asked, 202, made=UUID(int=len(self.requests) + 100))
        else:
            self._answer(asked, 404 if self.state is None else 409)

    def _read(self) -> None:
        asked = self._asked(Operation.READ)
        present = len(self.states)
        oldest = sum(at <= asked.began - 1 for at, _ in self.states)
        sole = [request.operation for request in self.requests].count(Operation.CANCEL) == 1
        for request, version in self._written:
            if request.ended < asked.began:
                own = request.api == asked.api and request.status in (200, 202, 204)
                creates = request.operation == Operation.SUBMIT
                if own and (request.operation == Operation.DELETE or (sole and not creates)):
                    oldest = max(oldest, version)
                oldest = max(oldest, int(creates))
        version = self.random.randint(oldest, present)
        if version == 0 or self.states[version - 1][1] is None:
            self._answer(asked, 404)
        else:
            self._answer(asked, 200, version=version, known=self.random.randint(0, version))


SEEDS = st.integers(0, 2**64)


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.integers(1, 40))
@example(20640, 18)  # a poll that is older than a repeated submit
def test_what_clients_of_a_correct_api_see_is_accepted(seed: int, steps: int) -> None:
    api = SimulatedApi(Random(seed))
    for _ in range(steps):
        api.step()
    assert violations(api.requests) == ""


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.sampled_from(["no job", "an older version", "another state", "another job"]))
def test_a_wrong_response_at_the_end_is_found(seed: int, wrong: str) -> None:
    api = SimulatedApi(Random(seed), lost=0)  # a delete without a response would explain much
    for _ in range(20):
        api.step()
    late, state, version = api.now + 20, api.state, len(api.states)
    last = missing(late) if state is None else read(late, version, state)
    responses = {
        "no job": missing(late + 2) if state is not None else read(late + 2, version, FAILED),
        "an older version": read(late + 2, version - 1, api.states[version - 2][1] or FAILED),
        "another state": read(late + 2, version, RUNNING if state != RUNNING else QUEUED),
        "another job": submit(late + 2, made=OTHER),
    }
    assert violations([*api.requests, last, responses[wrong]])


def test_a_key_is_in_doubt_until_a_submission_with_it_is_acknowledged() -> None:
    history = ClientHistory()
    for request in (submit(0, **UNKNOWN), act(Operation.RETRY, 1, 503, key="two"), submit(2)):
        history.add(request)
    assert history.keys_in_doubt() == {"two"}
    assert history.job_ids == [JOB]
