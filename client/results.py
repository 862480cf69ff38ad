"""The part of the client that is about what came out: models, predictions, curves, comparisons, sweeps."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel

from client.connection import Connection
from shared.schemas import (
    Comparison,
    JobMetrics,
    ManyMetrics,
    Metrics,
    MisclassifiedImage,
    MisclassifiedPage,
    ModelDetail,
    ModelFormat,
    ModelPage,
    ModelPatch,
    ModelReference,
    ModelSummary,
    Objective,
    Predictions,
    Sweep,
    SweepCreate,
    SweepDetail,
    SweepPage,
)

M = TypeVar("M", bound=BaseModel)

_PAGE = 100
_JPEG = b"\xff\xd8"  # what such a file begins with

Rows = Sequence[Sequence[float]]


class Results:
    """Calls that read results; what they raise is what every call of `Trainshed` raises."""

    _connection: Connection

    def metrics(
        self,
        job_id: UUID,
        resolution: Literal["epoch", "step"] = "epoch",
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
    ) -> Metrics:
        """A job's curves so far: those of these names, or all; at most so many points of each."""
        query = _curve_query(resolution, names, max_points)
        return self._get(Metrics, f"/v1/jobs/{job_id}/metrics", params=query)

    def metrics_of(
        self,
        job_ids: Sequence[UUID],
        resolution: Literal["epoch", "step"] = "epoch",
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
    ) -> tuple[JobMetrics, ...]:
        """The curves of up to 50 jobs, in this order; the rest is as in `metrics`."""
        query = {"jobs": _listed(job_ids), **_curve_query(resolution, names, max_points)}
        return self._get(ManyMetrics, "/v1/metrics", params=query).data

    def metrics_file(
        self,
        job_ids: Sequence[UUID],
        form: Literal["csv", "ndjson"],
        resolution: Literal["epoch", "step"] = "epoch",
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
    ) -> str:
        """The same as a text with a line a point."""
        query = {"jobs": _listed(job_ids), "format": form, **_curve_query(resolution, names, max_points)}
        return self._connection.call("GET", "/v1/metrics", params=query).text

    def compare(self, job_ids: Sequence[UUID]) -> Comparison:
        """Two to ten jobs side by side."""
        return self._get(Comparison, "/v1/compare", params={"jobs": _listed(job_ids)})

    def misclassified(
        self, job_id: UUID, *, label: int | None = None, predicted: int | None = None
    ) -> Iterator[MisclassifiedImage]:
        """The images that a job's evaluation got wrong; of one class, or taken for one."""
        query: dict[str, Any] = {"limit": _PAGE, **_given(label=label, predicted=predicted)}
        while True:
            page = self._get(MisclassifiedPage, f"/v1/jobs/{job_id}/misclassified", params=query)
            yield from page.data
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    def models(self, *, page_size: int = _PAGE) -> Iterator[ModelSummary]:
        """Every model, newest first."""
        query: dict[str, Any] = {"limit": page_size}
        while True:
            page = self._get(ModelPage, "/v1/models", params=query)
            yield from page.data
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    def model(self, model: ModelReference) -> ModelDetail:
        """A trained model, by its id or alias."""
        return self._get(ModelDetail, f"/v1/models/{model}")

    def change_model(self, model: ModelReference, changes: ModelPatch) -> ModelDetail:
        """Name or describe a model; an alias moves here from the model that has it."""
        body = changes.model_dump(mode="json", exclude_unset=True)
        return self._connection.read(
            ModelDetail, self._connection.call("PATCH", f"/v1/models/{model}", json=body)
        )

    def delete_model(self, model: ModelReference) -> None:
        """Delete a model that has no alias, and that no evaluation job measures or has measured."""
        self._connection.call("DELETE", f"/v1/models/{model}")

    def download(self, model: ModelReference, file_format: ModelFormat = ModelFormat.KERAS) -> bytes:
        """A model's file."""
        path = f"/v1/models/{model}/download"
        return self._connection.call("GET", path, params={"format": file_format}).content

    def predict(
        self, model: ModelReference, images: bytes | Sequence[bytes | Rows], *, threshold: float | None = None
    ) -> Predictions:
        """What a model says of a picture, or of up to 64 images.

        Args:
            model: its id or alias.
            images: the bytes of a PNG or JPEG file; or several of such, or of 28 rows of 28 numbers, 0 to 1,
                white on black.
            threshold: below which no digit is found; None: as the model was trained.
        """
        body: dict[str, Any]
        if isinstance(images, bytes):
            kind = "image/jpeg" if images.startswith(_JPEG) else "image/png"
            body = {"content": images, "headers": {"Content-Type": kind}}
        else:
            body = {"json": {"images": [_encoded(image) for image in images]}}
        query = _given(threshold=threshold)
        answer = self._connection.call("POST", f"/v1/models/{model}/predict", params=query, **body)
        return self._connection.read(Predictions, answer)

    def submit_sweep(self, sweep: SweepCreate, *, idempotency_key: str | None = None) -> SweepDetail:
        """Hand in up to 1,000 jobs at once, all or none; `idempotency_key` is as in `submit`."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        body = sweep.model_dump(mode="json", exclude_unset=True)
        answer = self._connection.call("POST", "/v1/sweeps", headers=headers, json=body)
        return self._connection.read(SweepDetail, answer)

    def sweeps(self, metric: Objective = "evaluation_accuracy") -> Iterator[Sweep]:
        """Every sweep, newest first, with its best job."""
        query: dict[str, Any] = {"limit": _PAGE, "metric": metric}
        while True:
            page = self._get(SweepPage, "/v1/sweeps", params=query)
            yield from page.data
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    def sweep(self, sweep_id: UUID, metric: Objective = "evaluation_accuracy") -> SweepDetail:
        """A sweep and its jobs, the best by this metric first."""
        return self._get(SweepDetail, f"/v1/sweeps/{sweep_id}", params={"metric": metric})

    def cancel_sweep(self, sweep_id: UUID) -> SweepDetail:
        """Cancel every job of a sweep that is not over."""
        return self._connection.read(
            SweepDetail, self._connection.call("POST", f"/v1/sweeps/{sweep_id}/cancel")
        )

    def _get(self, schema: type[M], path: str, **options: Any) -> M:
        return self._connection.read(schema, self._connection.call("GET", path, **options))


def _curve_query(resolution: str, names: Sequence[str], max_points: int | None) -> dict[str, Any]:
    return {"resolution": resolution, **_given(names=",".join(names) or None, max_points=max_points)}


def _listed(ids: Sequence[UUID]) -> str:
    return ",".join(map(str, ids))


def _encoded(image: bytes | Rows) -> str | Rows:
    return b64encode(image).decode() if isinstance(image, bytes) else image


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
