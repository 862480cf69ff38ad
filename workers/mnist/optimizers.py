"""Adam, SGD and RMSprop as pure functions, equal to those of Keras 3 with their default parameters.

All weights of a model are one flat vector, and so is each of the optimizer's slots: every update rule here
works elementwise.
"""

import tensorflow as tf

from shared.schemas import Optimizer
from workers.mnist.backend import Tensor

Variables = tuple[Tensor, ...]
"""The weights, and the optimizer's slots after them: float32 vectors of equal length."""

EPSILON = 1e-7
ADAM_BETA_1 = 0.9
ADAM_BETA_2 = 0.999
RMSPROP_RHO = 0.9

SLOTS = {Optimizer.ADAM: 2, Optimizer.SGD: 0, Optimizer.RMSPROP: 1}
"""The number of slots that each optimizer keeps: vectors besides the weights, which start as zeros."""


def update(
    optimizer: Optimizer, variables: Variables, gradient: Tensor, learning_rate: Tensor, step: Tensor
) -> Variables:
    """Return the variables after one step, whose number counts from 1 and is a float."""
    match optimizer:
        case Optimizer.ADAM:
            return _adam(variables, gradient, learning_rate, step)
        case Optimizer.RMSPROP:
            return _rmsprop(variables, gradient, learning_rate)
        case Optimizer.SGD:
            return (variables[0] - gradient * learning_rate,)


def _adam(variables: Variables, gradient: Tensor, learning_rate: Tensor, step: Tensor) -> Variables:
    weights, mean, square = variables
    mean += (gradient - mean) * (1 - ADAM_BETA_1)
    square += (tf.square(gradient) - square) * (1 - ADAM_BETA_2)
    rate = learning_rate * tf.sqrt(1 - tf.pow(ADAM_BETA_2, step)) / (1 - tf.pow(ADAM_BETA_1, step))
    return weights - mean * rate / (tf.sqrt(square) + EPSILON), mean, square


def _rmsprop(variables: Variables, gradient: Tensor, learning_rate: Tensor) -> Variables:
    weights, square = variables
    square = RMSPROP_RHO * square + (1 - RMSPROP_RHO) * tf.square(gradient)
    return weights - learning_rate * gradient / tf.sqrt(square + EPSILON), square
