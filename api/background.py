"""Background tasks of an API process, and slow calls that several requests share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from anyio import to_thread

T = TypeVar("T")

_CANCEL_AGAIN_S = 1.0


@asynccontextmanager
async def running_tasks(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines as tasks, and cancel them at the end of the block."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
    finally:
        unfinished = set(tasks)
        while unfinished:  # the Redis client may lose a cancellation as it closes a connection
            for task in unfinished:
                task.cancel()
            _, unfinished = await asyncio.wait(unfinished, timeout=_CANCEL_AGAIN_S)


class SharedCall(Generic[T]):
    """The single running call of a slow function, shared by all concurrent callers. For one event loop."""

    def __init__(self) -> None:
        self._running: asyncio.Task[T] | None = None

    async def result(self, function: Callable[[], T]) -> T:
        """Return the result of the running call or, if none runs, of a new one in a thread.

        An exception of the function is raised to each caller.
        """
        if self._running is None:
            self._running = asyncio.create_task(to_thread.run_sync(function))
            self._running.add_done_callback(self._ended)
        # cancelling one caller must not cancel the call for the others
        return await asyncio.shield(self._running)

    def _ended(self, call: asyncio.Task[T]) -> None:
        self._running = None
        if not call.cancelled():
            call.exception()  # marks it as retrieved, for a call whose callers have all been cancelled
