"""Let each app add figures to what Prometheus reads, and parts to /readyz, so that the project package need not know the app."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Values of one kind. `label` says what distinguishes them; it is empty where there is only one value, whose key is ""."""

    name: str
    help: str
    label: str
    values: dict[str, float]


checks: dict[str, Callable[[], str]] = {}
"""Further parts of /readyz by name: functions that return what is wrong with an app's part, or "". They may raise django.db.Error."""

sources: list[Callable[[], Iterator[Figure]]] = []
"""Functions that read an app's figures as they are now. An app adds its own in `AppConfig.ready`. They may raise django.db.Error."""
