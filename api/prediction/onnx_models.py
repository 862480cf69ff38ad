"""Loaded models, run by ONNX Runtime in this process: no TensorFlow, no worker."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

_MAX_MODELS = 32  # models of a megabyte or two each


class OnnxModels:
    """A cache of the most recently used models, each loaded once. Thread-safe."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[UUID, Future[Any]] = OrderedDict()  # pending while a model is loaded
        self._lock = Lock()

    def probabilities(
        self, model_id: UUID, load: Callable[[], bytes], images: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the probability of each class, shape (n, classes), for images of shape (n, 28, 28, 1).

        Args:
            load: a function that returns the model's ONNX file; called if the model is not in the cache.
            images: pixels from 0 to 1.
        """
        session = self._session(model_id, load)
        result: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: images})[0]
        return result

    def _session(self, model_id: UUID, load: Callable[[], bytes]) -> Any:
        with self._lock:
            is_cached = model_id in self._sessions
            session = self._sessions.setdefault(model_id, Future())
            self._sessions.move_to_end(model_id)
            if len(self._sessions) > _MAX_MODELS:
                self._sessions.popitem(last=False)
        if not is_cached:  # this thread loads the model, without the lock: only requests for this model wait
            self._load(model_id, session, load)
        return session.result()

    def _load(self, model_id: UUID, session: Future[Any], load: Callable[[], bytes]) -> None:
        try:
            session.set_result(_open(load()))
        except BaseException as error:
            with self._lock:  # so that the next request loads it again
                if self._sessions.get(model_id) is session:
                    del self._sessions[model_id]
            session.set_exception(error)


def _open(model: bytes) -> Any:
    # imported by the first prediction: a process that serves none need not wait for it
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a digit is too small for several threads, and requests share the cores
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
