"""A look-alike of the Dataverse Web API on SQLite: `DataverseApp` is one environment."""

from emulator.dataverse.app import DataverseApp
from emulator.dataverse.settings import Settings

__all__ = ["DataverseApp", "Settings"]
