"""A digit in the format of MNIST fills a box of 20x20 pixels and is centred by its mass in 28x28 pixels."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.datasets.mnist_form import PIXELS, SIDE, to_mnist_form


def draw_seven(height: int, width: int, *, margin: int = 0) -> NDArray[np.uint8]:
    """A 7: bars at the top and at the right, each as thick as a fifth of the longer side."""
    ink = np.zeros((height, width), np.uint8)
    thickness = max(1, max(height, width) // 5)
    ink[:thickness] = 255
    ink[:, -thickness:] = 255
    return np.pad(ink, margin)


def extent(image: NDArray[np.uint8]) -> tuple[int, int]:
    rows, columns = np.nonzero(image)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def centre_of_mass(image: NDArray[np.uint8]) -> tuple[float, float]:
    positions = np.arange(SIDE)
    return (
        float(np.average(positions, weights=image.sum(axis=1))),
        float(np.average(positions, weights=image.sum(axis=0))),
    )


def test_the_result_is_28_by_28_bytes() -> None:
    image = to_mnist_form(draw_seven(100, 60))
    assert (image.shape, image.size) == ((28, 28), PIXELS)
    assert image.dtype == np.uint8


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((100, 100), (20, 20)),
        ((100, 50), (20, 10)),
        ((50, 100), (10, 20)),
        ((8, 4), (20, 10)),
        ((20, 20), (20, 20)),
        ((1, 1), (20, 20)),
        ((300, 1), (20, 1)),
        ((1, 300), (1, 20)),
    ],
)
def test_an_image_of_any_size_fills_the_box_with_its_proportions_kept(
    size: tuple[int, int], box: tuple[int, int]
) -> None:
    assert extent(to_mnist_form(draw_seven(*size))) == box


def test_the_centre_of_mass_is_in_the_middle() -> None:
    image = to_mnist_form(draw_seven(100, 60))
    np.testing.assert_allclose(centre_of_mass(image), (14, 14), atol=0.5)


def test_a_digit_stays_inside_the_image_when_its_centre_of_mass_is_at_the_edge() -> None:
    ink = np.full((100, 100), 1, np.uint8)
    ink[:, :3] = 255
    image = to_mnist_form(ink)
    assert extent(image)[0] == 20
    assert image[:, SIDE - 1].any()  # shifted to the right as far as the image allows


def test_empty_margins_do_not_change_the_result() -> None:
    np.testing.assert_array_equal(
        to_mnist_form(draw_seven(50, 30, margin=40)), to_mnist_form(draw_seven(50, 30))
    )


def test_paper_is_black_and_ink_is_white() -> None:
    image = to_mnist_form(draw_seven(100, 100))
    assert (image[0].max(), image.max()) == (0, 255)
