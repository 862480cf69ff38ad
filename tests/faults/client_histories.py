"""The oracle of what clients saw: their requests and the responses, checked against what the API promises.

An acknowledged submit exists from then on; a key names one job; versions and states never go back, except
within the second by which docs/api.md allows a poll to be old; what is terminal or deleted stays so; and a
request without a response, or with a 5xx, has had its effect or not.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from uuid import UUID

from shared.lifecycle import TERMINAL, JobState
from tests.faults.linearizability import Act, Step, unexplained

_FINISHED = frozenset({JobState.SUCCEEDED, JobState.FAILED})
_UNFINISHED = frozenset(JobState) - TERMINAL
_SHOWN = 12  # unexplained steps of a job in the error message


class Operation(StrEnum):
    """What a client asked for."""

    SUBMIT = "submit"
    READ = "read"
    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


@dataclass(frozen=True)
class Request:
    """A request about a job and its response.

    Attributes:
        api: the process that got it.
        began: when it was sent, and `ended` when its response was read, by one monotonic clock.
        job_id: the job that it is about; of a submit, None.
        key: its idempotency key, if it submits a job.
        known: the version that the client named in `If-None-Match`.
        status: None if there was no response.
        made: the job in the response to a submit or a retry.
        version: the version of the job in the response, as is `state`; of a 304 those that the client knew.
        is_replay: whether the response says that an earlier request has submitted the job.
    """

    operation: Operation
    api: str
    began: float
    ended: float = inf
    job_id: UUID | None = None
    key: str | None = None
    known: int = 0
    status: int | None = None
    made: UUID | None = None
    version: int | None = None
    state: JobState | None = None
    is_replay: bool = False

    @property
    def is_unknown(self) -> bool:
        """Whether it may have had its effect or not."""
        return self.status is None or self.status >= 500


class ClientHistory:
    """What all clients of a cluster asked and were answered. Any thread may add to it.

    Attributes:
        job_ids: the jobs whose submission was acknowledged, in the order of their first acknowledgements.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.job_ids: list[UUID] = []

    def add(self, request: Request) -> None:
        self.requests.append(request)
        if request.made is not None and request.made not in self.job_ids:
            self.job_ids.append(request.made)

    def asked(self, operation: Operation) -> set[UUID]:
        """Return the jobs that such a request was about, whatever became of it."""
        return {
            request.job_id
            for request in self.requests
            if request.operation == operation and request.job_id is not None
        }

    def keys_in_doubt(self) -> set[str]:
        """Return the keys of submissions of which it is unknown whether they stored a job."""
        acknowledged = {request.key for request in self.requests if request.made is not None}
        return {
            request.key
            for request in self.requests
            if request.is_unknown and request.key is not None and request.key not in acknowledged
        }

    def check(self) -> None:
        """Check the history of each job.

        Raises:
            AssertionError: its message lists every violation, with the steps that no order explains.
        """
        violations = list(self._violations())
        assert not violations, "\n".join(violations)

    def _violations(self) -> Iterator[str]:
        requests = sorted(self.requests, key=lambda request: request.began)
        made = _made(requests)
        yield from (f"key {key} names {len(ids)} jobs: {ids}" for key, ids in made.items() if len(ids) > 1)
        for job_id, steps in _steps_by_job(requests, made).items():
            if left := unexplained(steps):
                shown = "\n  ".join(map(str, left[:_SHOWN]))
                yield f"job {job_id}: of {len(steps)} steps, no order explains these {len(left)}:\n  {shown}"


def _made(requests: Sequence[Request]) -> dict[str, set[UUID]]:
    made = defaultdict[str, set[UUID]](set)
    for request in requests:
        if request.key is not None and request.made is not None:
            made[request.key].add(request.made)
    return made


def _steps_by_job(requests: Sequence[Request], made: dict[str, set[UUID]]) -> dict[UUID, list[Step]]:
    cancels = Counter(request.job_id for request in requests if request.operation == Operation.CANCEL)
    steps = defaultdict[UUID, list[Step]](list)
    for number, request in enumerate(requests):
        blank = Step(
            Act.SEE, number, request.began, inf if request.is_unknown else request.ended, request.api
        )
        if request.job_id is not None and request.is_unknown:
            steps[request.job_id] += _steps_in_doubt(request, blank)
        elif request.job_id is not None:
            steps[request.job_id] += _steps_of_subject(request, blank, cancels[request.job_id] == 1)
        # a request whose outcome is unknown may have made the job that its key names
        for job_id in made.get(request.key, ()) if request.key is not None else ():
            steps[job_id] += _steps_of_creation(request, blank)
    return steps


def _steps_of_creation(request: Request, blank: Step) -> Iterator[Step]:
    if request.is_unknown:
        yield replace(blank, act=Act.CREATE, is_certain=False)
    elif request.made is not None:
        yield replace(blank, act=Act.CREATE)
        yield _seen(request, blank)


def _seen(request: Request, blank: Step) -> Step:
    states = frozenset(JobState) if request.state is None else frozenset({request.state})
    return replace(blank, act=Act.SEE, place=1, version=request.version, states=states, known=request.known)


def _steps_in_doubt(request: Request, blank: Step) -> Iterator[Step]:
    if request.operation in (Operation.CANCEL, Operation.DELETE):
        yield replace(blank, act=Act(request.operation), is_certain=False)


def _steps_of_subject(request: Request, blank: Step, is_sole: bool) -> Iterator[Step]:
    """Yield the steps of a request at the job that it is about.

    A transaction is repeated if its commit was not confirmed; so a cancel or a delete that is refused may
    have had its effect. A cancel is seen by polls of its process at once if no other can have made it.
    """
    perhaps, own = replace(blank, is_certain=False), frozenset({request.api})
    match request.operation, request.status:
        case Operation.READ, 200 | 304:
            yield replace(_seen(request, blank), is_stale=True)
        case Operation.READ, 404:
            yield replace(blank, act=Act.MISS, is_stale=True)
        case Operation.CANCEL, 200 | 202:
            seen_by = own if is_sole else frozenset[str]()
            yield replace(blank, act=Act.CANCEL, seen_by=seen_by)
            yield replace(_seen(request, blank), seen_by=seen_by)
        case Operation.CANCEL, 409:
            yield replace(perhaps, act=Act.CANCEL)
            yield replace(blank, states=_FINISHED, place=1)
        case Operation.DELETE, 204:
            yield replace(blank, act=Act.DELETE, seen_by=own)
        case Operation.DELETE, 404:
            yield replace(perhaps, act=Act.DELETE)
            yield replace(blank, act=Act.MISS, place=1)
        case ((Operation.DELETE | Operation.RETRY), 409):
            yield replace(blank, states=_UNFINISHED)
        case Operation.RETRY, 202 if not request.is_replay:
            yield replace(blank, states=TERMINAL)
        case ((Operation.CANCEL | Operation.RETRY), 404):
            yield replace(blank, act=Act.MISS)
