"""Tell other apps that ZIP data change, without knowing those apps.

Both signals are sent inside the transaction of the change with `dataset_id`. An error in a receiver undoes the change.
"""

from django.dispatch import Signal

dataset_activated = Signal()
"""The dataset is in use from here on."""

dataset_previewed = Signal()
"""What would change if the dataset came into use? A receiver returns one line of text for each change in its own tables."""
