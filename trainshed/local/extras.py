"""Checks that the distribution's extras are installed, which a command needs beyond the client."""

from importlib.util import find_spec

from trainshed.errors import UsageError

# one package of each extra, whose presence shows that the extra is installed; Redis may be the system's
PACKAGES = {"server": "fastapi", "worker": "tensorflow", "local": "fastapi"}


def require(*extras: str) -> None:
    """Refuse to run a command whose extras are not all installed.

    Raises:
        UsageError: an extra is missing; the message says how to install all of them.
    """
    if any(find_spec(PACKAGES[extra]) is None for extra in extras):
        raise UsageError(f"this needs more than the client: pip install 'trainshed[{','.join(extras)}]'")
