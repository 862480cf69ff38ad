"""Fixtures of the pages' tests: a real stack, Chromium, and pages that fail if anything goes wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from shared.db.engine import Database
from tests.support.browsing import CHROMIUM, WatchedPages, event_loop_of, running_chromium
from tests.support.lacking import environment_lacks
from tests.support.web_stack import WebStack, running_web_stack

ADMIN_KEY = "the administrator's key"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.web)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, one for all tests."""
    if CHROMIUM is None:
        environment_lacks("the pages' tests need Chromium: apt-get install chromium")
    with running_chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def _event_loop(browser: Browser) -> Iterator[None]:
    with event_loop_of(browser):
        yield


@pytest.fixture(scope="session")
def _stack(tmp_path_factory: pytest.TempPathFactory, new_sqlite: Callable[[Path], str]) -> Iterator[WebStack]:
    with running_web_stack(tmp_path_factory.mktemp("web"), new_sqlite) as stack:
        yield stack


@pytest.fixture
def stack(_stack: WebStack) -> WebStack:
    """The stack without API keys: open to this host. Its database is empty, and no worker runs."""
    _stack.reset()
    return _stack


@pytest.fixture
def database(stack: WebStack) -> Database:
    """The stack's database."""
    return stack.database


@pytest.fixture(scope="session")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, new_sqlite: Callable[[Path], str]
) -> Iterator[WebStack]:
    """A stack that needs a key: `ADMIN_KEY`, or one that the test stores."""
    with running_web_stack(tmp_path_factory.mktemp("guarded"), new_sqlite, api_keys=ADMIN_KEY) as stack:
        yield stack


@pytest.fixture
def pages(browser: Browser, stack: WebStack) -> Iterator[WatchedPages]:
    """Opens pages of `stack`; fails the test if anything goes wrong on them that it does not allow."""
    yield from _watched(browser, stack.url)


@pytest.fixture
def page(pages: WatchedPages) -> Page:
    """A page of `stack`."""
    return pages.open()


@pytest.fixture
def guarded_pages(browser: Browser, guarded: WebStack) -> Iterator[WatchedPages]:
    """Opens pages of `guarded`, as `pages`."""
    yield from _watched(browser, guarded.url)


def _watched(browser: Browser, url: str) -> Iterator[WatchedPages]:
    pages = WatchedPages(browser, url)
    yield pages
    pages.close()
    assert pages.unexpected() == []
