"""The settings of a process; other packages import them from here."""

from shared.settings.environment import invalid_settings, unknown_variables
from shared.settings.settings import ExposedApi, LogLevel, Settings, get_settings

__all__ = ["ExposedApi", "LogLevel", "Settings", "get_settings", "invalid_settings", "unknown_variables"]
