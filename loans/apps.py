"""The app of loans and the claims on them."""

from django.apps import AppConfig


class LoansConfig(AppConfig):
    name = "loans"

    def ready(self) -> None:
        from cbsa import importing

        importing.after_switch.append(resolve_markets)
        importing.consequences.append(market_changes)


def resolve_markets() -> None:
    """Find each loan's market in the ZIP data that has just come into use."""
    from loans import lending  # its calendar takes long to load, and few commands need it

    lending.resolve_markets()


def market_changes(dataset_id: int) -> list[str]:
    """Which loans would change market with this dataset."""
    from loans import lending

    return lending.market_changes(dataset_id)
