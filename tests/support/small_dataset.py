"""A dataset of 8 training and 4 test images, and what the cache has of it."""

from hashlib import sha256
from pathlib import Path

import numpy as np

from shared.datasets import catalog
from shared.schemas.sprite_sources import SpriteSource
from shared.settings import Settings
from tests.support.sprite_files import grey_png, make_images, make_labels, one_hot

TRAIN, TEST = 8, 4
IMAGES = make_images(TRAIN + TEST)
LABELS = make_labels(TRAIN + TEST)
PNG = grey_png(IMAGES)
ONE_HOT = one_hot(LABELS).tobytes()


def small_settings(data_dir: Path, images_url: str, labels_url: str, **rows: int) -> Settings:
    """Settings with a dataset, `small`, of these files; `rows` are options of its `SpriteSource`."""
    source = SpriteSource(
        images_url=images_url, labels_url=labels_url, **{"train_rows": TRAIN, "test_rows": TEST, **rows}
    )
    return Settings(data_dir=data_dir, datasets={"small": source}, download_timeout_s=5, download_attempts=2)


def local_settings(folder: Path) -> Settings:
    """Settings whose dataset, `small`, is read from files in a folder."""
    images, labels = folder / "images", folder / "labels"
    images.write_bytes(PNG)
    labels.write_bytes(ONE_HOT)
    return small_settings(folder / "data", images.as_uri(), labels.as_uri())


def with_checksums(settings: Settings, images: bytes = PNG, labels: bytes = ONE_HOT) -> Settings:
    """The settings, with the checksums of these files."""
    checksums = {"images_sha256": sha256(images).hexdigest(), "labels_sha256": sha256(labels).hexdigest()}
    source = settings.datasets["small"].model_copy(update=checksums)
    return settings.model_copy(update={"datasets": {"small": source}})


def assert_is_small(dataset: catalog.Dataset) -> None:
    """Check every row of the dataset, and how they are divided."""
    np.testing.assert_array_equal(dataset.train_images, IMAGES[:TRAIN])
    np.testing.assert_array_equal(dataset.train_labels, LABELS[:TRAIN])
    np.testing.assert_array_equal(dataset.test_images, IMAGES[TRAIN:])
    np.testing.assert_array_equal(dataset.test_labels, LABELS[TRAIN:])


def cache_entries(settings: Settings) -> list[str]:
    """The names of the cache entries on the disk."""
    folder = settings.data_dir / "datasets"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def cache_folder(settings: Settings) -> Path:
    """The only cache entry on the disk."""
    [name] = cache_entries(settings)
    return settings.data_dir / "datasets" / name
