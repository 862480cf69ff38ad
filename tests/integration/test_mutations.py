"""The mutations that `python -m tests.faults.mutations` runs apply to the present sources."""

from tests.faults.mutations import MUTATIONS
from tests.support.paths import ROOT


def test_each_mutation_applies_to_the_sources() -> None:
    texts = {each.path: (ROOT / each.path).read_text() for each in MUTATIONS}
    assert [each.name for each in MUTATIONS if texts[each.path].count(each.old) != 1] == []
