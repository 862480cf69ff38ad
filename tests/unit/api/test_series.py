from api.series import Resolution, curves
from tests.factories import make_epoch


def test_epoch_curves_have_a_point_for_each_epoch() -> None:
    epochs = [make_epoch(0), make_epoch(1)]

    series = {one.name: one for one in curves(epochs, Resolution.EPOCH).series}

    assert list(series) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(one.x == (0, 1) and one.resolution == "epoch" for one in series.values())
    assert series["val_loss"].y == (epochs[0].val_loss, epochs[1].val_loss)


def test_step_curves_count_batches_over_all_epochs() -> None:
    epochs = [
        make_epoch(0, batch_loss=(3.0, 2.0), batch_accuracy=(0.1, 0.2)),
        make_epoch(1, batch_loss=(1.0, 0.5), batch_accuracy=(0.3, 0.4)),
    ]

    loss, accuracy = curves(epochs, Resolution.STEP).series

    assert (loss.name, loss.resolution) == ("loss", "step")
    assert (loss.x, loss.y) == ((0, 1, 2, 3), (3.0, 2.0, 1.0, 0.5))
    assert (accuracy.x, accuracy.y) == ((0, 1, 2, 3), (0.1, 0.2, 0.3, 0.4))


def test_a_job_without_epochs_has_empty_curves() -> None:
    assert [one.x for one in curves([], Resolution.EPOCH).series] == [(), (), (), ()]
    assert [one.y for one in curves([], Resolution.STEP).series] == [(), ()]
