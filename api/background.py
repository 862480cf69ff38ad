"""Tasks of an API process that run beside its requests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

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
