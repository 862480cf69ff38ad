"""Checks of the datasets: in the cache and whole, or at least reachable."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx

from shared.addresses import public
from shared.datasets import catalog
from shared.errors import DataUnavailable
from shared.settings import Settings
from trainshed.doctor.findings import TIMEOUT_S, Finding, error, ok


def check(settings: Settings) -> Iterator[Finding]:
    """Check every sprite dataset; `digits` is always there."""
    for name, source in settings.sprites.items():
        subject = f"dataset {name}"
        if catalog.is_cached(name, settings) and _is_whole(name, settings):
            yield ok(subject, "it is in the cache, and its checksums are right")
            continue
        urls = (source.images_url, source.labels_url)
        problems = [problem for problem in map(_problem, urls) if problem]
        for problem in problems:
            advice = "make it reachable, or change the address in the settings"
            if name == "mnist":
                advice = (
                    "set TRAINSHED_MNIST_IMAGES_URL and TRAINSHED_MNIST_LABELS_URL to copies that this host "
                    "can reach (`file://` too), or train with `--dataset digits`"
                )
            yield error(subject, problem, advice)
        if not problems:
            yield ok(subject, "it is not in the cache yet, and can be downloaded")


def _is_whole(name: str, settings: Settings) -> bool:
    try:
        catalog.cached(name, settings)
    except DataUnavailable:
        return False
    return True


def _problem(url: str) -> str:
    """Return why a file cannot be read; empty if it can."""
    if url.startswith("file:"):
        path = Path(url2pathname(urlsplit(url).path))
        return "" if path.is_file() else f"there is no file {path}"
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT_S, follow_redirects=True) as response:
            return "" if response.is_success else f"{public(url)} answers {response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as failed:
        return f"{public(url)} cannot be reached: {str(failed) or type(failed).__name__}"
