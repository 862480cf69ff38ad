from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import UUID

import numpy as np
import pytest
from uuid_utils.compat import uuid7

from api.prediction.onnx_models import OnnxModels
from tests.support.onnx_models import make_onnx

TIMEOUT_S = 10.0
BLANK = np.zeros((1, 28, 28, 1), np.float32)


class _Store:
    """Stored models; counts how often each is loaded."""

    def __init__(self) -> None:
        self.loads: Counter[UUID] = Counter()

    def load(self, model_id: UUID) -> bytes:
        self.loads[model_id] += 1
        return make_onnx(np.zeros((784, 10), np.float32))


def test_probabilities_are_those_of_the_model() -> None:
    random = np.random.default_rng(1)
    weights = random.normal(size=(784, 10)).astype(np.float32)
    images = random.uniform(size=(5, 28, 28, 1)).astype(np.float32)

    probabilities = OnnxModels().probabilities(uuid7(), lambda: make_onnx(weights), images)

    scores = images.reshape(5, 784).astype(np.float64) @ weights
    expected = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)


def test_concurrent_requests_load_a_model_once() -> None:
    models, store, model_id = OnnxModels(), _Store(), uuid7()

    with ThreadPoolExecutor(8) as threads:
        results = list(
            threads.map(
                lambda _: models.probabilities(model_id, lambda: store.load(model_id), BLANK), range(32)
            )
        )

    assert store.loads == {model_id: 1}
    assert all(np.allclose(probabilities, 0.1) for probabilities in results)


def test_only_the_most_recently_used_models_are_kept() -> None:
    models, store = OnnxModels(), _Store()
    ids = [uuid7() for _ in range(33)]

    for model_id in [*ids[:32], ids[0], ids[32], ids[0], ids[1]]:
        models.probabilities(model_id, lambda model_id=model_id: store.load(model_id), BLANK)  # type: ignore[misc]

    assert store.loads == {**dict.fromkeys(ids, 1), ids[1]: 2}


def test_slow_load_of_a_model_does_not_delay_others() -> None:
    models, store, slow_id, fast_id = OnnxModels(), _Store(), uuid7(), uuid7()
    loading, release = Event(), Event()

    def load_slowly() -> bytes:
        loading.set()
        assert release.wait(TIMEOUT_S)
        return store.load(slow_id)

    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(models.probabilities, slow_id, load_slowly, BLANK)
        assert loading.wait(TIMEOUT_S)
        try:
            fast = threads.submit(models.probabilities, fast_id, lambda: store.load(fast_id), BLANK)
            assert np.allclose(fast.result(TIMEOUT_S), 0.1)
            assert not slow.done()
        finally:
            release.set()
        assert np.allclose(slow.result(TIMEOUT_S), 0.1)


def test_model_whose_load_failed_is_loaded_by_the_next_request() -> None:
    models, store, model_id = OnnxModels(), _Store(), uuid7()

    def fail() -> bytes:
        raise ConnectionError("the database is unavailable")

    with pytest.raises(ConnectionError):
        models.probabilities(model_id, fail, BLANK)

    assert np.allclose(models.probabilities(model_id, lambda: store.load(model_id), BLANK), 0.1)
