"""Training on all of MNIST, as the codelab suggests, reaches 98 %: 15 s of CPU time."""

import pytest

from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.support.synthetic import RecordingMonitor
from workers.mnist.executor import MnistExecutor


@pytest.mark.timeout(400)
def test_three_epochs_on_all_of_mnist_classify_98_percent_of_the_test_images(
    settings: Settings, real_mnist: dict[str, str]
) -> None:
    executor, monitor = MnistExecutor(settings.model_copy(update=real_mnist)), RecordingMonitor()
    # with the default rate and batches it takes ten epochs, of the same work each
    rates = {"epochs": 3, "learning_rate": 0.003, "batch_size": 128}
    spec = TrainSpec(train_size=55_000, validation_size=10_000, evaluation_size=10_000, seed=1, **rates)

    model = executor.train(spec, None, monitor)

    assert model.result is not None
    assert model.result.size == 10_000
    assert (model.result.accuracy or 0.0) >= 0.98
    assert monitor.epochs[-1].values["val_accuracy"] == pytest.approx(model.result.accuracy)
