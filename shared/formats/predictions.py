"""The prediction of each image of a classification as bytes, little-endian, the images by index.

First the probabilities, (n, classes) as float32; then the images' rows among the dataset's test images, (n,)
as uint32; then their labels, (n,) as uint8, or as uint16 where there are more than 256 classes. So each array
is aligned for its type, JavaScript reads the arrays without a copy, and the number of classes follows from
the size: 45 bytes an image mean ten classes.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MAX_CLASSES = 65_536

_PROBABILITY, _INDEX = np.dtype("<f4"), np.dtype("<u4")
_FEW_CLASSES = 256


class PredictedImages(NamedTuple):
    """Images with the probabilities that a model gave them.

    Attributes:
        probabilities: (n, classes).
        indices: (n,), rows among the dataset's test images, ascending.
        labels: (n,), the true classes.
    """

    probabilities: npt.NDArray[np.float32]
    indices: npt.NDArray[np.integer]
    labels: npt.NDArray[np.integer]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.probabilities.shape[1])

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        """The most probable class of each image, on a tie the first; (n,)."""
        predicted: npt.NDArray[np.intp] = np.argmax(self.probabilities, axis=1)
        return predicted

    def where(self, chosen: npt.NDArray[np.bool_] | slice) -> "PredictedImages":
        """Return the chosen images."""
        return PredictedImages(self.probabilities[chosen], self.indices[chosen], self.labels[chosen])

    def to_bytes(self) -> bytes:
        """Return the images as bytes."""
        columns = (
            self.probabilities.astype(_PROBABILITY, copy=False),
            self.indices.astype(_INDEX, copy=False),
            self.labels.astype(_label_type(self.classes), copy=False),
        )
        return b"".join(column.tobytes() for column in columns)

    @classmethod
    def of(
        cls, probabilities: npt.ArrayLike, indices: npt.ArrayLike, labels: npt.ArrayLike
    ) -> "PredictedImages":
        """Return images, which may be given in any order. A probability that is not a number counts as 0.

        Raises:
            ValueError: there are no images, the arrays differ in length, or a label is not that of a class.
        """
        table = np.nan_to_num(np.asarray(probabilities, _PROBABILITY), nan=0.0)
        if table.ndim != 2 or not 0 < table.shape[1] <= MAX_CLASSES or not len(table):
            raise ValueError(f"probabilities of shape {table.shape} are not those of images and classes")
        rows, true = np.asarray(indices), np.asarray(labels)
        if rows.shape != (len(table),) or true.shape != (len(table),):
            raise ValueError(f"{len(table):,} images have {rows.size:,} indices and {true.size:,} labels")
        _check_range("label", true, table.shape[1])
        _check_range("index", rows, 2**31)
        order = np.argsort(rows)
        return cls(table[order], rows[order], true[order])

    @classmethod
    def from_bytes(cls, content: bytes, count: int) -> "PredictedImages":
        """Return `count` images from their bytes, without a copy.

        Raises:
            ValueError: the bytes are not those of `count` images.
        """
        size, rest = divmod(len(content), max(count, 1))
        label_size = size % _PROBABILITY.itemsize
        classes = (size - label_size - _INDEX.itemsize) // _PROBABILITY.itemsize
        label_type = _label_type(classes)
        if count < 1 or rest or not 0 < classes <= MAX_CLASSES or label_type.itemsize != label_size:
            raise ValueError(f"{len(content):,} bytes are not predictions of {count:,} images")
        probabilities = np.frombuffer(content, _PROBABILITY, count * classes)
        indices = np.frombuffer(content, _INDEX, count, probabilities.nbytes)
        labels = np.frombuffer(content, label_type, count, probabilities.nbytes + indices.nbytes)
        _check_range("label", labels, classes)
        return cls(probabilities.reshape(count, classes), indices, labels)


def _label_type(classes: int) -> np.dtype[Any]:
    return np.dtype("u1" if classes <= _FEW_CLASSES else "<u2")


def _check_range(noun: str, values: npt.NDArray[Any], end: int) -> None:
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"each {noun} must be an integer, not {values.dtype}")
    if values.min() < 0 or values.max() >= end:
        raise ValueError(f"each {noun} must be from 0 to {end - 1:,}, not {values.min()} to {values.max()}")
