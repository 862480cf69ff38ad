"""A dataset is loaded by its name: the configured sprites, MNIST and the bundled digits."""

from pathlib import Path

import numpy as np
import pytest

from shared.datasets import catalog
from shared.errors import DatasetNotFound
from shared.settings import Settings
from tests.support.file_server import FileServer, Response
from tests.support.small_dataset import IMAGES, LABELS, TRAIN, assert_is_small, local_settings, small_settings
from tests.support.sprite_files import grey_png, make_images, make_labels, one_hot


def test_the_datasets_are_mnist_the_configured_ones_and_digits(small: Settings) -> None:
    assert catalog.dataset_names(small) == ("mnist", "small", "digits")


def test_mnist_has_the_sizes_of_the_codelab() -> None:
    info = catalog.describe("mnist", Settings())
    assert (info.train_rows, info.test_rows) == (55_000, 10_000)
    assert (info.default_train_size, info.default_validation_size, info.default_evaluation_size) == (
        5_500,
        1_000,
        500,
    )
    assert info.class_names[7] == "Seven"


def test_the_default_sizes_of_digits_use_all_images(small: Settings) -> None:
    info = catalog.describe("digits", small)
    assert (info.train_rows, info.test_rows) == (1_400, 397)
    assert info.default_train_size == 1_400
    assert info.default_validation_size + info.default_evaluation_size == info.test_rows
    assert len(info.class_names) == 10


@pytest.mark.parametrize(
    ("test_rows", "validation", "evaluation"),
    [(10_000, 1_000, 500), (1_500, 1_000, 500), (1_499, 1_000, 499), (300, 200, 100), (4, 3, 1), (2, 1, 1)],
)
def test_default_sizes_do_not_exceed_the_test_rows(test_rows: int, validation: int, evaluation: int) -> None:
    settings = small_settings(Path(), "file:///a", "file:///b", test_rows=test_rows)
    info = catalog.describe("small", settings)
    assert info.default_train_size == TRAIN
    assert (info.default_validation_size, info.default_evaluation_size) == (validation, evaluation)


def test_an_unknown_dataset_is_refused_with_the_configured_names(small: Settings) -> None:
    for function in (catalog.describe, catalog.load):
        with pytest.raises(DatasetNotFound, match=r"no dataset 'cifar'.*: mnist, small, digits"):
            function("cifar", small)


def test_describing_a_dataset_downloads_nothing(small: Settings, server: FileServer) -> None:
    catalog.describe("small", small)
    assert server.requests == []
    assert list(small.data_dir.iterdir()) == []


def test_rows_are_divided_into_training_and_test(small: Settings) -> None:
    dataset = catalog.load("small", small)
    assert dataset.info == catalog.describe("small", small)
    assert_is_small(dataset)


def test_arrays_are_mapped_and_read_only(small: Settings) -> None:
    dataset = catalog.load("small", small)
    for array in (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels):
        assert isinstance(array, np.memmap)
        assert array.dtype == np.uint8
        assert not array.flags.writeable


def test_first_load_downloads_two_files(small: Settings, server: FileServer) -> None:
    catalog.load("small", small)
    assert [request.path for request in server.requests] == ["/images", "/labels"]


def test_files_at_file_urls_are_read_in_place(tmp_path: Path) -> None:
    assert_is_small(catalog.load("small", local_settings(tmp_path)))


def test_rows_beyond_training_and_test_are_not_used(small: Settings, server: FileServer) -> None:
    images, labels = make_images(20), make_labels(20)
    images[: len(IMAGES)], labels[: len(LABELS)] = IMAGES, LABELS
    server.serve("/images", Response(grey_png(images)))
    server.serve("/labels", Response(one_hot(labels).tobytes()))
    assert_is_small(catalog.load("small", small))


def test_a_configured_sprite_named_digits_replaces_the_bundled_digits(small: Settings) -> None:
    settings = small.model_copy(update={"datasets": {"digits": small.datasets["small"]}})
    assert catalog.dataset_names(settings) == ("mnist", "digits")
    assert_is_small(catalog.load("digits", settings))


def test_the_real_sprite_is_mnist(settings: Settings, real_mnist: dict[str, str]) -> None:
    dataset = catalog.load("mnist", settings.model_copy(update=real_mnist))
    images, labels = dataset.train_images, dataset.train_labels
    assert (images.shape, dataset.test_images.shape) == ((55_000, 784), (10_000, 784))
    assert np.bincount(labels, minlength=10).min() > 4_500
    assert np.bincount(dataset.test_labels, minlength=10).min() > 800
    assert 32 < images.mean() < 35
    # shows that images and labels belong together: the nearest of ten mean images is right four times in five
    means = np.stack([images[:10_000][labels[:10_000] == label].mean(axis=0) for label in range(10)])
    distances = ((dataset.test_images[:1_000, None].astype(np.float32) - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == dataset.test_labels[:1_000]).mean() > 0.75


def test_digits_need_no_address(settings: Settings) -> None:
    dataset = catalog.load("digits", settings)
    assert dataset.train_images.shape == (1_400, 784)
    assert dataset.test_images.shape == (397, 784)
    assert dataset.train_labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
