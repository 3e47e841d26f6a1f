"""Let each app add figures to what Prometheus reads, so that the project package need not know the app."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Values of one kind. `label` says what distinguishes them; it is empty where there is only one value, whose key is ""."""

    name: str
    help: str
    label: str
    values: dict[str, float]


sources: list[Callable[[], Iterator[Figure]]] = []
"""Functions that read an app's figures as they are now. An app adds its own in `AppConfig.ready`. They may raise django.db.Error."""
