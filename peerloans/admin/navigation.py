"""Group the pages of the back office by what staff do, and say in which group a page stands."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

# The lists of each section, in order, by the labels of their models. What no section names stands under the last one.
SECTIONS = {
    "Loans": ["loans.loan", "loans.waitinglistentry", "loans.standingorder", "loans.standingordertransition", "loans.closingvalue"],
    "Reservations": ["loans.reservation", "loans.transition"],
    "Money": ["loans.transfer", "loans.bankevent", "loans.paymentfile", "loans.statementimport"],
    "Review": ["loans.reviewitem", "loans.approvalrequest"],
    "Investors": ["loans.investor", "loans.delivery", "loans.webhookendpoint"],
    "ZIP data": ["cbsa.dataset", "cbsa.importrun", "cbsa.importrequest", "cbsa.zip", "cbsa.area"],
    "Settings": ["loans.user", "auth.group", "knox.authtoken", "django_celery_beat.periodictask"],
}
LAST = "Settings"


@dataclass(frozen=True)
class Section:
    """A group of lists that the reader may view, as Django's admin describes them. `address` is the first list's."""

    name: str
    lists: list[dict[str, Any]]
    current: bool

    @property
    def address(self) -> str:
        return str(self.lists[0]["admin_url"])


def sections(request: HttpRequest, lists: list[dict[str, Any]]) -> list[Section]:
    """Return the sections with at least one of the lists. The current one holds the list of the page that is asked for."""
    by_label = {each["model"]._meta.label_lower: each for each in lists if each["admin_url"]}
    named = {label for labels in SECTIONS.values() for label in labels}
    result = []
    for name, labels in SECTIONS.items():
        more = sorted(by_label.keys() - named) if name == LAST else []
        own = [by_label[label] for label in (*labels, *more) if label in by_label]
        for each in own:
            each["current"] = request.path.startswith(each["admin_url"])
        if own:
            result.append(Section(name, own, any(each["current"] for each in own)))
    return result
