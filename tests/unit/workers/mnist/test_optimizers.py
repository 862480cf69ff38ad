from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.schemas import Optimizer
from workers.mnist.optimizers import SLOTS, update

KERAS: dict[Optimizer, Any] = {
    Optimizer.ADAM: keras.optimizers.Adam,
    Optimizer.SGD: keras.optimizers.SGD,
    Optimizer.RMSPROP: keras.optimizers.RMSprop,
}


@pytest.mark.parametrize("optimizer", Optimizer)
def test_twenty_steps_move_the_weights_as_keras_does(optimizer: Optimizer) -> None:
    random = np.random.default_rng(3)
    weights = random.normal(size=50).astype(np.float32)
    theirs = keras.Variable(weights)
    peer = KERAS[optimizer](learning_rate=0.01)
    variables = (tf.constant(weights), *(tf.zeros(50) for _ in range(SLOTS[optimizer])))

    for step in range(1, 21):
        gradient = tf.constant(random.normal(size=50) * 10.0 ** random.integers(-6, 2), tf.float32)
        peer.apply([gradient], [theirs])
        variables = update(optimizer, variables, gradient, tf.constant(0.01), tf.constant(float(step)))

    np.testing.assert_allclose(variables[0], theirs.value, rtol=2e-6, atol=1e-7)
    assert len(variables) == 1 + SLOTS[optimizer]
