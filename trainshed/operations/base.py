"""The base of all operations: requests, pages, and references to jobs, models and sweeps."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, ValidationError

from shared import schemas
from shared.schemas import ALIAS_PATTERN, Page
from shared.schemas.ids import parse_id
from trainshed.connection import Connection
from trainshed.errors import InvalidArgument, UsageError
from trainshed.notebook.answers import Job

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T", bound=BaseModel)

JobLike = schemas.Job | schemas.SweepResult | UUID | str
"""A reference to a job: the job, a result of a sweep, an id or the end of it, or `last`, the newest."""
ModelLike = schemas.ModelSummary | schemas.Job | UUID | str
"""A reference to a model: the model, its training job, an id or the end of it, an alias, or `last`."""
SweepLike = schemas.Sweep | UUID | str
"""A reference to a sweep: the sweep, an id or the end of it, or `last`, the newest."""

LAST = "last"
PAGE_SIZE = 100


class _Identified(BaseModel):
    """A resource with an id."""

    id: UUID


class Operations:
    """Base of the operations, which sends requests."""

    _connection: Connection

    async def _request(self, schema: type[M], method: str, path: str, **options: Any) -> M:
        return self._connection.read(schema, await self._connection.call(method, path, **options))

    async def _get(self, schema: type[M], path: str, **query: Any) -> M:
        return await self._request(schema, "GET", path, params=without_none(**query))

    async def _create(self, schema: type[M], path: str, key: str | None, body: BaseModel | None = None) -> M:
        options = {} if body is None else {"json": to_json(body)}
        headers = {"Idempotency-Key": key or str(uuid4())}
        return await self._request(schema, "POST", path, headers=headers, **options)

    async def _bytes(self, path: str, **query: Any) -> bytes:
        return (await self._connection.call("GET", path, params=without_none(**query))).content

    async def _pages(self, schema: type[Page[T]], path: str, **query: Any) -> AsyncGenerator[Page[T], None]:
        """Yield every page of a list, fetched as needed."""
        query = {"limit": PAGE_SIZE, **query}
        while True:
            page = await self._get(schema, path, **query)
            yield page
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    async def _items(self, schema: type[Page[T]], path: str, **query: Any) -> AsyncGenerator[T, None]:
        """Yield every item of a list; pages are fetched as needed."""
        async for page in self._pages(schema, path, **query):
            for item in page.data:
                yield item

    async def _job_items(
        self, schema: type[Page[T]], job: JobLike, path: str, **query: Any
    ) -> AsyncGenerator[T, None]:
        """Yield every item of a list that belongs to a job."""
        async for item in self._items(schema, f"/v1/jobs/{await self._job_id(job)}/{path}", **query):
            yield item

    async def _job_id(self, job: JobLike) -> UUID:
        if isinstance(job, schemas.Job):
            return job.id
        if isinstance(job, schemas.SweepResult):
            return job.job_id
        return await self._id(job, "job", Page[Job], "/v1/jobs")

    async def _job_ids(self, jobs: Sequence[JobLike]) -> str:
        return comma_separated([await self._job_id(job) for job in jobs])

    async def _sweep_id(self, sweep: SweepLike) -> UUID:
        if isinstance(sweep, schemas.Sweep):
            return sweep.id
        return await self._id(sweep, "sweep", Page[schemas.Sweep], "/v1/sweeps")

    async def _model_reference(self, model: ModelLike) -> UUID | str:
        if isinstance(model, schemas.ModelSummary):
            return model.id
        if isinstance(model, schemas.Job):
            if model.model_id is None:
                raise UsageError(f"job {model.id} has no model: it is {model.state}")
            return model.model_id
        if model == LAST:
            return await self._id(model, "model", Page[schemas.ModelSummary], "/v1/models")
        if parse_id(model) is None and not re.fullmatch(ALIAS_PATTERN, str(model)):
            raise UsageError(f"{model!r} is not a model: give its id or alias, its job, or `{LAST}`")
        return model

    async def _id(self, reference: UUID | str, noun: str, schema: type[Page[Any]], path: str) -> UUID:
        if reference == LAST:
            for item in (await self._get(schema, path, limit=1)).data:
                return UUID(str(item.id))
            raise UsageError(f"there is no {noun} yet")
        parsed = parse_id(reference)
        if parsed is None:
            raise UsageError(f"{reference!r} is not a {noun}: give its id, the end of its id, or `{LAST}`")
        if isinstance(parsed, UUID):
            return parsed
        return (await self._get(_Identified, f"{path}/{parsed}")).id  # the server looks up the id's end


def valid(schema: type[M], fields: Mapping[str, Any]) -> M:
    """Return a validated request with these fields.

    Raises:
        InvalidArgument: a field is invalid.
    """
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise InvalidArgument(error) from None


def to_json(body: BaseModel) -> dict[str, Any]:
    """Return the fields of a request that were set, as JSON."""
    return body.model_dump(mode="json", exclude_unset=True)


def comma_separated(values: Sequence[object]) -> str:
    """Return values as one query parameter."""
    return ",".join(map(str, values))


def without_none(**values: Any) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
