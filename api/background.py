"""Tasks of an API process that run beside its requests, or for several of them."""

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
    """A slow function of which at most one call runs, for all who ask meanwhile. For one event loop."""

    def __init__(self) -> None:
        self._running: asyncio.Task[T] | None = None

    async def result(self, function: Callable[[], T]) -> T:
        """Return the result of the call that runs, or call the function in a thread; raise what it raises."""
        if self._running is None:
            self._running = asyncio.create_task(to_thread.run_sync(function))
            self._running.add_done_callback(self._ended)
        # one who asked and leaves must not end the call of the others
        return await asyncio.shield(self._running)

    def _ended(self, call: asyncio.Task[T]) -> None:
        self._running = None
        if not call.cancelled():
            call.exception()  # seen, whether or not someone still waits for it
