"""Errors in the environment that settings are read from: invalid values, and names of unknown settings."""

import os
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import SettingsError

from shared.schemas.refusals import place_of, told
from shared.settings.settings import Settings


def unknown_variables() -> list[str]:
    """Return the environment variables that begin with `TRAINSHED_` and are not settings."""
    known = {_variable(name) for name in Settings.model_fields}
    variables = set(os.environ)  # noqa: TID251 (this is where the environment is read)
    return sorted(name for name in variables if name.startswith("TRAINSHED_") and name not in known)


def invalid_settings(error: ValidationError | SettingsError) -> list[str]:
    """Return a line for each invalid setting: its variable, its value and the error."""
    if not isinstance(error, ValidationError):  # a text that should be JSON
        field = str(error).partition('"')[2].partition('"')[0]
        return [f"{_variable(field)} is not JSON: {error.__cause__}"]
    return [told(_place(detail["loc"]), detail) for detail in error.errors()]


def _place(path: Sequence[int | str]) -> str:
    """Return the variable of a setting, and for a part of its value the path of that part."""
    if not path:
        return ""
    setting, *part = path
    return _variable(str(setting)) + (f": {place_of(part)}" if part else "")


def _variable(field: str) -> str:
    return f"TRAINSHED_{field.upper()}"
