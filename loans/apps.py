"""Configure the app, and connect it to the signals of `cbsa` and to the project's metrics."""

from collections.abc import Iterator
from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete, post_migrate, post_save
from django.utils import timezone

from peerloans.monitoring import figures


class LoansConfig(AppConfig):
    name = "loans"

    def ready(self) -> None:
        from cbsa.signals import dataset_activated, dataset_previewed

        dataset_activated.connect(resolve_markets)
        dataset_previewed.connect(preview_markets)
        figures.sources.append(read_figures)
        figures.checks["history"] = restore_to_follow_up
        # The permissions of all apps exist by then: this app is the last in INSTALLED_APPS.
        post_migrate.connect(grant_new_permissions, sender=self)
        post_save.connect(announce_user_change, sender=self.get_model("User"))
        post_delete.connect(announce_revoked_token, sender="knox.AuthToken")
        post_delete.connect(delete_name_of_token, sender="knox.AuthToken")


# These import when they are called, because most commands never need what they import.
def resolve_markets(**_: Any) -> None:
    """Resolve each loan's market in the ZIP data that have just come into use. The job does it for loans that are busy now."""
    from loans.services.markets import resolve_loan_markets

    resolve_loan_markets()


def preview_markets(*, dataset_id: int, **_: Any) -> list[str]:
    """Return one line for each loan whose market would change."""
    from loans.services.markets import preview_market_changes

    return preview_market_changes(dataset_id)


def announce_user_change(*, instance: Any, created: bool = False, update_fields: Any = None, **_: Any) -> None:
    """Let all processes forget the tokens that they remember, unless nothing changed that a token gives access to."""
    from loans.api.authentication import announce_access_change

    if not created and (update_fields is None or {"password", "is_active"} & set(update_fields)):
        announce_access_change()


def announce_revoked_token(*, instance: Any, **_: Any) -> None:
    """Let all processes forget the tokens that they remember, because one was deleted before its end."""
    from loans.api.authentication import announce_access_change

    if instance.expiry is None or instance.expiry > timezone.now():
        announce_access_change()


def delete_name_of_token(*, instance: Any, **_: Any) -> None:
    """Delete the name and scopes of a token that was deleted, in the same transaction."""
    from loans.models import NamedToken

    NamedToken.objects.filter(digest=instance.digest).delete()


def read_figures() -> Iterator[figures.Figure]:
    """Return the present figures of the market for operators."""
    from loans.selectors.metrics import market_figures

    return market_figures()


def restore_to_follow_up() -> str:
    """Return what staff have still to do after the database was restored, or ""."""
    from loans.models import ReviewItem

    item = ReviewItem.objects.filter(kind="restored", resolved_at=None).order_by("pk").last()
    return item.detail if item else ""


def grant_new_permissions(*, apps: Any, **_: Any) -> None:
    """Grant the groups of staff the permissions that are new in this version. `apps` has the models that are migrated."""
    from loans.services import staff_groups

    if "staffgroupgrant" in apps.all_models["loans"]:
        staff_groups.grant_new_permissions()
