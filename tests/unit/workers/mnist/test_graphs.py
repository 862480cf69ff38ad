import numpy as np
import pytest
import tensorflow as tf

from shared.schemas import ModelKind, Optimizer
from tests.support.synthetic import make_images, make_spec
from workers.mnist import graphs
from workers.mnist.backend import CPU
from workers.mnist.graphs import Shape
from workers.mnist.model import initial_weights, logits
from workers.mnist.optimizers import SLOTS, Variables


def _start(shape: Shape) -> Variables:
    weights = initial_weights(shape.model, 1)
    return tuple(tf.constant(weights * (slot == 0)) for slot in range(1 + SLOTS[shape.optimizer]))


def test_a_batch_is_at_most_all_training_images() -> None:
    shape = Shape.of(make_spec(train_size=100, batch_size=512))

    assert (shape.batch_size, shape.steps) == (100, 1)


@pytest.mark.parametrize(("train_size", "steps"), [(5_500, 11), (5_632, 11), (5_633, 12)])
def test_a_partial_last_batch_counts_as_a_step(train_size: int, steps: int) -> None:
    assert Shape.of(make_spec(train_size=train_size, batch_size=512)).steps == steps


def test_each_row_has_the_loss_and_correct_predictions_of_its_batch_before_its_step() -> None:
    spec = make_spec(train_size=150, batch_size=64, optimizer=Optimizer.SGD, learning_rate=0.1)
    shape, images, order = Shape.of(spec), make_images(spec).on_device(), np.arange(150, dtype=np.int32)[::-1]

    variables = _start(shape)
    inputs = graphs.Inputs(tf.constant(0.0), tf.constant(0.1), images, tf.constant(order))
    _, rows = graphs.train(shape, CPU, variables, inputs)

    assert rows.shape == (3, 2)
    for number, batch in enumerate((order[:64], order[64:128], order[128:])):
        labels = tf.gather(images.train_labels, batch)
        with tf.GradientTape() as tape:
            tape.watch(variables)
            scores = logits(shape.model, variables[0], tf.gather(images.train, batch), CPU)
            loss = tf.reduce_mean(
                tf.keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True)
            )
        assert rows[number, 0].numpy() == pytest.approx(loss.numpy(), rel=1e-5)
        assert rows[number, 1] == np.count_nonzero(scores.numpy().argmax(axis=1) == labels.numpy())
        variables = (variables[0] - 0.1 * tape.gradient(loss, variables)[0],)


def test_validation_uses_every_image_once() -> None:
    spec = make_spec(validation_size=2_300, model=ModelKind.DENSE)
    shape, images = Shape.of(spec), make_images(spec).on_device()
    weights = tf.constant(initial_weights(shape.model, 1))

    rows = graphs.validate(shape, CPU, weights, images).numpy()

    probabilities, losses = graphs.predict(
        shape.model, CPU, weights, images.validation, images.validation_labels
    )
    correct = np.count_nonzero(probabilities.numpy().argmax(axis=1) == images.validation_labels.numpy())
    assert rows.shape == (3, 2)
    assert rows[:, 1].sum() == correct
    assert rows[:, 0] @ [1_000, 1_000, 300] / 2_300 == pytest.approx(losses.numpy().mean(), rel=1e-5)


def test_probabilities_sum_to_one_and_the_loss_is_their_cross_entropy() -> None:
    images = make_images(make_spec()).on_device()
    weights = tf.constant(initial_weights(ModelKind.CNN, 1))

    probabilities, losses = graphs.predict(
        ModelKind.CNN, CPU, weights, images.validation, images.validation_labels
    )

    of_labels = probabilities.numpy()[np.arange(50), images.validation_labels.numpy()]
    np.testing.assert_allclose(probabilities.numpy().sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(losses, -np.log(of_labels), rtol=1e-4)
