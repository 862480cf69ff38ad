"""Operations on models: list, change, download, predict."""

from typing import Any, Unpack

from shared import schemas
from shared.schemas import Page
from trainshed import images as encoding
from trainshed.images import ImageLike
from trainshed.items import AsyncItems
from trainshed.notebook.answers import Predictions
from trainshed.operations.base import LAST, PAGE_SIZE, ModelLike, Operations, to_json, valid, without_none
from trainshed.operations.fields import ModelChanges


class Models(Operations):
    """Models."""

    def models(
        self, *, page_size: int = PAGE_SIZE, submitted_by: str | None = None
    ) -> AsyncItems[schemas.ModelSummary]:
        """Iterate over the models, newest first; `submitted_by` is as in `jobs`."""
        query = without_none(limit=page_size, submitted_by=submitted_by)
        return AsyncItems(self._items(Page[schemas.ModelSummary], "/v1/models", **query))

    async def model(self, model: ModelLike = LAST) -> schemas.ModelDetail:
        """Return a model with its layers and evaluations."""
        return await self._get(schemas.ModelDetail, await self._model_path(model))

    async def change_model(self, model: ModelLike, **changes: Unpack[ModelChanges]) -> schemas.ModelDetail:
        """Change a model's alias or description; another model with the alias loses it."""
        patch = to_json(valid(schemas.ModelPatch, changes))
        path = await self._model_path(model)
        return await self._request(schemas.ModelDetail, "PATCH", path, json=patch)

    async def delete_model(self, model: ModelLike) -> None:
        """Delete a model that has neither an alias nor an evaluation job."""
        await self._connection.call("DELETE", await self._model_path(model))

    async def download(
        self, model: ModelLike = LAST, file_format: str | None = None, *, name: str | None = None
    ) -> bytes:
        """Return a file of a model, by default its `.keras` file.

        Args:
            file_format: an abbreviation of the name: `onnx` for `model.onnx`, and so on.
            name: the file's name in the model's `artifacts`.
        """
        query = without_none(format=file_format, name=name)
        return await self._bytes(f"{await self._model_path(model)}/download", **query)

    async def tfjs_files(self, model: ModelLike = LAST) -> dict[str, bytes]:
        """Return a model for TensorFlow.js: its two files by name, to be written into one folder.

        `tf.loadLayersModel` loads a model from the URL of its `model.json`.
        """
        folder = f"/v1/models/{(await self.model(model)).id}/tfjs"
        return {name: await self._bytes(f"{folder}/{name}") for name in ("model.json", "weights.bin")}

    async def predict(
        self,
        images: ImageLike | list[ImageLike],
        model: ModelLike = LAST,
        *,
        threshold: float | None = None,
    ) -> Predictions:
        """Predict the digit in an image, or in each of up to 64 images.

        Args:
            images: an image or a list of images: each the path or the bytes of a PNG or JPEG file, a PIL
                image, or an array of 28x28 values from 0 (black) to 1 (white), or to 255 as uint8, the digit
                white on black.
            model: the model, by default the newest; the answer's `model_id` is its id.
            threshold: the least probability of a prediction; if None, the threshold of the model's training.
        """
        path = f"{await self._model_path(model)}/predict"
        body: dict[str, Any] = encoding.body_of(images)
        query = without_none(threshold=threshold)
        return await self._request(Predictions, "POST", path, params=query, **body)

    async def _model_path(self, model: ModelLike) -> str:
        return f"/v1/models/{await self._model_reference(model)}"
