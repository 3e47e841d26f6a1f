"""Every address of the project is open to exactly the people that a table here names.

An address without a row fails. The expectations are written down here and not taken from the code. Staff's actions have their
own table, group by group, in tests/loans/admin/test_actions.py.
"""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone
from knox.models import AuthToken

from loans.models import Loan, NamedToken, Reservation, User
from loans.services.named_tokens import create_named_token
from tests.factories import InvestorFactory, LoanFactory, UserFactory, reserved

pytestmark = pytest.mark.django_db

PEOPLE = ("anonymous", "owner", "other", "Support", "Auditors", "Operations", "superuser")
EVERYBODY = "200 200 200 200 200 200 200"

# --- Outside of the admin: GET, then POST with a body that says nothing, for each of PEOPLE --------------------------------
OPEN = {
    "": (EVERYBODY, "405 " * 7),
    "loans/<slug:reference>/": (EVERYBODY, "405 " * 7),
    "loans/<slug:reference>": (EVERYBODY, "405 " * 7),
    "loans/<slug:reference>/documents/<int:document_id>/": ("404 " * 7, "405 " * 7),  # there is none
    "loans/<slug:reference>/allotment.csv": ("404 " * 7, "405 " * 7),  # the loan is not funded
    "zip/": (EVERYBODY, "405 " * 7),
    "zip/<str:zip_code>/": ("503 " * 7, "405 " * 7),
    "zip/<str:zip_code>": ("503 " * 7, "405 " * 7),
    "metros/": ("503 " * 7, "405 " * 7),
    "metros/<str:code>/": ("503 " * 7, "405 " * 7),
    "metros/<str:code>": ("503 " * 7, "405 " * 7),
    "account/log-in/": (EVERYBODY, "200 " * 7),  # what was posted is not complete
    # Others than investors are redirected to the log-in.
    "account/": (EVERYBODY, "405 " * 7),
    "account/standing-orders/": (EVERYBODY, "405 " * 7),
    "account/standing-orders/new/": (EVERYBODY, "302 400 400 302 302 302 302"),
    "account/standing-orders/<uuid:order_id>/": ("200 404 404 200 200 200 200", "405 " * 7),
    "account/standing-orders/<uuid:order_id>/pause/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/standing-orders/<uuid:order_id>/resume/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/standing-orders/<uuid:order_id>/end/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/money/": (EVERYBODY, "405 " * 7),
    "account/messages/": (EVERYBODY, "405 " * 7),
    "account/statement/": (EVERYBODY, "405 " * 7),
    "account/statement.csv": (EVERYBODY, "405 " * 7),
    "account/waiting-list/": (EVERYBODY, "405 " * 7),
    "account/waiting-list/<uuid:entry_id>/leave/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/watches/": (EVERYBODY, "405 " * 7),
    "account/watch/<slug:reference>/": ("405 " * 7, "302 " * 7),
    "account/watch/<slug:reference>/stop/": ("405 " * 7, "302 " * 7),
    "account/wait/<slug:reference>/": (EVERYBODY, "302 400 400 302 302 302 302"),
    "account/tokens/": (EVERYBODY, "302 400 400 302 302 302 302"),
    "account/tokens/<uuid:token_id>/revoke/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/webhooks/": (EVERYBODY, "302 400 400 302 302 302 302"),
    "account/webhooks/<int:endpoint_id>/": ("200 404 404 200 200 200 200", "405 " * 7),
    "account/webhooks/<int:endpoint_id>/test/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/webhooks/<int:endpoint_id>/rotate/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/webhooks/<int:endpoint_id>/disable/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/webhooks/<int:endpoint_id>/enable/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/webhooks/<int:endpoint_id>/deliveries/<int:delivery_id>/send-again/": ("405 " * 7, "302 404 404 302 302 302 302"),
    "account/password/": (EVERYBODY, "302 400 400 302 302 302 302"),
    "account/password/done/": (EVERYBODY, "405 " * 7),
    "account/reserve/<slug:reference>/": (EVERYBODY, "302 400 400 302 302 302 302"),
    "account/reservations/<uuid:reservation_id>/": ("200 200 404 200 200 200 200", "405 " * 7),
    "account/reservations/<uuid:reservation_id>/transfer/": ("405 " * 7, "302 400 404 302 302 302 302"),
    "account/reservations/<uuid:reservation_id>/cancel/": ("405 " * 7, "302 302 404 302 302 302 302"),
    "api/schema/": (EVERYBODY, "405 " * 7),
    "api/docs/": (EVERYBODY, "405 " * 7),
    "api/v1/auth/token/": ("405 " * 7, "400 " * 7),
    "api/v1/auth/logout/": ("401 405 405 405 405 405 405", "401 204 204 204 204 204 204"),
    "api/v1/tokens/": ("401 200 200 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/tokens/<any-uuid:token_id>/revoke/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/webhook-endpoints/": ("401 200 200 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/webhook-endpoints/<int:endpoint_id>/test/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/webhook-endpoints/<int:endpoint_id>/rotate/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/webhook-endpoints/<int:endpoint_id>/disable/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/webhook-endpoints/<int:endpoint_id>/enable/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/webhook-endpoints/<int:endpoint_id>/deliveries/": ("401 404 404 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/webhook-endpoints/<int:endpoint_id>/deliveries/<int:delivery_id>/send-again/": (
        "401 405 405 403 403 403 403",
        "401 404 404 403 403 403 403",
    ),
    "api/v1/loans/": (EVERYBODY, "405 " * 7),
    "api/v1/loans/<slug:reference>/": (EVERYBODY, "405 " * 7),
    "api/v1/loans/<slug:reference>/allotment/": ("404 " * 7, "405 " * 7),  # the loan is not funded
    "api/v1/loans/<slug:reference>/reservations/": ("401 405 405 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/reservations/": ("401 200 200 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/reservations/batch/": ("401 405 405 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/": ("401 200 404 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/history/": ("401 200 404 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/outlook/": ("401 200 404 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/transfer/": ("401 405 405 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/reservations/<any-uuid:reservation_id>/cancel/": ("401 405 405 403 403 403 403", "401 200 404 403 403 403 403"),
    "api/v1/loans/<slug:reference>/waiting-list/": ("401 405 405 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/loans/<slug:reference>/watch/": ("401 405 405 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/watches/": ("401 200 200 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/waiting-list/": ("401 200 200 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/waiting-list/<any-uuid:entry_id>/leave/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/standing-orders/": ("401 200 200 403 403 403 403", "401 400 400 403 403 403 403"),
    "api/v1/standing-orders/preview/": ("401 405 405 403 403 403 403", "401 200 200 403 403 403 403"),
    "api/v1/standing-orders/<any-uuid:order_id>/": ("401 404 404 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/standing-orders/<any-uuid:order_id>/openings/": ("401 404 404 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/standing-orders/<any-uuid:order_id>/pause/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/standing-orders/<any-uuid:order_id>/resume/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/standing-orders/<any-uuid:order_id>/end/": ("401 405 405 403 403 403 403", "401 404 404 403 403 403 403"),
    "api/v1/events/": ("401 200 200 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/portfolio/": ("401 200 200 403 403 403 403", "401 405 405 403 403 403 403"),
    "api/v1/bank-events/": ("405 " * 7, "400 " * 7),
    "ziptocbsa": ("400 " * 7, "400 " * 7),
    "ziptocbsa/": ("400 " * 7, "400 " * 7),
    "ziptocbsa/<str:zip_code>": ("503 " * 7, "405 " * 7),
    "ziptocbsa/<str:zip_code>/": ("503 " * 7, "405 " * 7),
    "ziptocbsa.csv": ("503 " * 7, "405 " * 7),
    "ziptocbsa/vintages": (EVERYBODY, "405 " * 7),
    "ziptocbsa/vintages/": (EVERYBODY, "405 " * 7),
    "ziptocbsa/<str:zip_code>/history": ("503 " * 7, "405 " * 7),
    "ziptocbsa/<str:zip_code>/history/": ("503 " * 7, "405 " * 7),
    "cbsa": ("400 " * 7, "405 " * 7),
    "cbsa/": ("400 " * 7, "405 " * 7),
    "cbsa/<str:code>": ("503 " * 7, "405 " * 7),
    "cbsa/<str:code>/": ("503 " * 7, "405 " * 7),
    "cbsa/<str:code>/zips": ("503 " * 7, "405 " * 7),
    "cbsa/<str:code>/zips/": ("503 " * 7, "405 " * 7),
    "^(?:api|ziptocbsa|cbsa)/": ("404 " * 7, "404 " * 7),
    "account/log-out/": ("405 " * 7, "302 " * 7),  # the last, since it ends the session
}

# --- The addresses that answer PUT and DELETE, too: both for each of PEOPLE. All others refuse them. --------------------------
CHANGED = {"api/v1/loans/<slug:reference>/watch/": ("401 200 200 403 403 403 403", "401 204 204 403 403 403 403")}

# --- The API: the scope that a token needs to get, and to post ("-" where it needs none, or the method is not allowed) -----------
SCOPES = {
    "api/v1/auth/token/": "- -",
    "api/v1/auth/logout/": "- -",
    "api/v1/tokens/": "account account",
    "api/v1/tokens/<any-uuid:token_id>/revoke/": "- account",
    "api/v1/webhook-endpoints/": "account account",
    "api/v1/webhook-endpoints/<int:endpoint_id>/test/": "- account",
    "api/v1/webhook-endpoints/<int:endpoint_id>/rotate/": "- account",
    "api/v1/webhook-endpoints/<int:endpoint_id>/disable/": "- account",
    "api/v1/webhook-endpoints/<int:endpoint_id>/enable/": "- account",
    "api/v1/webhook-endpoints/<int:endpoint_id>/deliveries/": "read -",
    "api/v1/webhook-endpoints/<int:endpoint_id>/deliveries/<int:delivery_id>/send-again/": "- account",
    "api/v1/loans/": "- -",
    "api/v1/loans/<slug:reference>/": "- -",
    "api/v1/loans/<slug:reference>/allotment/": "- -",
    "api/v1/loans/<slug:reference>/reservations/": "- reserve",
    "api/v1/reservations/": "read -",
    "api/v1/reservations/batch/": "- reserve",
    "api/v1/reservations/<any-uuid:reservation_id>/": "read -",
    "api/v1/reservations/<any-uuid:reservation_id>/history/": "read -",
    "api/v1/reservations/<any-uuid:reservation_id>/outlook/": "read -",
    "api/v1/reservations/<any-uuid:reservation_id>/transfer/": "- reserve",
    "api/v1/reservations/<any-uuid:reservation_id>/cancel/": "- reserve",
    "api/v1/loans/<slug:reference>/waiting-list/": "- reserve",
    "api/v1/loans/<slug:reference>/watch/": "- -",
    "api/v1/watches/": "read -",
    "api/v1/waiting-list/": "read -",
    "api/v1/waiting-list/<any-uuid:entry_id>/leave/": "- reserve",
    "api/v1/standing-orders/": "read reserve",
    "api/v1/standing-orders/preview/": "- read",
    "api/v1/standing-orders/<any-uuid:order_id>/": "read -",
    "api/v1/standing-orders/<any-uuid:order_id>/openings/": "read -",
    "api/v1/standing-orders/<any-uuid:order_id>/pause/": "- reserve",
    "api/v1/standing-orders/<any-uuid:order_id>/resume/": "- reserve",
    "api/v1/standing-orders/<any-uuid:order_id>/end/": "- reserve",
    "api/v1/events/": "read -",
    "api/v1/portfolio/": "read -",
    "api/v1/bank-events/": "- -",
}

# --- Probes, which are answered before any address is resolved: GET for each of PEOPLE ------------------------------------------
PROBES = {
    "livez": EVERYBODY,
    "metrics": "401 " * 7,  # needs a token of its own
}

# --- The admin's own pages: GET for each of PEOPLE --------------------------------------------------------------------------
AWAY = "302 302 302"  # redirected to the log-in, since they are not staff
ADMIN = {
    "admin/": f"{AWAY} 200 200 200 200",
    "admin/login/": "200 200 200 302 302 302 302",
    "admin/logout/": f"{AWAY} 405 405 405 405",
    "admin/second-factor/": f"{AWAY} 200 200 200 200",
    "admin/search/": f"{AWAY} 200 200 200 200",
    "admin/invitation/<uidb64>/<token>/": "200 200 200 200 200 200 200",  # it says that the invitation is not valid
    "admin/password_change/": f"{AWAY} 200 200 200 200",
    "admin/password_change/done/": f"{AWAY} 200 200 200 200",
    "admin/autocomplete/": f"{AWAY} 403 403 403 403",  # needs the name of a field
    "admin/jsi18n/": f"{AWAY} 200 200 200 200",
    "admin/r/<path:content_type_id>/<path:object_id>/": f"{AWAY} 404 404 404 404",
    "admin/^(?P<app_label>": f"{AWAY} 200 200 200 200",
    "admin/(?P<url>.*)$": f"{AWAY} 404 404 404 404",
}

# --- The admin's models: who sees them, who may add, who may change, who may delete; S, A, O are the groups, R the superuser ----
# Staff of no group see none of it.
NOBODY = ""
MODELS = {
    "admin/logentry": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/user": ("SAOR", "R", "R", "R"),
    "auth/group": ("SAOR", "R", "R", "R"),
    "axes/accessattempt": ("SAOR", NOBODY, "R", "R"),
    "axes/accesslog": ("R", NOBODY, "R", "R"),
    "axes/accessfailurelog": ("R", NOBODY, "R", "R"),
    "knox/authtoken": ("SAOR", NOBODY, NOBODY, "OR"),
    "django_celery_beat/periodictask": ("SAOR", NOBODY, "OR", NOBODY),
    "django_celery_beat/crontabschedule": ("SAOR", "OR", "R", "R"),
    "django_celery_beat/intervalschedule": ("SAOR", "OR", "R", "R"),
    "django_celery_beat/clockedschedule": ("SAOR", "R", "R", "R"),
    "django_celery_beat/solarschedule": ("SAOR", "R", "R", "R"),
    "cbsa/area": ("SAOR", NOBODY, NOBODY, NOBODY),
    "cbsa/dataset": ("SAOR", NOBODY, NOBODY, NOBODY),
    "cbsa/importrequest": ("SAOR", "OR", NOBODY, NOBODY),
    "cbsa/importrun": ("SAOR", NOBODY, NOBODY, NOBODY),
    "cbsa/zip": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/approvalrequest": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/bankevent": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/paymentfile": ("SAOR", "OR", NOBODY, NOBODY),
    "loans/reviewitem": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/closingvalue": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/delivery": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/investor": ("SAOR", "OR", "OR", NOBODY),
    "loans/loan": ("SAOR", "OR", "OR", NOBODY),
    "loans/waitinglistentry": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/standingorder": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/standingordertransition": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/reservation": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/transfer": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/statementimport": ("SAOR", "OR", NOBODY, NOBODY),
    "loans/transition": ("SAOR", NOBODY, NOBODY, NOBODY),
    "loans/webhookendpoint": ("SAOR", "OR", "OR", NOBODY),
}
LETTERS = {"no group": "-", "Support": "S", "Auditors": "A", "Operations": "O", "superuser": "R"}
PAGES = (
    "",
    "add/",
    "csv/",
    "views/",
    "<path:object_id>/",
    "<path:object_id>/change/",
    "<path:object_id>/delete/",
    "<path:object_id>/history/",
)
# Pages of one model only, and who may get and post them.
ALONE = {
    "admin/loans/loan/<int:loan_id>/what-if/": "SAOR",
    "admin/loans/loan/<int:loan_id>/public-page/": "SAOR",
    "admin/loans/loan/<int:loan_id>/documents/add/": "OR",
    "admin/loans/loan/<int:loan_id>/documents/<int:document_id>/remove/": "OR",
    "admin/loans/loan/<int:loan_id>/documents/<int:document_id>/": "SAOR",
    "admin/loans/reviewitem/<int:item_id>/take/": "SOR",
    "admin/loans/reviewitem/<int:item_id>/give-back/": "SOR",
    "admin/loans/reviewitem/<int:item_id>/comment/": "SOR",
    "admin/loans/loan/overbooking/": "SAOR",
    "admin/loans/user/<id>/password/": "R",
    "admin/loans/user/invite/": "R",
    "admin/cbsa/dataset/prune/": "OR",
    "admin/cbsa/dataset/<int:pk>/activate/": "OR",
    "admin/cbsa/importrequest/<int:pk>/cancel/": "OR",
    "admin/loans/paymentfile/<int:pk>/download/": "SAOR",
    "admin/loans/statementimport/<int:pk>/book/": "OR",
    "admin/loans/statementimport/<int:pk>/cancel/": "OR",
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
    match = re.match(r"admin/(\w+/\w+)/(.*)", address)
    return match[1] if match and match[1] in MODELS and match[2] in PAGES else None


def page_of(address: str) -> str | None:
    return next((row for row in ADMIN if address == row or ("app_label" in row and address.startswith(row))), None)


def test_every_address_has_a_row() -> None:
    with_row = OPEN.keys() | ALONE.keys()
    missing = [address for address in sorted(addresses() - with_row) if not page_of(address) and not model_of(address)]
    assert missing == [], "add a row to a table of this file that says who may go there"


def test_every_row_has_an_address() -> None:
    routes = addresses()
    assert (OPEN.keys() | ALONE.keys()) - routes == set()
    assert {page_of(address) for address in routes} - {None} == ADMIN.keys()
    assert {model_of(address) for address in routes} - {None} == MODELS.keys()


@pytest.fixture
def reservation() -> Reservation:
    now = timezone.now()
    return reserved(LoanFactory(reference="LN-1", now=now), investor=InvestorFactory(user__username="owner"), now=now)


def person(name: str, reservation: Reservation) -> User | None:
    if name == "anonymous":
        return None
    if name == "owner":
        return reservation.investor.user
    if name == "other":
        other: User = InvestorFactory().user
        return other
    user: User = UserFactory(is_staff=True, is_superuser=name == "superuser")
    if name != "superuser":
        user.groups.set(Group.objects.filter(name=name))
    return user


def client_of(name: str, reservation: Reservation) -> tuple[Client, User | None]:
    client, user = Client(), person(name, reservation)
    if user:
        client.force_login(user)
    return client, user


def filled(address: str, reservation: Reservation) -> str:
    nobodys = str(UUID(int=0))
    values = {"reference": "LN-1", "reservation_id": str(reservation.pk), "entry_id": nobodys, "order_id": nobodys, "token_id": nobodys}
    values["zip_code"] = "90266"
    path = re.sub(r"<(?:[\w-]+:)?(\w+)>", lambda match: values.get(match[1], "0"), address)
    return "/" + {"^(?:api|ziptocbsa|cbsa)/": "api/nowhere/", "admin/(?P<url>.*)$": "admin/nowhere/"}.get(path, path)


@pytest.mark.parametrize("name", PEOPLE)
def test_outside_of_the_admin(reservation: Reservation, name: str) -> None:
    client, user = client_of(name, reservation)
    for address, both in OPEN.items():
        headers = {"Authorization": f"Bearer {AuthToken.objects.create(user)[1]}"} if user else {}
        path = filled(address, reservation)
        got, posted = (int(statuses.split()[PEOPLE.index(name)]) for statuses in both)
        refused = {404} if got == 404 == posted else {401, 403, 405}
        assert client.get(path, headers=headers, follow=not path.startswith(("/api", "/ziptocbsa", "/cbsa"))).status_code == got, address
        put, deleted = (
            ({int(statuses.split()[PEOPLE.index(name)])} for statuses in CHANGED[address]) if address in CHANGED else (refused, refused)
        )
        for method, expected in ((client.put, put), (client.patch, refused), (client.delete, deleted)):
            assert method(path, headers=headers).status_code in expected, address
        assert client.post(path, "{}", content_type="application/json", headers=headers).status_code == posted, address


def test_every_address_of_the_api_has_its_scopes() -> None:
    assert {address for address in addresses() if address.startswith("api/v1/")} == SCOPES.keys()


@pytest.mark.parametrize("scopes", [["read"], ["reserve"], ["read", "reserve"]])
def test_a_token_lets_in_where_its_scopes_say(reservation: Reservation, scopes: list[str]) -> None:
    """Where it lacks the scope, the refusal names it. Elsewhere it is answered as the owner's log-in is."""
    client, owner = Client(), reservation.investor.user
    for address, needed_scopes in SCOPES.items():
        expected = (statuses.split()[PEOPLE.index("owner")] for statuses in OPEN[address])
        for method, needed, status in zip(("get", "post"), needed_scopes.split(), expected, strict=True):
            if status == "405":
                continue
            NamedToken.objects.all().delete()  # more than 20 are needed
            _, token = create_named_token(user_id=owner.pk, generation=owner.token_generation, name="bot", scopes=scopes, days=1)
            headers = {"Authorization": f"Bearer {token}"}
            body = {"data": "{}", "content_type": "application/json"} if method == "post" else {}
            response = getattr(client, method)(filled(address, reservation), headers=headers, **body)
            if needed in {"-", *scopes}:
                assert response.status_code == int(status), (method, address)
            else:
                refusal = response.json()
                assert (response.status_code, refusal["code"]) == (403, "scope_missing"), (method, address)
                assert (refusal["needed_scope"], refusal["scopes"]) == (needed, scopes), (method, address)
                assert needed in refusal["detail"], (method, address)


@pytest.mark.parametrize("name", PEOPLE)
def test_probes(reservation: Reservation, name: str, settings: Any) -> None:
    settings.METRICS_TOKEN = "a token for the scraper"
    client, _ = client_of(name, reservation)
    for address, statuses in PROBES.items():
        assert client.get(f"/{address}").status_code == int(statuses.split()[PEOPLE.index(name)]), address


@pytest.mark.parametrize("name", PEOPLE)
def test_the_admins_own_pages(reservation: Reservation, name: str) -> None:
    client, _ = client_of(name, reservation)
    number = PEOPLE.index(name)
    for address, statuses in ADMIN.items():
        path = "/admin/loans/" if "app_label" in address else filled(address, reservation)
        assert client.get(path).status_code == int(statuses.split()[number]), address


@pytest.mark.parametrize("name", [*PEOPLE, "no group"])
def test_the_admins_models(reservation: Reservation, name: str) -> None:
    """No row has the id 0, so those who may see its pages are redirected to the list."""
    client, _ = client_of(name, reservation)
    routes = addresses()

    def check(page: str, who: str, *, posted: bool = False) -> None:
        answer = client.post(f"/{page}", {"post": "yes"}) if posted else client.get(f"/{page}")
        if name not in LETTERS:
            assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/admin/login/"), page
        else:
            assert answer.status_code in ({200, 302} if LETTERS[name] in who else {403}), (page, posted)

    for model, (see, add, change, delete) in MODELS.items():
        page = f"admin/{model}/"
        check(page, see)
        check(f"{page}add/", add)
        check(f"{page}add/", add, posted=True)
        check(f"{page}0/change/", see + change)
        check(f"{page}0/change/", change, posted=True)
        check(f"{page}0/delete/", delete)
        check(f"{page}0/delete/", delete, posted=True)
        if f"{page}csv/" in routes:
            check(f"{page}csv/", see)


@pytest.mark.parametrize("name", [*PEOPLE, "no group"])
def test_pages_of_one_model_alone(reservation: Reservation, name: str) -> None:
    client, _ = client_of(name, reservation)
    for address, who in ALONE.items():
        path = filled(address, reservation)
        allowed = {200, 404}  # no row has the id 0
        expected = {302} if name not in LETTERS else allowed if LETTERS[name] in who else {403}
        assert client.get(path).status_code in expected, address
        assert client.post(path, {}).status_code in expected, address


@pytest.mark.parametrize("name", [*PEOPLE, "no group"])
def test_a_rows_log_is_shown_to_those_who_see_the_row(reservation: Reservation, name: str) -> None:
    client, _ = client_of(name, reservation)
    rows = {
        "loans/loan": reservation.loan_id,
        "loans/reservation": reservation.pk,
        "loans/investor": reservation.investor_id,
        "loans/user": reservation.investor.user_id,
    }
    for model, pk in rows.items():
        expected = 302 if name not in LETTERS else 200 if LETTERS[name] in MODELS[model][0] else 403
        assert client.get(f"/admin/{model}/{pk}/history/").status_code == expected, model


def test_those_who_may_only_see_cannot_change_by_posting(reservation: Reservation) -> None:
    for name in ("Support", "Auditors"):
        client, _ = client_of(name, reservation)
        assert client.post(f"/admin/loans/loan/{reservation.loan_id}/change/", {"title": "Mine"}).status_code == 403
    assert Loan.objects.get().title != "Mine"
