"""Tell other apps that ZIP data change, without knowing those apps.

Both signals are sent inside the transaction of the change with `dataset_id`. An error in a receiver undoes the change.
"""

from django.dispatch import Signal

dataset_activated = Signal()
"""The dataset has just come into use. A receiver returns a line of text for each change that it made."""

dataset_previewed = Signal()
"""Somebody asks what the dataset would change if it came into use. A receiver returns a line of text for each change in its tables."""
