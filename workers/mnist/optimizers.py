"""Adam, SGD and RMSprop as pure functions, equal to Keras 3's with its defaults.

All weights of a model are one flat vector, and so is each of an optimizer's variables for them: every rule
here works on each number by itself.
"""

import tensorflow as tf

from shared.schemas import Optimizer
from workers.mnist.backend import Tensor

Variables = tuple[Tensor, ...]

EPSILON = 1e-7
ADAM_BETA_1 = 0.9
ADAM_BETA_2 = 0.999
RMSPROP_RHO = 0.9

SLOTS = {Optimizer.ADAM: 2, Optimizer.SGD: 0, Optimizer.RMSPROP: 1}
"""How many vectors an optimizer keeps beside the weights; each begins as zeros."""


def update(
    optimizer: Optimizer, variables: Variables, gradient: Tensor, learning_rate: Tensor, step: Tensor
) -> Variables:
    """The weights, and the optimizer's vectors after them, after one step; steps count from 1, as a float."""
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
