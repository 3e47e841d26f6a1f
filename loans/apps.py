"""The app of loans and the claims on them."""

from django.apps import AppConfig


class LoansConfig(AppConfig):
    name = "loans"
