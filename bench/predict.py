"""One digit read in the API process: a warm request over a kept connection, on SQLite and on PostgreSQL.

    python -m bench.predict [--requests 500]

The client is in the same process, so that its own time counts. The model has the codelab's size. The picture
is a 280x280 PNG, as a canvas gives it; then 28x28 numbers. The limit is a p50 of 10 ms; the exit status says
whether it was kept.
"""

import argparse
import sys
import tempfile
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from PIL import Image

from api.app import create_app
from bench.timing import report, times_ms
from shared.db.engine import Database
from shared.schemas import ModelFormat, ModelKind
from shared.settings import Settings
from tests.support import factories
from tests.support.onnx_models import make_drawing
from tests.support.servers import running_app, running_postgres
from workers.mnist.export import to_onnx
from workers.mnist.model import initial_weights

_LIMIT_MS = 10.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="One warm prediction in the API process.")
    parser.add_argument("--requests", type=int, default=500)
    requests = parser.parse_args().requests
    print(f"one image a request; {requests} requests each, over HTTP")
    onnx = to_onnx(ModelKind.CNN, initial_weights(ModelKind.CNN, 1))
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        columns["SQLite"] = _measure(f"sqlite:///{folder}/models.db", Path(folder), onnx, requests)
        with running_postgres() as server:
            server.execute("CREATE DATABASE models")
            columns["PostgreSQL"] = _measure(server.url("models"), Path(folder), onnx, requests)
    sys.exit(not report(columns, percent=50, limit_ms=_LIMIT_MS))


def _measure(url: str, folder: Path, onnx: bytes, requests: int) -> dict[str, list[float]]:
    settings = Settings(
        data_dir=folder, database_url=url, redis_url=f"unix://{folder}/redis.sock", rate_limit=0
    )
    path = f"/v1/models/{_stored(url, onnx)}/predict"
    with running_app(create_app(settings)) as api:
        return {
            case: times_ms(partial(_ask, api, path, **body), requests) for case, body in _bodies().items()
        }


def _stored(url: str, onnx: bytes) -> UUID:
    database = Database(url)
    database.migrate()
    model = factories.make_model(files={ModelFormat.ONNX: onnx})
    factories.succeed(database, factories.running(database), model)
    database.dispose()
    return model.id


def _bodies() -> dict[str, dict[str, Any]]:
    drawing = Image.fromarray(make_drawing())
    return {
        "a grey 280x280 PNG": _file(drawing),
        "a 280x280 PNG of a canvas (RGBA)": _file(drawing.convert("RGBA")),
        "28x28 numbers": {"json": {"images": [[[0.25] * 28] * 28]}},
    }


def _file(picture: Image.Image) -> dict[str, Any]:
    file = BytesIO()
    picture.save(file, "PNG")
    return {"content": file.getvalue(), "headers": {"Content-Type": "image/png"}}


def _ask(api: httpx.Client, path: str, **body: Any) -> None:
    api.post(path, **body).raise_for_status()


if __name__ == "__main__":
    main()
