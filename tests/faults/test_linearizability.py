"""The search for an order finds one if and only if trying every order does."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.lifecycle import TERMINAL, JobState
from tests.faults.linearizability import Act, Known, Step, successors, unexplained

APIS = ("a", "b")
STATES = [frozenset({state}) for state in JobState] + [TERMINAL, frozenset(JobState) - TERMINAL]


@st.composite
def requests(draw: st.DrawFn, number: int) -> list[Step]:
    """The steps of a request after the creation of the job, or while it is created."""
    began = draw(st.integers(0, 16)) / 4
    blank = Step(Act.SEE, number, began, began + draw(st.integers(0, 8)) / 4, draw(st.sampled_from(APIS)))
    steps = []
    for place in range(draw(st.sampled_from([1, 1, 2]))):
        kind = draw(st.sampled_from([Act.SEE, Act.SEE, *Act]))
        version = draw(st.one_of(st.none(), st.integers(1, 4))) if kind == Act.SEE else None
        step = replace(
            blank,
            act=kind,
            place=place,
            is_certain=kind == Act.SEE or draw(st.integers(0, 3)) > 0,
            seen_by=draw(st.sampled_from([frozenset[str](), frozenset({"a"})])),
            version=version,
            states=draw(st.sampled_from(STATES[:-2] if version is not None else STATES)),
            known=draw(st.sampled_from([0, 0, 2])),
        )
        steps.append(step)
    is_poll = len(steps) == 1 and steps[0].act in (Act.SEE, Act.MISS)
    return [replace(step, is_stale=is_poll and draw(st.booleans())) for step in steps]


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """The creation of a job, and a few requests more."""
    made = Step(Act.CREATE, 0, 0.0, draw(st.sampled_from([0.5, 3.0])), "a")
    others = [draw(requests(number)) for number in range(1, draw(st.integers(2, 4)))]
    return [made, *chain.from_iterable(others)]


def orders(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """Every order of the certain steps and of any of the others."""
    certain = [step for step in steps if step.is_certain]
    uncertain = [step for step in steps if not step.is_certain]
    chosen = chain.from_iterable(combinations(uncertain, count) for count in range(len(uncertain) + 1))
    return chain.from_iterable(permutations([*certain, *some]) for some in chosen)


def explains(order: Sequence[Step]) -> bool:
    if any(later.must_precede(earlier) for earlier, later in combinations(order, 2)):
        return False
    known = {Known()}
    for step in order:
        known = set(chain.from_iterable(successors(each, step) for each in known))
    return bool(known)


@settings(max_examples=300, deadline=None)
@given(histories())
def test_an_order_is_found_if_and_only_if_there_is_one(steps: list[Step]) -> None:
    assert (not unexplained(steps)) == any(map(explains, orders(steps)))
