from itertools import product

from workers.mnist.randomness import Purpose, generator


def _draw(seed: int, purpose: Purpose, epoch: int = 0) -> bytes:
    return generator(seed, purpose, epoch).bytes(16)


def test_the_same_choice_is_drawn_alike_every_time() -> None:
    assert _draw(3, Purpose.EPOCH_ORDER, 5) == _draw(3, Purpose.EPOCH_ORDER, 5)


def test_seeds_purposes_and_epochs_do_not_share_random_numbers() -> None:
    draws = [_draw(*choice) for choice in product(range(5), Purpose, range(5))]

    assert len(set(draws)) == len(draws)


def test_a_seed_means_what_it_meant_in_earlier_releases() -> None:
    assert generator(1, Purpose.WEIGHTS).integers(0, 1_000, 3).tolist() == [518, 331, 362]
