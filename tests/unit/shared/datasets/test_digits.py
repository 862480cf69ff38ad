"""The dataset `digits` contains scikit-learn's digits in the format of MNIST."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from shared.datasets import digits
from shared.datasets.mnist_form import to_mnist_form
from shared.errors import DataUnavailable
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def decoded() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, labels = digits.decode()
    return images.reshape(-1, 28, 28), labels


def test_shapes_and_types_are_those_of_a_sprite(decoded: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    images, labels = decoded
    assert images.shape == (digits.TRAIN_ROWS + digits.TEST_ROWS, 28, 28)
    assert labels.shape == (1_797,)
    assert images.dtype == labels.dtype == np.uint8


def test_labels_and_images_are_those_of_scikit_learn(
    decoded: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    images, labels = decoded
    original = load_digits()
    np.testing.assert_array_equal(labels, original.target)
    inks = (original.images[::100] * (255 / 16)).round().astype(np.uint8)
    expected = [to_mnist_form(ink) for ink in inks]
    np.testing.assert_array_equal(images[::100], expected)


def test_every_class_is_in_the_training_and_in_the_test_rows(
    decoded: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    _, labels = decoded
    assert np.bincount(labels[: digits.TRAIN_ROWS], minlength=10).min() > 130
    assert np.bincount(labels[digits.TRAIN_ROWS :], minlength=10).min() > 35


def test_each_centre_of_mass_is_in_the_middle(
    decoded: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    images, _ = decoded
    mass = images.sum(axis=(1, 2))
    for axis in (1, 2):
        centres = images.sum(axis=axis) @ np.arange(28) / mass
        assert np.abs(centres - 14).max() <= 0.5 + 1e-9


def test_each_digit_fills_a_box_of_20_pixels_with_its_proportions_kept(
    decoded: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    images, _ = decoded
    for original, image in zip(load_digits().images[::50], images[::50], strict=True):
        before, after = _extent(original), _extent(image)
        assert max(after) <= 20
        # faint edges may be rounded to black
        np.testing.assert_allclose(after, np.array(before) * 20 / max(before), atol=1.5)


def _extent(image: NDArray[np.generic]) -> tuple[int, int]:
    rows, columns = np.nonzero(image)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def test_digits_are_white_on_black(decoded: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    images, _ = decoded
    assert images[:, ::27, ::27].max() == 0  # the corners
    assert (images.reshape(len(images), -1).max(axis=1) > 200).all()
    assert 25 < images.mean() < 50  # MNIST's is 33


def test_decoding_does_not_import_scikit_learn() -> None:
    code = (
        "import sys; from shared.datasets import digits; digits.decode(); sys.exit('sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_file_beside_the_module_is_used_instead_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(2 * (b"16," * 64 + b"7\n")))
    monkeypatch.setattr(digits, "__file__", str(tmp_path / "digits.py"))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    images, labels = digits.decode()
    assert (images.shape, labels.tolist()) == ((2, 784), [7, 7])


def test_without_scikit_learn_the_digits_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataUnavailable, match="scikit-learn"):
        digits.decode()
