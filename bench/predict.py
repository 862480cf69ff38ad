"""Reading one digit in the API process: a warm request, from its bytes to the answer's.

    python -m bench.predict [--requests 500]

The API serves over HTTP on loopback, with SQLite, in this process; the client is in it too, so its own time
counts. The model has the codelab's size. The picture is a 280x280 PNG, as a canvas gives it; then 28x28
numbers.
"""

import argparse
import os
import platform
from io import BytesIO
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import httpx
from PIL import Image

from api.app import create_app
from shared.db import Database
from shared.schemas import ModelFormat, ModelKind
from shared.settings import Settings
from tests import factories
from tests.onnx_models import make_drawing
from tests.servers import running_app
from workers.mnist.export import to_onnx
from workers.mnist.model import initial_weights


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description="One warm prediction in the API process.")
    parser.add_argument("--requests", type=int, default=500)
    requests = parser.parse_args().requests
    file = BytesIO()
    Image.fromarray(make_drawing()).save(file, "PNG")
    bodies: dict[str, dict[str, Any]] = {
        "a 280x280 PNG": {"content": file.getvalue(), "headers": {"Content-Type": "image/png"}},
        "28x28 numbers": {"json": {"images": [[[0.25] * 28] * 28]}},
        "64 times 28x28 numbers": {"json": {"images": [[[0.25] * 28] * 28] * 64}},
    }
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'':26}{'ms a request: p50':>20}{'p95':>8}{'p99':>8}{'in the API: p50':>18}")
    with TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), redis_url=f"unix://{folder}/redis.sock", rate_limit=0)
        path = f"/v1/models/{_stored(settings)}/predict"
        with running_app(create_app(settings)) as client:
            for name, body in bodies.items():
                whole, inside = _measure(client, path, body, requests)
                print(f"{name:26}{whole[49]:20.2f}{whole[94]:8.2f}{whole[98]:8.2f}{inside[49]:18.2f}")


def _stored(settings: Settings) -> object:
    database = Database(settings.effective_database_url)
    database.migrate()
    onnx = to_onnx(ModelKind.CNN, initial_weights(ModelKind.CNN, 1))
    model = factories.make_model(files={ModelFormat.ONNX: onnx})
    factories.succeed(database, factories.running(database), model)
    database.dispose()
    return model.id


def _measure(
    client: httpx.Client, path: str, body: dict[str, Any], requests: int
) -> tuple[list[float], list[float]]:
    whole, inside = [], []
    for _ in range(requests + 20):
        began = perf_counter()
        answer = client.post(path, **body).raise_for_status()
        whole.append((perf_counter() - began) * 1_000)
        inside.append(float(answer.json()["ms"]))
    return quantiles(whole[20:], n=100), quantiles(inside[20:], n=100)


if __name__ == "__main__":
    main()
