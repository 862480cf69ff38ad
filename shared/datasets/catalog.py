"""The catalog of datasets: their names and sizes, and where their images and labels come from.

A dataset is downloaded and decoded once per host, and again if its cache entry in `DATA_DIR/datasets` is
damaged. To download it again, delete its folder there.

Workers download datasets; the API reads the datasets that are in the cache, and downloads none.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from shared.addresses import public
from shared.datasets import cache, digits, sprites
from shared.datasets.cache import Arrays, Decoded
from shared.datasets.downloads import Patience, open_url
from shared.errors import DatasetNotFound, DataUnavailable
from shared.schemas import Split
from shared.schemas.sprite_sources import DIGIT_NAMES, SpriteSource
from shared.settings import Settings

_TRAIN_SIZE = 5_500
_VALIDATION_SIZE = 1_000
_EVALUATION_SIZE = 500

_CACHE_FORMAT = 1  # part of each folder's name: increment it when the same files decode to other arrays

_SOURCE = "source.json"  # in a cache entry: the fingerprints of its source files

HEAD_BYTES = 2**16
"""The number of bytes, from a file's beginning, that its fingerprint covers."""

_decoded_digits: list[Arrays] = []  # at most one item
_decoding_digits = threading.Lock()


@dataclass(frozen=True)
class Fingerprint:
    """The size and the head of a file, which reveal most changes without reading the whole file.

    Attributes:
        size: in bytes; None if it is not known.
        head_sha256: SHA-256 of the first `HEAD_BYTES`.
    """

    size: int | None
    head_sha256: str

    @classmethod
    def of(cls, file: BinaryIO) -> Self:
        """Return the fingerprint of a file that is open at its first byte, and seek back to that byte."""
        head = file.read(HEAD_BYTES)
        size = file.seek(0, SEEK_END)
        file.seek(0)
        return cls(size, sha256(head).hexdigest())


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset's name, sizes and classes, which are known without downloading it.

    Attributes:
        train_rows: number of images for training.
        test_rows: number of images for validation and evaluation together.
        default_train_size: training images of a job whose spec does not set their number; the next two sizes
            are together at most `test_rows`.
        class_names: in label order.
    """

    name: str
    train_rows: int
    test_rows: int
    default_train_size: int
    default_validation_size: int
    default_evaluation_size: int
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset's images and labels: read-only arrays, mapped from the cache and shared by processes.

    Only the arrays of `digits` may be in the memory of one process instead.

    Attributes:
        train_images: (train_rows, 784), a 28x28 image a row, row by row; 0 is black, 255 white.
        train_labels: (train_rows,), the index of each image's class.
        test_images: (test_rows, 784).
        test_labels: (test_rows,).
    """

    info: DatasetInfo
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of all images and labels: equal for equal data, whatever file it came from."""
        arrays = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        digest = sha256()
        for array in arrays:
            digest.update(array.data)
        return digest.hexdigest()

    def split(self, name: Split) -> Arrays:
        """Return the images and the labels of a split."""
        if name is Split.TRAIN:
            return self.train_images, self.train_labels
        return self.test_images, self.test_labels


_DIGITS = DatasetInfo(
    name=digits.NAME,
    train_rows=digits.TRAIN_ROWS,
    test_rows=digits.TEST_ROWS,
    default_train_size=1_400,
    default_validation_size=200,
    default_evaluation_size=197,
    class_names=DIGIT_NAMES,
)


def dataset_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of the datasets that a job may use."""
    return tuple(dict.fromkeys((*settings.sprites, digits.NAME)))


def describe(name: str, settings: Settings) -> DatasetInfo:
    """Return a dataset's sizes and classes, without downloading it.

    Raises:
        DatasetNotFound: no dataset of that name is configured.
    """
    if name in settings.sprites:
        return _describe_sprite(name, settings.sprites[name])
    if name == digits.NAME:
        return _DIGITS
    known = ", ".join(dataset_names(settings))
    raise DatasetNotFound(f"there is no dataset {name!r}; the configured ones are: {known}")


def load(name: str, settings: Settings, check: Callable[[], None] = lambda: None) -> Dataset:
    """Return a dataset from the cache, and download and decode it first if it is not there.

    One process at a time downloads it, and others wait. A sprite's first `train_rows` rows are for training,
    the next `test_rows` for testing; further rows are not used, but must have their labels.

    Args:
        check: called at least ten times a second while this waits for a server or another process; raises to
            interrupt it.

    Raises:
        DatasetNotFound: no dataset of that name is configured.
        DataUnavailable: it cannot be downloaded within `DOWNLOAD_DEADLINE_S`, or the disk cannot keep it; a
            retry may succeed.
        DataCorrupt: its files are invalid, and nothing was cached.
    """
    info = describe(name, settings)
    folder = entry_folder(name, settings)
    rows = info.train_rows + info.test_rows
    patience = Patience(settings, check)
    try:
        if arrays := cache.mapped(folder, rows):
            return _divided(info, arrays)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with cache.locked(name, folder, patience):
            arrays = cache.mapped(folder, rows) or cache.store(
                folder, lambda work: _decode(info, work, settings, patience)
            )
    except OSError as error:
        raise DataUnavailable(
            f"the disk cannot keep the dataset `{name}` under {folder.parent}: {error.strerror or error}. "
            "Free space there, or set TRAINSHED_DATA_DIR to a folder on another disk."
        ) from error
    return _divided(info, arrays)


