"""Benchmark of a warm prediction in the API process, over a keep-alive connection, on both databases.

    python -m bench.predict [--requests 500]

The client is in the same process, so its own time is included. The model is the codelab's. The image is a
280x280 PNG, as a canvas gives it, or 28x28 values. The limit is a p50 of 10 ms; the exit status is 1 if it
is exceeded.
"""

import argparse
import sys
from functools import partial
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
from PIL import Image

from bench.databases import Times, measure_api
from bench.timing import report, times_ms
from shared.db.engine import Database
from shared.formats.results import ONNX_FILE
from shared.schemas import ModelKind
from tests.support import factories, queue_driver
from tests.support.drawings import make_drawing
from workers.mnist.model import initial_weights
from workers.mnist.onnx_file import to_onnx

_LIMIT_MS = 10.0


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description="One warm prediction in the API process.")
    parser.add_argument("--requests", type=int, default=500)
    requests = parser.parse_args().requests
    print(f"one image per request; {requests} requests each, over HTTP")
    times = measure_api(_store_model, lambda api, model_id: _measure(api, model_id, requests))
    sys.exit(not report(times, percent=50, limit_ms=_LIMIT_MS))


def _store_model(database: Database) -> UUID:
    onnx = to_onnx(ModelKind.CNN, initial_weights(ModelKind.CNN, 1))
    model = factories.make_model(files={ONNX_FILE: onnx})
    queue_driver.succeed(database, queue_driver.running(database), model)
    return model.id


def _measure(api: httpx.Client, model_id: UUID, requests: int) -> Times:
    path = f"/v1/models/{model_id}/predict"
    return {
        case: times_ms(partial(_predict, api, path, **body), requests) for case, body in _bodies().items()
    }


def _bodies() -> dict[str, dict[str, Any]]:
    drawing = Image.fromarray(make_drawing())
    return {
        "280x280 PNG, greyscale": _file(drawing),
        "280x280 PNG of a canvas, RGBA": _file(drawing.convert("RGBA")),
        "28x28 numbers as JSON": {"json": {"images": [[[0.25] * 28] * 28]}},
    }


def _file(image: Image.Image) -> dict[str, Any]:
    file = BytesIO()
    image.save(file, "PNG")
    return {"content": file.getvalue(), "headers": {"Content-Type": "image/png"}}


def _predict(api: httpx.Client, path: str, **body: Any) -> None:
    api.post(path, **body).raise_for_status()


if __name__ == "__main__":
    main()
