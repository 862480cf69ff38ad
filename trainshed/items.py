"""Lists whose pages are fetched from the server as they are needed."""

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from trainshed.notebook.frames import frame_of

if TYPE_CHECKING:
    import pandas

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")


class AsyncItems(AsyncIterator[T], Generic[T]):
    """An asynchronous iterator over a list or a stream from the server."""

    def __init__(self, source: AsyncGenerator[T, None], limit: int | None = None) -> None:
        """Iterate over the items of a generator, at most `limit`."""
        self._source = source
        self._left = inf if limit is None else limit

    async def __anext__(self) -> T:
        if self._left <= 0:
            await self.close()
            raise StopAsyncIteration
        self._left -= 1
        return await self._source.__anext__()

    def __repr__(self) -> str:
        return "<AsyncItems: iterate by `async for`, or await to_list() or to_frame()>"

    async def close(self) -> None:
        """Stop fetching, and close a stream."""
        await self._source.aclose()

    async def to_list(self) -> list[T]:
        """Return all remaining items."""
        return [item async for item in self]

    async def to_frame(self) -> "pandas.DataFrame":
        """Return all remaining items as a DataFrame, one per row; needs pandas."""
        return frame_of(await self.to_list())


class Items(Iterator[T], Generic[T]):
    """An iterator over a list or a stream from the server."""

    def __init__(self, items: AsyncItems[T]) -> None:
        self._items = items

    def __next__(self) -> T:
        try:
            return run(self._items.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def __repr__(self) -> str:
        return "<Items: iterate, or call to_list() or to_frame()>"

    def close(self) -> None:
        """Stop fetching, and close a stream."""
        run(self._items.close())

    def to_list(self) -> list[T]:
        """Return all remaining items."""
        return list(self)

    def to_frame(self) -> "pandas.DataFrame":
        """Return all remaining items as a DataFrame, one per row; needs pandas."""
        return frame_of(list(self))


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Return the result of a coroutine that never suspends, such as one over a `BlockingTransport`."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: R = end.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of a blocking client was suspended")
