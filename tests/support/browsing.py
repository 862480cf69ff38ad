"""Pages in Chromium that report what goes wrong on them, and checks of their accessibility."""

import asyncio
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""The path of Debian's Chromium; None if it is not installed."""

AWAY = ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"]
"""What Chromium reports of requests to an API that does not run."""

# each element's selector takes a third of the time, and is needed where there is a violation
_AXE = """async (options) => {
  const { violations } = await axe.run({ ...options, selectors: false });
  return violations.length ? (await axe.run(options)).violations : [];
}"""
_REPORT_CSP = """
document.addEventListener('securitypolicyviolation', (event) =>
  console.error(`the CSP forbids ${event.blockedURI} by ${event.violatedDirective}`));
"""


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run Chromium for the length of a `with` block."""
    assert CHROMIUM is not None
    playwright = sync_playwright().start()
    # as root, for which Chromium has no sandbox; it opens pages of this host only
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    asyncio._set_running_loop(None)
    try:
        yield browser
    finally:
        with event_loop_of(browser):
            browser.close()
            playwright.stop()


@contextmanager
def event_loop_of(browser: Browser) -> Iterator[None]:
    """Let Playwright be used in this block, and other tests of this thread run event loops after it.

    It leaves its own loop set as the running one, so that `asyncio.run` would refuse to start another.
    """
    asyncio._set_running_loop(browser._loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


class WatchedPages:
    """Opens pages, and collects what goes wrong on them: errors in the console, of scripts, of requests."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url
        self._allowed: list[str] = []
        self._pages: list[Page] = []
        self.problems: list[str] = []

    def open(self, *, allow: Sequence[str] = (), **options: Any) -> Page:
        """Return a new page in a context of its own.

        Args:
            allow: patterns of problems that the test provokes.
            options: of Playwright's `Browser.new_context`, such as `color_scheme="dark"`.
        """
        self._allowed += allow
        context = self._browser.new_context(**{"base_url": self._url, "locale": "en-GB", **options})
        context.set_default_timeout(10_000)
        context.add_init_script(_REPORT_CSP)
        page = context.new_page()
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("requestfailed", lambda request: self._note("error", f"{request.url}: {request.failure}"))
        page.on("response", lambda response: self._note_status(response.status, response.url))
        self._pages.append(page)
        return page

    def close(self) -> None:
        """Close all pages."""
        for page in self._pages:
            page.context.close()

    def unexpected(self) -> list[str]:
        """The problems that no pattern allows."""
        return [
            problem
            for problem in self.problems
            if not any(re.search(pattern, problem) for pattern in self._allowed)
        ]

    def _note(self, kind: str, text: str) -> None:
        # a page that is left breaks off its requests
        if kind in ("error", "warning") and "net::ERR_ABORTED" not in text:
            self.problems.append(text)

    def _note_status(self, status: int, url: str) -> None:
        if status >= 400:
            self.problems.append(f"{url}: status {status}")


def is_live(page: Page, timeout_ms: float = 30_000) -> None:
    """Wait until a page says that it follows what happens."""
    status = page.get_by_role("status").filter(has_text=re.compile(r"^\s*Live\s*$"))  # pages may have others
    expect(status).to_be_visible(timeout=timeout_ms)


def sign_in(page: Page, key: str) -> None:
    """Sign in with an API key on the page that asks for one."""
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def violations(page: Page) -> list[str]:
    """What axe-core finds on a page in the light and in the dark theme, with the elements concerned."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = []
    for scheme, rules in (("light", None), ("dark", ["color-contrast"])):  # the theme changes only colours
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
        found += [
            f"{scheme}: {violation['help']}: {[node['target'] for node in violation['nodes']]}"
            for violation in page.evaluate(_AXE, options)
        ]
    return found


_PAINT = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => list.getEntriesByName('first-contentful-paint')
    .forEach(({ startTime }) => resolve(startTime))).observe({ type: 'paint', buffered: true });
})"""


def first_paint_ms(page: Page) -> float:
    """Return the time from a page's request to its first contentful paint, as Chromium reports it."""
    return float(page.evaluate(_PAINT))


class Weight:
    """What a page's requests transfer, each time without a cache: the bytes of the bodies, as compressed."""

    def __init__(self, page: Page, *, apart: str | None = None) -> None:
        """Watch a page.

        Args:
            apart: the end of the addresses that do not count.
        """
        self._apart = apart
        self._headers: dict[str, float] = {}
        self._bodies: list[float] = []
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        session.on("Network.responseReceived", self._begin)
        session.on("Network.loadingFinished", self._end)

    def take(self) -> tuple[int, int]:
        """Return the bytes and the number of requests since the last call."""
        bodies, self._bodies = self._bodies, []
        return round(sum(bodies)), len(bodies)

    def _begin(self, event: dict[str, Any]) -> None:
        response = event["response"]
        if response["url"].startswith("http") and not (self._apart and response["url"].endswith(self._apart)):
            self._headers[event["requestId"]] = response["encodedDataLength"]

    def _end(self, event: dict[str, Any]) -> None:
        headers = self._headers.pop(event["requestId"], None)
        if headers is not None:
            self._bodies.append(event["encodedDataLength"] - headers)