def cached(name: str, settings: Settings) -> Dataset:
    """Return a dataset that needs no download: it is in the cache, or is `digits`. Waits for nothing.

    Raises:
        DatasetNotFound: no dataset of that name is configured.
        DataUnavailable: it is not in the cache; the message says who will put it there.
    """
    info = describe(name, settings)
    if arrays := cache.mapped(entry_folder(name, settings), info.train_rows + info.test_rows):
        return _divided(info, arrays)
    if name in settings.sprites:
        raise DataUnavailable(
            f"the dataset `{name}` is not in the cache under {settings.data_dir / 'datasets'} yet. A worker "
            "with the same DATA_DIR downloads it: `mnist` when it starts, others for the first job that uses "
            "them."
        )
    with _decoding_digits:
        if not _decoded_digits:
            images, labels = digits.decode()
            images.flags.writeable = labels.flags.writeable = False
            _decoded_digits.append((images, labels))
    return _divided(info, _decoded_digits[0])


def is_cached(name: str, settings: Settings) -> bool:
    """Return whether a configured dataset needs no download on this host."""
    return name not in settings.sprites or entry_folder(name, settings).exists()


def fingerprints(name: str, settings: Settings) -> list[Fingerprint] | None:
    """Return the fingerprints of the source files of a sprite's cache entry: images and labels.

    Returns:
        The fingerprints, or None if they are not known, since earlier versions stored none.
    """
    try:
        stored = json.loads((entry_folder(name, settings) / _SOURCE).read_bytes())
        return [Fingerprint(**each) for each in stored]
    except (OSError, ValueError, TypeError):
        return None


def _divided(info: DatasetInfo, arrays: Arrays) -> Dataset:
    images, labels = arrays
    train, test = slice(info.train_rows), slice(info.train_rows, info.train_rows + info.test_rows)
    return Dataset(info, images[train], labels[train], images[test], labels[test])


def _describe_sprite(name: str, source: SpriteSource) -> DatasetInfo:
    # few test images are divided two to one, as in the codelab
    evaluation = max(1, min(_EVALUATION_SIZE, source.test_rows // 3))
    return DatasetInfo(
        name=name,
        train_rows=source.train_rows,
        test_rows=source.test_rows,
        default_train_size=min(_TRAIN_SIZE, source.train_rows),
        default_validation_size=min(_VALIDATION_SIZE, source.test_rows - evaluation),
        default_evaluation_size=evaluation,
        class_names=source.class_names,
    )


def entry_folder(name: str, settings: Settings) -> Path:
    """Return the folder of a dataset's cache entry; its name depends on the addresses and checksums."""
    origins = ["scikit-learn"]
    if source := settings.sprites.get(name):
        images = f"{source.images_url} {source.images_sha256}"
        labels = f"{source.labels_url} {source.labels_sha256}"
        origins = [images, labels]
    # stripped, so that files without checksums keep the entries of versions that knew no checksums
    key = sha256("\n".join((str(_CACHE_FORMAT), *map(str.strip, origins))).encode()).hexdigest()[:16]
    return settings.data_dir / "datasets" / f"{quote(name, safe='')}-{key}"


def _decode(info: DatasetInfo, work: Path, settings: Settings, patience: Patience) -> Decoded:
    source = settings.sprites.get(info.name)
    if source is None:
        images, labels = digits.decode()
        return [images], labels
    images_url, labels_url = public(source.images_url), public(source.labels_url)
    files = []
    with open_url(source.images_url, work, settings, patience) as file:
        files.append(Fingerprint.of(file))
        sprites.verify_sha256(file, images_url, source.images_sha256)
        bands = sprites.decode_images(file, images_url, info.train_rows + info.test_rows)
    with open_url(source.labels_url, work, settings, patience) as file:
        files.append(Fingerprint.of(file))
        sprites.verify_sha256(file, labels_url, source.labels_sha256)
        labels = sprites.decode_labels(file, labels_url, len(bands), len(info.class_names))
    (work / _SOURCE).write_text(json.dumps([asdict(each) for each in files]))
    return bands, labels
