from itertools import product

from shared.datasets.randomness import Purpose, generator


def _draw(seed: int, purpose: Purpose, epoch: int = 0) -> bytes:
    return generator(seed, purpose, epoch).bytes(16)


def test_equal_seed_purpose_and_epoch_give_equal_random_numbers() -> None:
    assert _draw(3, Purpose.EPOCH_ORDER, 5) == _draw(3, Purpose.EPOCH_ORDER, 5)


def test_different_seeds_purposes_or_epochs_give_different_random_numbers() -> None:
    draws = [_draw(*choice) for choice in product(range(5), Purpose, range(5))]

    assert len(set(draws)) == len(draws)


def test_a_seed_gives_the_random_numbers_of_earlier_releases() -> None:
    assert generator(1, Purpose.WEIGHTS).integers(0, 1_000, 3).tolist() == [518, 331, 362]
