"""The datasets: what is known of each, and how it comes into memory.

A dataset is fetched and decoded once a host. The result is a folder of two arrays under `DATA_DIR/datasets`,
which every process maps. It is written beside its place and put there by one rename, so it is there whole or
not at all, and its images and labels are always of one build. To fetch a dataset anew, delete its folder.
"""

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tokenize import TokenError
from urllib.parse import quote

import numpy as np
from filelock import FileLock
from numpy.lib import format as npy
from numpy.typing import NDArray

from shared.datasets import digits, sprites
from shared.datasets.downloads import open_url, public
from shared.errors import DatasetNotFound, DataUnavailable
from shared.settings import Settings, SpriteSource

_TRAIN_SIZE = 5_500
_VALIDATION_SIZE = 1_000
_EVALUATION_SIZE = 500

_CACHE_FORMAT = 1  # part of each folder's name: count it up when the same sources decode to other arrays

_IMAGES = "images.npy"
_LABELS = "labels.npy"

_decoded: Counter[str] = Counter()

_Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before anything is fetched.

    Attributes:
        name: what clients call it.
        train_rows: images that there are for training.
        test_rows: images that there are for validation and evaluation together.
        default_train_size: training images of a job that names no number.
        default_validation_size: likewise.
        default_evaluation_size: likewise; with the validation images, never more than `test_rows`.
        class_names: what people call each class, in label order.
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
    """A dataset in memory: arrays that are mapped from the cache, read-only, and shared by every process.

    Attributes:
        info: what is known of it.
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


_DIGITS = DatasetInfo(
    name=digits.NAME,
    train_rows=digits.TRAIN_ROWS,
    test_rows=digits.TEST_ROWS,
    default_train_size=1_400,
    default_validation_size=200,
    default_evaluation_size=197,
    class_names=digits.CLASS_NAMES,
)


def dataset_names(settings: Settings) -> tuple[str, ...]:
    """Every dataset that a job may name."""
    return tuple(dict.fromkeys((*settings.sprites, digits.NAME)))


def describe(name: str, settings: Settings) -> DatasetInfo:
    """What is known of a dataset; nothing is fetched for it.

    Raises:
        DatasetNotFound: none of that name is configured.
    """
    if name in settings.sprites:
        return _describe_sprite(name, settings.sprites[name])
    if name == digits.NAME:
        return _DIGITS
    known = ", ".join(dataset_names(settings))
    raise DatasetNotFound(f"there is no dataset {name!r}; the configured ones are: {known}")


def load(name: str, settings: Settings) -> Dataset:
    """A dataset's arrays: from the cache, which is filled first if it must be.

    One process at a time fills it; the others wait, and find it filled. A sprite's first `train_rows` rows
    are for training, the next `test_rows` for testing; more rows are not used, but must have their labels.

    Raises:
        DatasetNotFound: none of that name is configured.
        DataUnavailable: it cannot be fetched, or not be kept on the disk; another time may go better.
        DataCorrupt: what was fetched is not what it should be. Nothing is kept of it.
    """
    info = describe(name, settings)
    folder = _folder(name, settings)
    rows = info.train_rows + info.test_rows
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            images, labels = _mapped(folder, rows) or _build(info, folder, settings)
    except OSError as error:
        raise DataUnavailable(
            f"the disk cannot keep the dataset `{name}` under {folder.parent}: {error.strerror or error}. "
            "Free space there, or set TRAINSHED_DATA_DIR to a folder on another disk."
        ) from error
    train, test = slice(info.train_rows), slice(info.train_rows, rows)
    return Dataset(info, images[train], labels[train], images[test], labels[test])


def decodes() -> int:
    """How many datasets this process has decoded since it started; what comes from the cache adds nothing."""
    return _decoded.total()


def _describe_sprite(name: str, source: SpriteSource) -> DatasetInfo:
    # few test images are divided two to one, as the codelab's numbers are
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


def _folder(name: str, settings: Settings) -> Path:
    sprite = settings.sprites.get(name)
    origin = (sprite.images_url, sprite.labels_url) if sprite else ("scikit-learn",)
    key = sha256("\n".join((str(_CACHE_FORMAT), *origin)).encode()).hexdigest()[:16]
    return settings.data_dir / "datasets" / f"{quote(name, safe='')}-{key}"


def _mapped(folder: Path, min_rows: int) -> _Arrays | None:
    """The cached arrays; None where there are none, or they are damaged or too few."""
    try:
        images = npy.open_memmap(folder / _IMAGES, mode="r")
        labels = npy.open_memmap(folder / _LABELS, mode="r")
    except (OSError, ValueError, EOFError, TokenError):  # what numpy raises for files that are not its own
        return None
    rows = len(labels) if labels.ndim == 1 else 0
    fitting = images.shape == (rows, sprites.PIXELS) and images.dtype == labels.dtype == np.uint8
    return (images, labels) if fitting and rows >= min_rows else None


def _build(info: DatasetInfo, folder: Path, settings: Settings) -> _Arrays:
    """Fill the cache, whose lock the caller holds."""
    work = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
    work.mkdir()
    try:
        images, labels = _decode(info, work, settings)
        _save(images, work / _IMAGES)
        _save(labels, work / _LABELS)
        _sync(work)
        shutil.rmtree(folder, ignore_errors=True)  # damaged; a process that has mapped it keeps what it has
        work.replace(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return npy.open_memmap(folder / _IMAGES, mode="r"), npy.open_memmap(folder / _LABELS, mode="r")


def _decode(info: DatasetInfo, work: Path, settings: Settings) -> _Arrays:
    source = settings.sprites.get(info.name)
    if source is None:
        images, labels = digits.decode()
    else:
        with (
            open_url(source.images_url, work, settings) as images_file,
            open_url(source.labels_url, work, settings) as labels_file,
        ):
            rows = info.train_rows + info.test_rows
            images = sprites.decode_images(images_file, public(source.images_url), rows)
            labels = sprites.decode_labels(
                labels_file, public(source.labels_url), len(images), len(info.class_names)
            )
    _decoded[info.name] += 1
    return images, labels


def _save(array: NDArray[np.uint8], path: Path) -> None:
    # not `np.save`, whose error does not say that the disk is full; not a map, where that kills the process
    with path.open("xb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        file.write(array.data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a folder's entries outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
