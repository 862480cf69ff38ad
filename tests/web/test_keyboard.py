"""Every page by keyboard alone: Tab reaches all that can be used and shows where it is, without a mouse."""

import pytest
from playwright.sync_api import Page, expect

from shared.db.engine import Database
from tests.support import every_page
from tests.support.browsing import WatchedPages

PARTS = 4  # of the pages, so that no test takes long
NO_MNIST = ["503"]  # the stack has no MNIST
MORE_PRESSES = 20  # than there are elements: some elements have parts of their own, as dates do

# What can be used, also what is folded; of radio buttons and of grids, which arrow keys move in, one.
_WATCH = """() => {
  for (const folded of document.querySelectorAll('details')) folded.open = true;
  const kinds = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]';
  const usable = (element) => !element.disabled && element.tabIndex >= 0
    && element.checkVisibility({ visibilityProperty: true })
    && !(element.type === 'radio' && !element.checked) && element.id !== 'content';
  window.elements = new Set([...document.querySelectorAll(kinds)].filter(usable));
  window.unseen = [];
  const name = (element) => element.outerHTML.slice(0, 120);
  document.addEventListener('focusin', ({ target }) => {
    elements.delete(target);
    const label = target.matches('.visually-hidden') ? target.closest('label') : target;
    const style = getComputedStyle(label);
    const isSeen = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1)
      || style.boxShadow !== 'none' || target.matches('main');
    if (!isSeen) unseen.push(name(target));
  });
  window.missed = () => [...elements].map(name);
  return elements.size;
}"""

# What looks as if a mouse could use it, and is neither such an element nor part of one.
_MOUSE_ONLY = """() => [...document.querySelectorAll('body *')]
  .filter((element) => getComputedStyle(element).cursor === 'pointer'
    && element.checkVisibility({ visibilityProperty: true })
    && !element.closest('a[href], button, input, select, summary, label, [tabindex]'))
  .map((element) => element.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("part", range(PARTS))
def test_tab_reaches_everything_on_every_page_and_shows_where_it_is(
    pages: WatchedPages, database: Database, part: int
) -> None:
    page = pages.open(allow=NO_MNIST)
    found: dict[str, dict[str, list[str]]] = {}
    for name, address in list(every_page.fill(database).items())[part::PARTS]:
        page.goto(address)
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        assert press_tab_through(page) > 5, name
        problems = {
            "not reached by Tab": page.evaluate("missed()"),
            "focus not shown": page.evaluate("unseen"),
            "for the mouse only": page.evaluate(_MOUSE_ONLY),
        }
        if any(problems.values()):
            found[name] = {kind: elements for kind, elements in problems.items() if elements}
    assert found == {}


def press_tab_through(page: Page) -> int:
    """Press Tab until it has reached everything, or would have; return how many elements there are."""
    count: int = page.evaluate(_WATCH)
    missing, left = count, count + MORE_PRESSES
    while missing and left:
        presses = min(missing, left)  # each reaches one element at most
        for _ in range(presses):
            page.keyboard.press("Tab")
        missing, left = page.evaluate("elements.size"), left - presses
    return count
