"""Checks of the disks: writable folders with room."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shared.settings import Settings
from trainshed.doctor.findings import Finding, error, ok, warning

_SUBJECT = "disk"
NEEDED_BYTES = 200_000_000
"""Room for a sprite dataset's download and cache, and some logs; or for a thousand jobs."""

_COMFORTABLE_BYTES = 1_000_000_000


def check(settings: Settings) -> Iterator[Finding]:
    """Check the data folder and the folder of temporary files."""
    for name, folder in (
        ("TRAINSHED_DATA_DIR", settings.data_dir),
        ("TMPDIR", Path(tempfile.gettempdir())),
    ):
        yield _folder(name, folder)


def _folder(name: str, folder: Path) -> Finding:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as refused:
        message = f"{existing} cannot be written to: {refused.strerror or refused}"
        return error(_SUBJECT, message, f"give this user the right, or set {name} to another folder")
    free = shutil.disk_usage(existing).free
    message = f"{free / 1e9:.1f} GB are free in {existing}"
    advice = f"free space there, or set {name} to another disk"
    if free < NEEDED_BYTES:
        return error(_SUBJECT, message, advice)
    return ok(_SUBJECT, message) if free >= _COMFORTABLE_BYTES else warning(_SUBJECT, message, advice)
