"""Training on all of MNIST, as the codelab suggests, reaches 98 %: half a minute on two cores."""

import pytest

from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.support.synthetic import RecordingMonitor
from workers.mnist.executor import MnistExecutor


@pytest.mark.timeout(400)
def test_ten_epochs_on_all_of_mnist_classify_98_percent_of_the_test_images(
    settings: Settings, real_mnist: dict[str, str]
) -> None:
    executor, monitor = MnistExecutor(settings.model_copy(update=real_mnist)), RecordingMonitor()
    spec = TrainSpec(train_size=55_000, validation_size=10_000, evaluation_size=10_000, seed=1)

    model = executor.train(spec, None, monitor)

    assert model.evaluation.size == 10_000
    assert model.evaluation.accuracy >= 0.98
    assert monitor.epochs[-1].val_accuracy == pytest.approx(model.evaluation.accuracy)
