from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import numpy as np
from uuid_utils.compat import uuid7

from api.prediction.onnx_models import OnnxModels
from tests.support.onnx_models import make_onnx


class _Store:
    """Models of the test's own, and how often each was loaded."""

    def __init__(self) -> None:
        self.loads: Counter[UUID] = Counter()

    def load(self, model_id: UUID) -> bytes:
        self.loads[model_id] += 1
        return make_onnx(np.zeros((784, 10), np.float32))


def test_probabilities_are_the_models() -> None:
    random = np.random.default_rng(1)
    weights = random.normal(size=(784, 10)).astype(np.float32)
    images = random.uniform(size=(5, 28, 28, 1)).astype(np.float32)

    found = OnnxModels().probabilities(uuid7(), lambda: make_onnx(weights), images)

    scores = images.reshape(5, 784).astype(np.float64) @ weights
    expected = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)


def test_threads_that_ask_at_once_load_a_model_once() -> None:
    predictor, store, model_id = OnnxModels(), _Store(), uuid7()
    images = np.zeros((1, 28, 28, 1), np.float32)

    with ThreadPoolExecutor(8) as threads:
        found = list(
            threads.map(
                lambda _: predictor.probabilities(model_id, lambda: store.load(model_id), images), range(32)
            )
        )

    assert store.loads == {model_id: 1}
    assert all(np.allclose(one, 0.1) for one in found)


def test_only_the_models_used_last_are_kept() -> None:
    predictor, store = OnnxModels(), _Store()
    images = np.zeros((1, 28, 28, 1), np.float32)
    ids = [uuid7() for _ in range(33)]

    for model_id in [*ids[:32], ids[0], ids[32], ids[0], ids[1]]:
        predictor.probabilities(model_id, lambda model_id=model_id: store.load(model_id), images)  # type: ignore[misc]

    assert store.loads == {**dict.fromkeys(ids, 1), ids[1]: 2}
