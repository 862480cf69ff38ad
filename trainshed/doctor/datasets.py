"""Checks of the datasets: in the cache and whole, or at least reachable."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import httpx

from shared.addresses import public
from shared.datasets import catalog, sprites
from shared.datasets.downloads import file_path
from shared.errors import DataCorrupt, DataUnavailable
from shared.schemas.sprite_sources import SpriteSource
from shared.settings import Settings
from trainshed.doctor.findings import TIMEOUT_S, Finding, error, ok, warning


class _UnreadableError(Exception):
    """A file of a dataset cannot be read; the message says why."""


@dataclass(frozen=True)
class _Head:
    """The beginning of a file, and its size if known without reading all of it."""

    head: bytes
    size: int | None


def check(settings: Settings) -> Iterator[Finding]:
    """Check every sprite dataset; `digits` is always available."""
    for name, source in settings.sprites.items():
        subject = f"dataset {name}"
        if catalog.is_cached(name, settings) and _is_whole(name, settings):
            yield _compared(subject, name, settings)
            continue
        heads, problems = _heads(source.images_url, source.labels_url)
        for problem in problems:
            advice = "make it reachable, or change the address in the settings"
            if name == "mnist":
                advice = (
                    "set TRAINSHED_MNIST_IMAGES_URL and TRAINSHED_MNIST_LABELS_URL to copies that this host "
                    "can reach (`file://` too), or train with `--dataset digits`"
                )
            yield error(subject, problem, advice)
        if not problems:
            yield _judged(subject, source, *heads)


def _heads(*urls: str) -> tuple[list[_Head], list[str]]:
    heads, problems = [], []
    for url in urls:
        try:
            heads.append(_head(url))
        except _UnreadableError as unreadable:
            problems.append(str(unreadable))
    return heads, problems


def _compared(subject: str, name: str, settings: Settings) -> Finding:
    """Compare a cache entry with the heads and sizes of the files at the dataset's addresses."""
    source, cached = settings.sprites[name], catalog.fingerprints(name, settings)
    found, problems = _heads(source.images_url, source.labels_url) if cached else ([], [])
    if cached and not problems:
        changed = [
            public(url)
            for url, old, new in zip((source.images_url, source.labels_url), cached, found, strict=True)
            if old.head_sha256 != sha256(new.head).hexdigest() or new.size not in (None, old.size)
        ]
        if changed:
            return warning(
                subject,
                f"the cache has other data than is now at {' and '.join(changed)}: jobs on this host use the "
                "cached data, whose checksum their attempts have",
                f"to use the new data, stop the workers and delete {catalog.entry_folder(name, settings)}",
            )
    return ok(subject, "it is in the cache, and its checksums are right")


def _judged(subject: str, source: SpriteSource, images: _Head, labels: _Head) -> Finding:
    try:
        rows = sprites.check_head(
            images.head[: sprites.HEAD_BYTES], public(source.images_url), source.train_rows + source.test_rows
        )
        if labels.size is not None:
            classes = len(source.class_names)
            sprites.check_labels_size(labels.size, public(source.labels_url), rows, classes)
    except DataCorrupt as corrupt:
        return error(
            subject,
            f"every job on it would fail: {corrupt}",
            "correct the file, or the settings of the dataset",
        )
    return ok(subject, "it is not in the cache yet, and can be downloaded")


def _is_whole(name: str, settings: Settings) -> bool:
    try:
        catalog.cached(name, settings)
    except DataUnavailable:
        return False
    return True


def _head(url: str) -> _Head:
    try:
        if url.startswith("file:"):
            path = file_path(url)
            if not path.is_file():
                raise _UnreadableError(f"there is no file {path}")
            with path.open("rb") as file:
                return _Head(file.read(catalog.HEAD_BYTES), path.stat().st_size)
        # uncompressed, so that lengths count the file's own bytes
        uncompressed = {"Accept-Encoding": "identity"}
        with httpx.stream(
            "GET", url, timeout=TIMEOUT_S, follow_redirects=True, headers=uncompressed
        ) as response:
            if not response.is_success:
                raise _UnreadableError(f"{public(url)} answers {response.status_code}")
            head = next(response.iter_bytes(catalog.HEAD_BYTES), b"")
            is_identity = response.headers.get("Content-Encoding", "identity") == "identity"
            length = response.headers.get("Content-Length", "")
            return _Head(head, int(length) if is_identity and length.isdecimal() else None)
    except (httpx.HTTPError, httpx.InvalidURL) as failed:
        reason = str(failed) or type(failed).__name__
        raise _UnreadableError(f"{public(url)} cannot be reached: {reason}") from failed
    except (OSError, ValueError) as failed:
        raise _UnreadableError(f"{public(url)} cannot be read: {failed}") from failed
