import numpy as np
import pytest

from shared.formats.predictions import PredictedImages


def _images(count: int, classes: int = 10) -> PredictedImages:
    random = np.random.default_rng(0)
    table = random.random((count, classes), np.float32)
    return PredictedImages(table, np.arange(count) * 3, random.integers(0, classes, count))


@pytest.mark.parametrize("count", [1, 7, 1_000])
@pytest.mark.parametrize("classes", [1, 10, 256, 257])
def test_images_are_read_as_they_were_written(count: int, classes: int) -> None:
    images = _images(count, classes)

    content = images.to_bytes()
    read = PredictedImages.from_bytes(content, count)

    assert len(content) == count * (4 * classes + (5 if classes <= 256 else 6))
    assert read.classes == classes
    for before, after in zip(images, read, strict=True):
        np.testing.assert_array_equal(before, after)


def test_arrays_lie_in_this_order() -> None:
    images = PredictedImages(
        np.array([[0.25, 0.75], [1.0, 0.0]], np.float32), np.array([5, 70_000]), np.array([1, 0])
    )

    assert images.to_bytes() == (
        bytes.fromhex("0000803e 0000403f 0000803f 00000000") + bytes.fromhex("05000000 70110100") + b"\1\0"
    )


def test_images_are_sorted_by_index() -> None:
    images = PredictedImages.of(
        np.array([[0.1, 0.9], [0.8, 0.2]], np.float32), np.array([9, 4]), np.array([1, 0])
    )

    assert (images.indices.tolist(), images.labels.tolist(), images.predicted.tolist()) == (
        [4, 9],
        [0, 1],
        [0, 1],
    )


def test_of_equal_probabilities_the_first_class_is_predicted() -> None:
    assert PredictedImages(
        np.full((1, 10), 0.1, np.float32), np.array([0]), np.array([3])
    ).predicted.tolist() == [0]


@pytest.mark.parametrize(
    ("content", "count"),
    [(b"", 1), (b"", 0), (b"x" * 44, 1), (b"x" * 46, 1), (b"x" * 90, 4), (b"x" * 10, 2)],
)
def test_bytes_of_another_number_of_images_are_refused(content: bytes, count: int) -> None:
    with pytest.raises(ValueError, match="not predictions"):
        PredictedImages.from_bytes(content, count)


def test_a_label_that_is_not_that_of_a_class_is_refused() -> None:
    content = _images(1, 3).to_bytes()[:-1] + b"\3"
    with pytest.raises(ValueError, match="each label must be from 0 to 2"):
        PredictedImages.from_bytes(content, 1)


def test_a_probability_that_is_not_a_number_counts_as_0() -> None:
    images = PredictedImages.of([[np.nan, 0.4]], [0], [0])
    assert (images.probabilities.tolist(), images.predicted.tolist()) == ([[0.0, pytest.approx(0.4)]], [1])
