"""Runs schemathesis against the API that answers over HTTP, and tells what came of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from api.app import create_app
from shared.datasets import catalog
from shared.db.engine import Database
from shared.settings import Settings
from tests.contract.world import World, populate
from tests.support.paths import ROOT
from tests.support.servers import running_app
from tests.support.sprite_files import PIXELS, grey_png, make_labels, one_hot

KEY = "the-key-of-the-contract"

_ROWS = 65_000
_CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
_SUMMARY = re.compile(r"^  (\d+) generated,", re.MULTILINE)
# other checks suppose that nobody else deletes or changes what a sequence uses
_CHECKS_OF_CONCURRENT = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@dataclass(frozen=True)
class Outcome:
    """What a run showed.

    Attributes:
        passed: schemathesis found nothing.
        examples: requests that it made up.
        answers: how often each operation of the document (`GET /v1/jobs`) was answered with each status.
        output: what schemathesis printed.
    """

    passed: bool
    examples: int
    answers: Mapping[str, Counter[int]]
    output: str

    @property
    def unreached(self) -> list[str]:
        """The operations that never did what they are for."""
        return [name for name, found in self.answers.items() if not any(status < 300 for status in found)]

    @property
    def server_errors(self) -> list[str]:
        """The operations that failed with 5xx."""
        return [name for name, found in self.answers.items() if any(status >= 500 for status in found)]

    def __str__(self) -> str:
        rows = [f"{name:45} {_listed(found)}" for name, found in self.answers.items()]
        total = sum(map(Counter.total, self.answers.values()))
        return "\n".join([*rows, f"{self.examples:,} examples, {total:,} answers of the operations"])


def run(settings: Settings, *options: str, count: int, seeds: Sequence[int] = (1,)) -> Outcome:
    """Fill the database, serve the API and have schemathesis test it.

    Args:
        settings: of an API whose database is empty and whose Redis answers; its folder gets files.
        options: of `schemathesis run`.
        count: objects of each kind that the database contains at first.
        seeds: for each a run of schemathesis; if there are several, they are at the same time, of sequences
            of requests only.
    """
    database = Database(settings.database_url)
    _write_dictionaries(settings.data_dir, populate(database, count))
    database.dispose()
    shutil.copy(_CONFIGURATION, settings.data_dir)
    keyed = settings.model_copy(
        update={"api_keys": (SecretStr(KEY),), "rate_limit": 0.0, **_write_blank_mnist(settings.data_dir)}
    )
    catalog.load("mnist", keyed)  # the API downloads nothing, and its jobs have images
    if len(seeds) > 1:
        # what can race; streams are only looked at for a moment, in which others may keep the API busy
        options = (*options, "--include-path-regex", "^/v1/(jobs|models|sweeps)")
        options = (*options, "--phases", "stateful", "--exclude-path-regex", "/stream$")
        options = (*options, "--checks", ",".join(_CHECKS_OF_CONCURRENT))
    with running_app(create_app(keyed)) as client, ThreadPoolExecutor(len(seeds)) as threads:
        client.headers["Authorization"] = f"Bearer {KEY}"
        url, folder = str(client.base_url), settings.data_dir
        done = threads.map(lambda seed: _schemathesis(url, folder, "--seed", str(seed), *options), seeds)
        return _told(list(done), client.get("/openapi.json").json(), client.get("/metrics").text)


def _write_dictionaries(folder: Path, world: World) -> None:
    for field in fields(world):
        lines = [f"{json.dumps(str(name))}\n" for name in getattr(world, field.name)]
        (folder / f"{field.name}.txt").write_text("".join(lines))


def _write_blank_mnist(folder: Path) -> dict[str, str]:
    """A sprite of as many rows as MNIST's, and the settings that name it."""
    images, labels = folder / "blank.png", folder / "blank.labels"
    images.write_bytes(grey_png(np.zeros((_ROWS, PIXELS), np.uint8)))
    labels.write_bytes(one_hot(make_labels(_ROWS)).tobytes())
    return {"mnist_images_url": images.as_uri(), "mnist_labels_url": labels.as_uri()}


def _schemathesis(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "run", f"{url}/openapi.json", "--no-color", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRAINSHED_API_KEY": KEY}
    return subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _told(
    done: Sequence[subprocess.CompletedProcess[str]], document: Mapping[str, Any], metrics: str
) -> Outcome:
    answers: dict[str, Counter[int]] = {
        f"{method.upper()} {path}": Counter()
        for path, methods in document["paths"].items()
        for method in methods
    }
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            name = "{method} {route}".format_map(defaultdict(str, sample.labels))
            if sample.name == "trainshed_http_request_seconds_count" and name in answers:
                answers[name][int(sample.labels["status"])] += int(sample.value)
    summaries = [_SUMMARY.search(each.stdout) for each in done]
    return Outcome(
        passed=all(each.returncode == 0 for each in done),
        examples=sum(int(summary[1]) for summary in summaries if summary),
        answers=answers,
        output="\n".join(each.stdout for each in done),
    )


def _listed(found: Counter[int]) -> str:
    return "  ".join(f"{status}: {count}" for status, count in sorted(found.items()))
