"""Static files of the pages: stylesheet and ES modules, under an address that changes with any of them.

The hash of all files is a folder in the path, so that a module's relative imports lead to the same version,
and browsers may keep everything for ever. The files are read and compressed once.
"""

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request, Response

from api.http.auth import OPEN
from api.http.problems import respond, unexplained

router = APIRouter(prefix="/static", include_in_schema=False, dependencies=[OPEN])

_FOLDER = Path(__file__).parent / "static"
_HASH_DIGITS = 12
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


@dataclass(frozen=True)
class StaticFile:
    """A static file as it is sent: its media type, its bytes, and the same compressed with gzip."""

    media_type: str
    content: bytes
    compressed: bytes


@dataclass(frozen=True)
class StaticFiles:
    """All static files, by name, and the hash of them all."""

    digest: str
    files: dict[str, StaticFile]

    def address(self, name: str) -> str:
        """Return the path of a file.

        Raises:
            KeyError: there is no such file.
        """
        if name not in self.files:
            raise KeyError(name)
        return f"/static/{self.digest}/{name}"


def read_files(folder: Path) -> StaticFiles:
    """Read and compress all files of a folder."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    digest = sha256()
    for name, content in contents.items():
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    files = {
        name: StaticFile(_MEDIA_TYPES[Path(name).suffix], content, gzip.compress(content, mtime=0))
        for name, content in contents.items()
    }
    return StaticFiles(digest.hexdigest()[:_HASH_DIGITS], files)


@cache
def static_files() -> StaticFiles:
    """Return the static files of this version."""
    return read_files(_FOLDER)


@router.get("/{digest}/{name}")
async def get_static_file(request: Request, digest: str, name: str) -> Response:
    """Get a static file of this version; a file of another version would not fit the other files."""
    static = static_files()
    file = static.files.get(name)
    if file is None or digest != static.digest:
        return respond(request, unexplained(404), "this version has no such file: load the page again")
    tag = f'"{digest}"'
    headers = {**_FOR_EVER, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, 200, {**headers, "Content-Encoding": "gzip"}, file.media_type)
    return Response(file.content, 200, headers, file.media_type)
