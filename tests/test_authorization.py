"""Who may go where? Every address that the resolver knows, for everybody: one that has no row here fails.

The expectations are written down, not asked of the code. Staff's actions have a table of their own in
tests/loans/test_staff_actions.py, group by group.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone
from knox.models import AuthToken

from loans.models import Loan, Reservation
from tests.factories import InvestorFactory, LoanFactory, UserFactory, reserved

pytestmark = pytest.mark.django_db

PEOPLE = ("anonymous", "owner", "other", "Support", "Auditors", "Operations", "superuser")
EVERYBODY = "200 200 200 200 200 200 200"

# --- Outside of the admin: GET, then POST with a body that says nothing, for each of PEOPLE --------------------------------
OPEN = {
    "": (EVERYBODY, "405 " * 7),
    "loans/<slug:reference>/": (EVERYBODY, "405 " * 7),
    "loans/<slug:reference>": (EVERYBODY, "405 " * 7),
    "zip/": (EVERYBODY, "405 " * 7),
    "zip/<str:asked>/": ("503 " * 7, "405 " * 7),
    "zip/<str:asked>": ("503 " * 7, "405 " * 7),
    "api/schema/": (EVERYBODY, "405 " * 7),
    "api/docs/": (EVERYBODY, "405 " * 7),
    "api/v1/auth/token/": ("405 " * 7, "400 " * 7),
    "api/v1/auth/logout/": ("401 405 405 405 405 405 405", "401 204 204 204 204 204 204"),
    "api/v1/loans/": (EVERYBODY, "405 " * 7),
    "api/v1/loans/<slug:reference>/": (EVERYBODY, "405 " * 7),
    "api/v1/loans/<slug:reference>/reservations/": ("401 405 405 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/reservations/": ("401 200 200 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/": ("401 200 404 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/history/": ("401 200 404 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/transfer/": ("401 405 405 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/cancel/": ("401 405 405 403 403 403 403", "401 200 404 403 403 403 403"),
    "api/v1/portfolio/": ("401 200 200 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/bank-events/": ("405 " * 7, "400 " * 7),
    "ziptocbsa": ("400 " * 7, "400 " * 7),
    "ziptocbsa/": ("400 " * 7, "400 " * 7),
    "ziptocbsa/<str:zip_code>": ("503 " * 7, "405 " * 7),
    "ziptocbsa/<str:zip_code>/": ("503 " * 7, "405 " * 7),
    "^(?:api|ziptocbsa)/": ("404 " * 7, "404 " * 7),
}

# --- The admin's own pages: GET for each of PEOPLE --------------------------------------------------------------------------
AWAY = "302 302 302"  # to the log-in: no staff
ADMIN = {
    "admin/": f"{AWAY} 200 200 200 200",
    "admin/login/": "200 200 200 302 302 302 302",
    "admin/logout/": f"{AWAY} 405 405 405 405",
    "admin/second-factor/": f"{AWAY} 200 200 200 200",
    "admin/password_change/": f"{AWAY} 200 200 200 200",
    "admin/password_change/done/": f"{AWAY} 200 200 200 200",
    "admin/autocomplete/": f"{AWAY} 403 403 403 403",  # without a field that asks
    "admin/jsi18n/": f"{AWAY} 200 200 200 200",
    "admin/r/<path:content_type_id>/<path:object_id>/": f"{AWAY} 404 404 404 404",
    "admin/^(?P<app_label>": f"{AWAY} 200 200 200 200",
    "admin/(?P<url>.*)$": f"{AWAY} 404 404 404 404",
}

# --- The admin's models: who sees them, who may add, who may change, who may delete; S, A, O are the groups, R the superuser ----
NOBODY = ""
MODELS = {
    "admin/logentry": ("SAOR", NOBODY, NOBODY, NOBODY),
    "auth/user": ("SAOR", "R", "R", "R"),
    "auth/group": ("SAOR", "R", "R", "R"),
    "axes/accessattempt": ("SAOR", NOBODY, "R", "R"),
    "axes/accesslog": ("R", NOBODY, "R", "R"),
    "axes/accessfailurelog": ("R", NOBODY, "R", "R"),
    "knox/authtoken": ("SAOR", NOBODY, NOBODY, "OR"),
    "django_celery_beat/periodictask": ("SAOR", "R", "OR", NOBODY),
    "django_celery_beat/crontabschedule": ("SAOR", "OR", "R", "R"),
    "django_celery_beat/intervalschedule": ("SAOR", "OR", "R", "R"),
    "django_celery_beat/clockedschedule": ("SAOR", "R", "R", "R"),
    "django_celery_beat/solarschedule": ("SAOR", "R", "R", "R"),
    "cbsa/area": ("SAOR", NOBODY, NOBODY, NOBODY),
    "cbsa/dataset": ("SAOR", NOBODY, NOBODY, NOBODY),
    "cbsa/importrequest": ("SAOR", "OR", NOBODY, NOBODY),
    "cbsa/importrun": ("SAOR", NOBODY, NOBODY, NOBODY),
    "cbsa/zip": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/bankevent": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/case": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/closingvalue": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/delivery": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/investor": ("SAOR", "OR", "OR", NOBODY),
    "loans/loan": ("SAOR", "OR", "OR", NOBODY),
    "loans/reservation": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/transfer": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/transition": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/webhookendpoint": ("SAOR", "OR", "OR", NOBODY),
}
LETTERS = {"Support": "S", "Auditors": "A", "Operations": "O", "superuser": "R"}
PAGES = ("", "add/", "csv/", "<path:object_id>/", "<path:object_id>/change/", "<path:object_id>/delete/", "<path:object_id>/history/")
# Pages of one model alone, and the tests that hold them to their groups.
ELSEWHERE = {
    "admin/auth/user/<id>/password/": "test_staff_site.py",
    "admin/cbsa/dataset/prune/": "cbsa/test_requests.py",
    "admin/cbsa/dataset/<int:pk>/activate/": "cbsa/test_requests.py",
    "admin/cbsa/importrequest/<int:pk>/drop/": "cbsa/test_requests.py",
}


def addresses() -> set[str]:
    def walk(patterns: list[Any], base: str) -> Iterator[str]:
        for pattern in patterns:
            route = base + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            else:
                yield route

    return set(walk(get_resolver().url_patterns, ""))


def model_of(address: str) -> str | None:
    found = re.match(r"admin/(\w+/\w+)/(.*)", address)
    return found[1] if found and found[1] in MODELS and found[2] in PAGES else None


def row_of(address: str) -> bool:
    named = any(address.startswith(row) if "app_label" in row else address == row for row in ADMIN)
    return address in OPEN or named or address in ELSEWHERE or model_of(address) is not None


def test_every_address_has_a_row() -> None:
    assert sorted(address for address in addresses() if not row_of(address)) == [], "say in this file who may go there"


def test_every_row_has_an_address() -> None:
    known = addresses()
    assert OPEN.keys() | ELSEWHERE.keys() <= known
    assert {model_of(address) for address in known} - {None} == MODELS.keys()


@pytest.fixture
def claim() -> Reservation:
    now = timezone.now()
    return reserved(LoanFactory(reference="LN-1", now=now), investor=InvestorFactory(user__username="owner"), now=now)


def person(name: str, claim: Reservation) -> User | None:
    if name == "anonymous":
        return None
    if name == "owner":
        return claim.investor.user
    if name == "other":
        other: User = InvestorFactory().user
        return other
    user: User = UserFactory(is_staff=True, is_superuser=name == "superuser")
    if name != "superuser":
        user.groups.add(Group.objects.get(name=name))
    return user


def client_of(name: str, claim: Reservation) -> tuple[Client, User | None]:
    client, user = Client(), person(name, claim)
    if user:
        client.force_login(user)
    return client, user


def filled(address: str, claim: Reservation) -> str:
    values = {"reference": "LN-1", "reservation_id": str(claim.pk), "asked": "90266", "zip_code": "90266"}
    path = re.sub(r"<(?:[\w-]+:)?(\w+)>", lambda found: values.get(found[1], "0"), address)
    return "/" + {"^(?:api|ziptocbsa)/": "api/nowhere/", "admin/(?P<url>.*)$": "admin/nowhere/"}.get(path, path)


@pytest.mark.parametrize("name", PEOPLE)
def test_outside_of_the_admin(claim: Reservation, name: str) -> None:
    client, user = client_of(name, claim)
    for address, both in OPEN.items():
        headers = {"Authorization": f"Bearer {AuthToken.objects.create(user)[1]}"} if user else {}
        path = filled(address, claim)
        got, posted = (int(statuses.split()[PEOPLE.index(name)]) for statuses in both)
        assert client.get(path, headers=headers, follow=not path.startswith(("/api", "/ziptocbsa"))).status_code == got, address
        if address.startswith("api/v1"):
            for method in (client.put, client.patch, client.delete):
                assert method(path, headers=headers).status_code in {401, 403, 405}, address
        assert client.post(path, "{}", content_type="application/json", headers=headers).status_code == posted, address


@pytest.mark.parametrize("name", PEOPLE)
def test_the_admins_own_pages(claim: Reservation, name: str) -> None:
    client, _ = client_of(name, claim)
    number = PEOPLE.index(name)
    for address, statuses in ADMIN.items():
        path = "/admin/loans/" if "app_label" in address else filled(address, claim)
        assert client.get(path).status_code == int(statuses.split()[number]), address


@pytest.mark.parametrize("name", PEOPLE)
def test_the_admins_models(claim: Reservation, name: str) -> None:
    client, _ = client_of(name, claim)
    letter = LETTERS.get(name)

    def told(path: str, allowed: bool, *, otherwise: int = 403, well: tuple[int, ...] = (200, 302)) -> None:
        """Nothing has the id 0, so who may look at or delete it is led back to the list."""
        answer = client.get(path)
        if letter is None:
            assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/admin/login/"), path
        else:
            assert answer.status_code in (well if allowed else (otherwise,)), path

    for model, (see, add, change, delete) in MODELS.items():
        sees, adds, changes, deletes = (bool(letter and letter in who) for who in (see, add, change, delete))
        told(f"/admin/{model}/", sees)
        told(f"/admin/{model}/add/", adds)
        told(f"/admin/{model}/0/change/", sees or changes)
        told(f"/admin/{model}/0/delete/", deletes)
        if letter and not adds:
            assert client.post(f"/admin/{model}/add/", {}).status_code == 403, model
        if letter and not deletes:
            assert client.post(f"/admin/{model}/0/delete/", {"post": "yes"}).status_code == 403, model
        if model.startswith(("loans", "cbsa", "knox")):
            told(f"/admin/{model}/csv/", sees, well=(200,))


def test_who_may_only_see_changes_nothing_by_posting_either(claim: Reservation) -> None:
    for name in ("Support", "Auditors"):
        client, _ = client_of(name, claim)
        assert client.post(f"/admin/loans/loan/{claim.loan_id}/change/", {"title": "Mine"}).status_code == 403
    assert Loan.objects.get().title != "Mine"
