"""The version of the running Trainshed, and the commit that it was built from, if known."""

import json
import subprocess
from functools import cache
from importlib.metadata import Distribution, distribution
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "trainshed"
_GIT_TIMEOUT_S = 5.0


@cache
def versions() -> dict[str, str]:
    """Return the version as `trainshed`, and the commit, if known, as `commit`."""
    installed = distribution(_NAME)
    commit = commit_of(installed)
    return {"trainshed": installed.version, **({"commit": commit} if commit else {})}


def commit_of(installed: Distribution) -> str:
    """Return the commit of an installed distribution; empty if it is not known.

    The build of an image writes the commit beside the metadata, and pip records it for a Git URL (PEP 610).
    For an editable installation, the commit is that of the checkout, with `-dirty` appended if files were
    changed.
    """
    if written := (installed.read_text("COMMIT") or "").strip():
        return written
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if commit := origin.get("vcs_info", {}).get("commit_id", ""):
        return str(commit)
    if origin.get("dir_info", {}).get("editable"):
        return _checked_out(url2pathname(urlsplit(origin["url"]).path))
    return ""


def _checked_out(folder: str) -> str:
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):  # Git is missing, or took too long
        return ""
    return described.stdout.strip() if described.returncode == 0 else ""
