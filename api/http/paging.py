"""Pages of lists: query parameters, cursors, and cutting rows into a page.

A list's store function returns up to `limit` items that follow the sort key `after`, each with its own key. A
cursor is the key of a page's last item, so that the next page skips and repeats nothing when items are added
or deleted.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import TypeAdapter
from typing_extensions import TypeForm

from shared.db.engine import Database
from shared.errors import InvalidCursor
from shared.schemas import JobListQuery, Page

K = TypeVar("K", bound=tuple[Any, ...])
T = TypeVar("T")

_CURSOR = TypeAdapter(tuple[str, tuple[Any, ...]])  # the order and the key


@dataclass(frozen=True)
class PageQuery:
    """The query parameters of a list."""

    limit: int
    cursor: str | None


def _page_query(*, default_limit: int, max_limit: int) -> Any:
    async def parse(
        limit: Annotated[
            int, Query(ge=1, le=max_limit, description="Maximum number of items in the page.")
        ] = default_limit,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    ) -> PageQuery:
        return PageQuery(limit, cursor)

    return Depends(parse)


PageDep = Annotated[PageQuery, _page_query(default_limit=50, max_limit=200)]
LongPageDep = Annotated[PageQuery, _page_query(default_limit=100, max_limit=1_000)]


class Cursors(Generic[K]):
    """The pages and cursors of one list in one order."""

    def __init__(self, order: str, key: TypeForm[K]) -> None:
        """Define the cursors of a list.

        Args:
            order: a name for the list and its order; cursors of other lists or orders are refused.
            key: the type of the list's sort keys, a tuple that pydantic can validate.
        """
        self._order = order
        self._key = TypeAdapter(key)

    def read(
        self, database: Database, query: PageQuery | JobListQuery, rows: Callable[..., list[tuple[K, T]]]
    ) -> Page[T]:
        """Read a page in a transaction; `rows` is called with a session, `after` and `limit`.

        Raises:
            InvalidCursor: the query's cursor does not belong to this list.
        """
        after, limit = self.parse(query.cursor), query.limit + 1  # the extra row shows whether there are more
        return self.page(database.read(partial(rows, after=after, limit=limit)), query.limit)

    def format(self, key: K) -> str:
        """Return the cursor that continues after a key: URL-safe base64 of JSON."""
        return urlsafe_b64encode(_CURSOR.dump_json((self._order, key))).decode().rstrip("=")

    def parse(self, cursor: str | None) -> K | None:
        """Return the key of a cursor; None stands for the beginning of the list in both.

        Raises:
            InvalidCursor: `format` did not make the cursor, or made it for another list or order.
        """
        if cursor is None:
            return None
        try:
            order, key = _CURSOR.validate_json(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            if order == self._order:
                return self._key.validate_python(key)
        except ValueError as error:
            raise InvalidCursor("the cursor is invalid: use `next_cursor` of a page of this list") from error
        raise InvalidCursor(
            f"the cursor belongs to the list of {order}, and this is the list of {self._order}"
        )

    def page(self, rows: Sequence[tuple[K, T]], limit: int, *, start: K | None = None) -> Page[T]:
        """Cut rows into a page.

        Args:
            rows: the items with their keys, up to `limit` + 1 of them.
            limit: maximum number of items in the page.
            start: for a list that grows at its end, the key after which `rows` begin. The last page then has
                a cursor too, from which a client can follow the list.
        """
        key = rows[:limit][-1][0] if rows else start
        has_more = len(rows) > limit
        return Page(
            data=tuple(item for _, item in rows[:limit]),
            next_cursor=self.format(key) if key is not None and (has_more or start is not None) else None,
            has_more=has_more,
        )
