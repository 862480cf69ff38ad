"""A dataset's cache entry: a folder with its decoded images, its labels and their checksums.

The entry is built in another folder and renamed, so it is never incomplete. Every process maps the arrays
into its memory, after it has verified their checksums once.
"""

import json
import logging
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from tokenize import TokenError

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout
from numpy.lib import format as npy
from numpy.typing import NDArray

from shared.datasets.downloads import CHECK_S, Patience
from shared.datasets.mnist_form import PIXELS

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images, (rows, 784), and their labels, (rows,)."""

Decoded = tuple[Iterable[NDArray[np.uint8]], NDArray[np.uint8]]
"""Images in bands of (any number, 784), and their labels, (rows,)."""

_IMAGES = "images.npy"
_LABELS = "labels.npy"
_CHECKSUMS = "checksums.json"  # CRC-32 of each array's elements

_log = logging.getLogger(__name__)

# inode, size and time of the last change of the files whose checksums this process has verified
_verified: set[tuple[tuple[int, int, int], ...]] = set()


def mapped(folder: Path, min_rows: int) -> Arrays | None:
    """Return the cached arrays, or None if there are none, or if they are damaged or too short."""
    try:
        # read before mapping: if the files are replaced meanwhile, this identity never occurs again
        identity = tuple(_identity(folder / name) for name in (_IMAGES, _LABELS))
        images = npy.open_memmap(folder / _IMAGES, mode="r")
        labels = npy.open_memmap(folder / _LABELS, mode="r")
        rows = len(labels) if labels.ndim == 1 else 0
        fitting = images.shape == (rows, PIXELS) and images.dtype == labels.dtype == np.uint8
        if identity not in _verified and fitting:
            fitting = json.loads((folder / _CHECKSUMS).read_bytes()) == _checksums(images, labels)
    except (OSError, ValueError, EOFError, TokenError):  # NumPy's errors for damaged files, and json's
        return None
    if not fitting:
        _log.warning("the cache entry %s is damaged", folder)
        return None
    _verified.add(identity)
    return (images, labels) if rows >= min_rows else None


def store(folder: Path, decode: Callable[[Path], Decoded]) -> Arrays:
    """Build the entry in `folder`, whose lock the caller holds, and return its arrays.

    Args:
        decode: returns the arrays to store; gets a folder on the same disk for its temporary files.

    Raises:
        OSError: the disk cannot keep it.
        Exception: the error of `decode`; the entry is then unchanged.
    """
    work = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(work, ignore_errors=True)  # left behind by a process that was killed
    work.mkdir()
    try:
        images, labels = decode(work)
        checksums = {
            _IMAGES: _save(images, (len(labels), PIXELS), work / _IMAGES),
            _LABELS: _save([labels], labels.shape, work / _LABELS),
        }
        (work / _CHECKSUMS).write_text(json.dumps(checksums))
        _sync(work / _CHECKSUMS)
        _sync(work)
        shutil.rmtree(folder, ignore_errors=True)  # damaged; processes that have mapped its files keep them
        work.replace(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return npy.open_memmap(folder / _IMAGES, mode="r"), npy.open_memmap(folder / _LABELS, mode="r")


def locked(name: str, folder: Path, patience: Patience) -> AcquireReturnProxy[FileLock]:
    """Take the lock under which the dataset `name` is stored in `folder`, for the length of a `with` block.

    Raises:
        DataUnavailable: another process has held it for too long.
        Exception: the error of the waiting caller's check.
    """
    lock, pause = FileLock(f"{folder}.lock"), threading.Event()
    while True:
        try:
            return lock.acquire(blocking=False)
        except Timeout:
            patience.check(f"another process's download of the dataset `{name}`")
            pause.wait(CHECK_S)


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _checksums(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[str, int]:
    return {_IMAGES: zlib.crc32(images.data), _LABELS: zlib.crc32(labels.data)}


def _save(parts: Iterable[NDArray[np.uint8]], shape: tuple[int, ...], path: Path) -> int:
    """Write an array from its consecutive parts; return the CRC-32 of its elements."""
    checksum = 0
    # `np.save` does not report a full disk as such, and a full disk kills a process that writes to a map
    with path.open("xb") as file:
        header = {"descr": npy.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(file, header)
        for part in parts:
            checksum = zlib.crc32(part.data, checksum)
            file.write(part.data)
        file.flush()
        os.fsync(file.fileno())
    return checksum


def _sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
