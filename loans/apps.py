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
    from loans import markets  # which only commands that import need

    markets.resolve_markets()


def market_changes(dataset_id: int) -> list[str]:
    """Which loans would change market with this dataset."""
    from loans import markets

    return markets.market_changes(dataset_id)
