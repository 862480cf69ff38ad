"""What a stored model says of images, by ONNX Runtime in this process: no TensorFlow, no worker."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

_KEPT = 32  # sessions; a megabyte or two each


class OnnxModels:
    """Loads each model once and keeps the newest used; serves many threads at once."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[UUID, Any] = OrderedDict()
        self._lock = Lock()

    def probabilities(
        self, model_id: UUID, load: Callable[[], bytes], images: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The probability of each class, (n, classes), for images (n, 28, 28, 1) from 0 to 1.

        Args:
            model_id: under which the model is kept; a model never changes.
            load: gives its ONNX file, when it is not kept.
        """
        session = self._session(model_id, load)
        result: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: images})[0]
        return result

    def _session(self, model_id: UUID, load: Callable[[], bytes]) -> Any:
        with self._lock:  # the first predictions of one model load it once
            session = self._sessions.pop(model_id, None) or _open(load())
            self._sessions[model_id] = session
            if len(self._sessions) > _KEPT:
                self._sessions.popitem(last=False)
        return session


def _open(model: bytes) -> Any:
    # not at the start: who never predicts need not wait for it
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a digit is too little work to share, and requests share the cores
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
