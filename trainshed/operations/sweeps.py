"""Operations on sweeps."""

from shared import schemas
from shared.schemas import DEFAULT_OBJECTIVE, Page
from trainshed.items import AsyncItems
from trainshed.notebook.answers import SweepDetail
from trainshed.operations.base import LAST, Operations, SweepLike, without_none
from trainshed.operations.fields import AnyMode


class Sweeps(Operations):
    """Sweeps."""

    async def submit_sweep(
        self, sweep: schemas.SweepCreate, *, idempotency_key: str | None = None
    ) -> SweepDetail:
        """Submit up to 1,000 jobs in one transaction; `idempotency_key` is as in `train`."""
        body = sweep.model_copy(update={"strategy": sweep.strategy})  # only fields that were set are sent
        return await self._create(SweepDetail, "/v1/sweeps", idempotency_key, body)

    async def sweep(
        self, sweep: SweepLike = LAST, metric: str = DEFAULT_OBJECTIVE, *, mode: AnyMode | None = None
    ) -> SweepDetail:
        """Return a sweep and its jobs, the best first by a metric, which may be any that the jobs record.

        `mode` says whether the metric's least or greatest value is the best; by default the metric's name
        decides: the least of a loss or an error.
        """
        query = without_none(metric=metric, mode=mode)
        return await self._get(SweepDetail, f"/v1/sweeps/{await self._sweep_id(sweep)}", **query)

    def sweeps(
        self,
        metric: str = DEFAULT_OBJECTIVE,
        *,
        mode: AnyMode | None = None,
        submitted_by: str | None = None,
    ) -> AsyncItems[schemas.Sweep]:
        """Iterate over the sweeps, newest first, each with its best job by this metric.

        `mode` is as in `sweep`, and `submitted_by` as in `jobs`.
        """
        query = without_none(metric=metric, mode=mode, submitted_by=submitted_by)
        return AsyncItems(self._items(Page[schemas.Sweep], "/v1/sweeps", **query))

    async def cancel_sweep(self, sweep: SweepLike) -> SweepDetail:
        """Cancel every unfinished job of a sweep."""
        path = f"/v1/sweeps/{await self._sweep_id(sweep)}/cancel"
        return await self._request(SweepDetail, "POST", path)
