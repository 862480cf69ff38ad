"""The prediction of each image of an evaluation as bytes, little-endian, the images by index.

First the probabilities, (n, classes) as float32; then the images' rows among the dataset's test images, (n,)
as uint32; then their labels, (n,) as uint8. So each array begins where its type may begin, and JavaScript
reads them without a copy.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_PROBABILITY, _INDEX, _LABEL = np.dtype("<f4"), np.dtype("<u4"), np.dtype("u1")
_BYTES_BESIDE = _INDEX.itemsize + _LABEL.itemsize  # of an image, without its probabilities


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
            self.labels.astype(_LABEL, copy=False),
        )
        return b"".join(column.tobytes() for column in columns)

    @classmethod
    def of(
        cls,
        probabilities: npt.NDArray[np.float32],
        indices: npt.NDArray[np.integer],
        labels: npt.NDArray[np.integer],
    ) -> "PredictedImages":
        """Return images that are in any order."""
        order = np.argsort(indices)
        return cls(probabilities[order], indices[order], labels[order])

    @classmethod
    def from_bytes(cls, content: bytes, count: int) -> "PredictedImages":
        """Return `count` images from their bytes.

        Raises:
            ValueError: the bytes are not those of so many images.
        """
        size, rest = divmod(len(content), count)
        classes, odd = divmod(size - _BYTES_BESIDE, _PROBABILITY.itemsize)
        if rest or odd or classes < 1:
            raise ValueError(f"{len(content):,} bytes are not predictions of {count:,} images")
        probabilities = np.frombuffer(content, _PROBABILITY, count * classes)
        indices = np.frombuffer(content, _INDEX, count, probabilities.nbytes)
        labels = np.frombuffer(content, _LABEL, count, probabilities.nbytes + indices.nbytes)
        return cls(probabilities.reshape(count, classes), indices, labels)
