"""Regular checks of open streams, which end a stream within seconds after its client may no longer read.

A client loses that right when its key is revoked or expires or, if it sent no key, when the first key is
created. A request is authorized only at its start, but a stream may stay open for days. One task checks all
streams once a second, with a single check for all streams of a key.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope as RequestScope

from api.background import running_tasks
from api.deps import from_state
from api.http.auth import ClientDep, Refusal
from api.http.callers import LOCAL_CALLER, REMEMBERED_S, Callers, is_local, sent_key
from api.http.problems import TOO_MANY_REQUESTS

MAX_OF_CLIENT = 200
"""The maximum number of a client's open streams in this process; a page or watching program needs one."""

_CHECK_S = REMEMBERED_S
_RETRY_S = 10


class Admission:
    """A stream's permission to stay open.

    Attributes:
        is_over: whether the stream's client may no longer read.
    """

    def __init__(self, streams: "OpenStreams", request: RequestScope) -> None:
        self.request = request
        self.is_over = False
        self._streams = streams
        self._wake: Callable[[], None]

    @contextmanager
    def checked(self, wake: Callable[[], None]) -> Iterator[None]:
        """Check this admission regularly during the block; `wake` is called when the admission ends."""
        self._wake = wake
        with self._streams.holding(self):
            yield

    def end(self) -> None:
        """Mark the admission as over and wake its stream."""
        self.is_over = True
        self._wake()


class OpenStreams:
    """The admissions of all open streams. For one event loop."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._admissions: defaultdict[tuple[bytes, bool], set[Admission]] = defaultdict(set)
        self._counts = Counter[str]()

    @asynccontextmanager
    async def checking(self) -> AsyncIterator[None]:
        """Check the streams until the end of the block."""
        async with running_tasks(self._run()):
            yield

    @contextmanager
    def holding(self, admission: Admission) -> Iterator[None]:
        """Include an admission in the regular checks during the block."""
        key = (sent_key(admission.request), is_local(admission.request))
        self._admissions[key].add(admission)
        try:
            yield
        finally:
            self._admissions[key].remove(admission)
            if not self._admissions[key]:
                del self._admissions[key]

    @contextmanager
    def counting(self, client: str) -> Iterator[None]:
        """Count an open stream of a client during the block.

        Raises:
            Refusal: the client already has `MAX_OF_CLIENT` open streams.
        """
        if self._counts[client] >= MAX_OF_CLIENT:
            detail = f"{client} has {MAX_OF_CLIENT} open streams: close some, or use another key"
            raise Refusal(TOO_MANY_REQUESTS, detail, {"Retry-After": str(_RETRY_S)})
        self._counts[client] += 1
        try:
            yield
        finally:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_S)
            for admissions in list(self._admissions.values()):
                with suppress(SQLAlchemyError):  # during an outage, streams stay open
                    await self._check(admissions)

    async def _check(self, admissions: set[Admission]) -> None:
        request = next((admission.request for admission in admissions), None)
        if request is None:  # the key's last stream was closed meanwhile
            return
        caller = await self._callers.identify(request)
        if caller is None or not caller.may_read:
            for admission in admissions:
                admission.end()


async def _admission(
    request: Request, streams: Annotated[OpenStreams, from_state("open_streams")], client: ClientDep
) -> AsyncIterator[Admission]:
    admission = Admission(streams, request.scope)
    if request.state.caller is LOCAL_CALLER:  # programs on this host have no limit, as with the rate limit
        yield admission
        return
    with streams.counting(client):
        yield admission


AdmissionDep = Annotated[Admission, Depends(_admission)]
"""The permission of this request's stream to stay open."""
