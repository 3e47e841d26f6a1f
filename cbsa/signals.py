"""Tell other apps that ZIP data change, without knowing those apps. Both signals are sent with `dataset_id`."""

from django.dispatch import Signal

dataset_activated = Signal()
"""The dataset has come into use, and that is committed. An error in a receiver is logged."""

dataset_previewed = Signal()
"""Somebody asks what the dataset would change if it came into use. A receiver returns a line of text for each change in its tables."""
