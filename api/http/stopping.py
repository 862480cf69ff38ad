"""Notification of a signal to stop the process, before its server waits for the requests in progress."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_noticed(callback: Callable[[], None]) -> Iterator[None]:
    """During the block, call `callback` in the event loop when a signal asks the server to stop.

    The server's own handlers, which are installed before an app's lifespan begins, are called as well. If
    there are none, or outside the main thread, the server is stopped in another way, and nothing is called.
    """
    loop = asyncio.get_running_loop()
    is_main = threading.current_thread() is threading.main_thread()
    found = {number: signal.getsignal(number) for number in _SIGNALS if is_main}
    servers = {int(number): handler for number, handler in found.items() if callable(handler)}

    def notice(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        servers[number](number, frame)

    for number in servers:
        signal.signal(number, notice)
    try:
        yield
    finally:
        for number, handler in servers.items():
            signal.signal(number, handler)
