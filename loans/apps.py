"""The app of loans and the claims on them."""

from django.apps import AppConfig


class LoansConfig(AppConfig):
    name = "loans"

    def ready(self) -> None:
        from cbsa import importing
        from loans import lending

        importing.after_switch.append(lending.resolve_markets)
