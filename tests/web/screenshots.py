"""`python -m tests.web.screenshots FOLDER [PAGE...]`: a picture of each page, and those of the README.

On a stack of its own, with jobs that the real worker trains on `mnist`, which it downloads unless settings
MNIST_IMAGES_URL and MNIST_LABELS_URL name another copy. Each page is taken light and dark, 390 and 1440
pixels wide. Exits with 1 if a page is missing or reports an error, or a picture of the README is too large.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page

from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    GridSweepCreate,
    TrainJobCreate,
    TrainRequest,
)
from shared.settings import Settings
from tests.support.browsing import WatchedPages, event_loop_of, running_chromium
from tests.support.paths import ROOT
from tests.web import demo_picture
from trainshed import Client
from trainshed.local import ports
from trainshed.local.stack import LocalStack

_WIDTHS = (390, 1440)
_THEMES = ("light", "dark")
_HEIGHT = 900
_SETTLED_MS = 1_200  # curves are drawn after the first paint
_WAIT_S = 300.0
_MAX_BYTES = 150_000  # of a picture of the README
_COLOURS = 128

# a 3 as one draws it, from 0 to 1 from the upper left corner
_STROKE = (
    *((0.32, 0.2), (0.42, 0.13), (0.58, 0.13), (0.67, 0.22), (0.66, 0.36), (0.56, 0.45), (0.44, 0.48)),
    *((0.58, 0.5), (0.68, 0.6), (0.69, 0.73), (0.58, 0.85), (0.42, 0.87), (0.3, 0.79)),
)


def main(folder: Path, names: Sequence[str] = ()) -> int:
    """Take the pictures of some pages, by default of all; return the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="screenshots-") as data, running_chromium() as browser:
        settings = Settings(data_dir=Path(data), port=ports.find_free("127.0.0.1"))
        with LocalStack(settings, report=_say) as stack, Client(stack.url) as client:
            addresses = _prepare(client)
            with event_loop_of(browser):
                chosen = {name: addresses[name] for name in names or addresses}
                problems = _take_all(browser, stack.url, chosen, folder)
                problems += _take_for_readme(browser, stack.url, addresses)
    if not names:
        with TemporaryDirectory(prefix="demo-") as data:
            demo_picture.draw(Path(data))
    for problem in dict.fromkeys(problems):
        _say(problem)
    return 1 if problems else 0


def _prepare(client: Client) -> dict[str, str]:
    """Run jobs; return the address of each page by its name."""
    _say("training")
    codelab = client.submit(_train("the codelab's job", seed=1, evaluation_size=1_000, threshold=0.4))
    dense = client.submit(_train("dense layers only", seed=1, model="dense"))
    endless = _train("more than it has time for", seed=1, epochs=1_000)
    failing = client.submit(endless.model_copy(update={"max_runtime_s": 1.0}))
    grid = GridSweepCreate(
        strategy="grid",
        name="learning rate and batch size",
        spec=TrainRequest(epochs=5, seed=1),
        parameters={"learning_rate": (0.0003, 0.001, 0.003), "batch_size": (128, 512)},
    )
    sweep = client.submit_sweep(grid)
    jobs = [codelab.id, dense.id, failing.id, *(result.job_id for result in sweep.jobs)]
    model_id, *_ = [client.wait(job_id, timeout_s=_WAIT_S).model_id for job_id in jobs]
    assert model_id is not None
    client.change_model(model_id, alias="champion")
    evaluation = EvaluateRequest(model_id=model_id, evaluation_size=5_000)
    client.wait(client.submit(EvaluateJobCreate(kind="evaluate", spec=evaluation)).id, timeout_s=_WAIT_S)
    running = client.submit(_train("all images", seed=2, train_size=55_000, epochs=500))
    waiting = client.submit(_train("waits its turn", seed=3))
    next(event for event in client.stream(running.id) if event.data.get("epochs"))
    tabs = ("training", "evaluation", "input", "model", "timeline", "logs", "config")
    return {
        "overview": "/",
        "jobs": "/jobs",
        "new-job": "/jobs/new",
        **{f"job-{tab}": f"/jobs/{codelab.id}?tab={tab}" for tab in tabs},
        "job-running": f"/jobs/{running.id}",
        "job-waiting": f"/jobs/{waiting.id}",
        "job-failed": f"/jobs/{failing.id}",
        "compare": f"/compare?job={codelab.id}&job={dense.id}",
        "sweeps": "/sweeps",
        "sweep": f"/sweeps/{sweep.id}",
        "models": "/models",
        "model": f"/models/{model_id}",
        "try": "/try",
        "workers": "/workers",
        "worker": f"/workers/{client.workers()[0].id}",
        "settings": "/settings",
        "sign-in": "/sign-in",
    }


def _train(name: str, **spec: object) -> TrainJobCreate:
    return TrainJobCreate(spec=TrainRequest.model_validate(spec), name=name)


def _take_all(browser: Browser, url: str, addresses: Mapping[str, str], folder: Path) -> list[str]:
    problems: list[str] = []
    for theme in _THEMES:
        for width in _WIDTHS:
            with _page(browser, url, theme, width, problems) as page:
                for name, address in addresses.items():
                    _open(page, name, address)
                    page.screenshot(path=folder / f"{name}-{theme}-{width}.png", full_page=True)
            _say(f"{len(addresses)} pages, {theme}, {width} pixels")
    return problems


def _take_for_readme(browser: Browser, url: str, addresses: Mapping[str, str]) -> list[str]:
    """Take the pictures in docs/ that README.md shows."""
    problems: list[str] = []
    with _page(browser, url, "light", 1280, problems) as page:
        for name, address in (("page-job", addresses["job-training"]), ("page-try", addresses["try"])):
            if _open(page, name, address):
                _write_small(page.screenshot(), ROOT / "docs" / f"{name}.png", problems)
    return problems


def _open(page: Page, name: str, address: str) -> bool:
    """Show a page as it is to be taken; return whether there is such a page."""
    response = page.goto(address)
    if name in ("try", "page-try"):
        _draw(page)
    page.wait_for_timeout(_SETTLED_MS)
    return response is not None and response.ok


def _draw(page: Page) -> None:
    """Draw a 3 with the mouse, if the page has a place for it."""
    box = page.locator("#pad").bounding_box() if page.locator("#pad").count() else None
    if box is None:
        return
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in _STROKE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


@contextmanager
def _page(browser: Browser, url: str, theme: str, width: int, problems: list[str]) -> Iterator[Page]:
    pages = WatchedPages(browser, url)
    viewport = {"width": width, "height": _HEIGHT}
    yield pages.open(color_scheme=theme, viewport=viewport, reduced_motion="reduce")
    pages.close()
    problems += pages.unexpected()


def _write_small(png: bytes, path: Path, problems: list[str]) -> None:
    """Write a picture with few colours, as its pages have."""
    image = Image.open(BytesIO(png)).convert("RGB")
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    _say(f"{path.relative_to(ROOT)}: {size:,} bytes")
    if size >= _MAX_BYTES:
        problems.append(f"{path.name} has {size:,} bytes, and may have {_MAX_BYTES:,}")


_say: Callable[[str], None] = print

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
