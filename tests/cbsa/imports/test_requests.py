"""Imports that staff request, over HTTP. The tests call the task's function themselves."""

from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from cbsa.imports import requests, service
from cbsa.models import Area, Dataset, ImportRequest, ImportRun, Upload
from loans.models import Loan, User
from tests.cbsa.conftest import Import
from tests.cbsa.imports.test_faulty_files import COUNTIES, PUERTO_RICO
from tests.cbsa.publishers import METROS, ZIPS
from tests.factories import DraftFactory

pytestmark = pytest.mark.django_db

ADD = "/admin/cbsa/importrequest/add/"
WHY = "The yearly renewal of the data"


def member(group: str) -> Client:
    user = User.objects.create(username=group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operations() -> Client:
    return member("Operations")


def files(zips: str = ZIPS, metros: str = METROS, vintage: str = "2016") -> dict[str, object]:
    return {
        "vintage": vintage,
        "zips_file": SimpleUploadedFile("zips.csv", zips.encode("latin-1")),
        "metros_file": SimpleUploadedFile("metros.csv", metros.encode("latin-1")),
    }


def post_request(client: Client, **changed: str) -> ImportRequest:
    response = client.post(ADD, files(**changed))
    assert response.status_code == 302, response.context["form"].errors
    return ImportRequest.objects.latest("pk")


def page_of(request: ImportRequest) -> str:
    return f"/admin/cbsa/importrequest/{request.pk}/change/"


def in_use() -> list[str]:
    return list(Dataset.objects.filter(active=True).values_list("vintage", flat=True))


def test_a_pair_is_requested_watched_loaded_and_brought_into_use(operations: Client, run: Import) -> None:
    run(ZIPS.replace("10005,10100", "10005,10200") + "10009,10100,1,1,1,1\n")
    loan = DraftFactory(zip="10005")
    request = post_request(operations)
    assert operations.get(page_of(request))["Refresh"]
    requests.run_request(request.pk)
    shown = operations.get(page_of(request))
    assert "Refresh" not in shown
    assert in_use() == ["2015"]
    assert not Upload.objects.exists()
    text = shown.content.decode()
    for expected in (
        "<b>1</b> ZIPs move",
        "<b>1</b> of 7 are lost",
        f"{loan.reference}: Elsewhere-Town, TX becomes Doña Ana, NM",
        "10900 (1)",
    ):
        assert expected in text
    address = f"/admin/cbsa/dataset/{Dataset.objects.get(vintage='2016').pk}/activate/"
    assert operations.post(address, {"reason": "", "expected_in_use": "2015"}).context["form"].errors
    assert operations.post(address, {"reason": WHY, "expected_in_use": "2015", "force": "on"}).status_code == 302
    assert in_use() == ["2016"]
    assert Loan.objects.get().market_msa == "Doña Ana, NM"
    assert ImportRun.objects.filter(outcome="activated", detail=WHY, actor="Operations").exists()
    back = f"/admin/cbsa/dataset/{Dataset.objects.get(vintage='2015').pk}/activate/"
    moved = operations.post(back, {"reason": WHY, "expected_in_use": "2015"})
    assert "2016 is in use by now" in moved.content.decode()
    assert operations.post(back, {"reason": WHY, "expected_in_use": "2016"}).status_code == 302
    assert in_use() == ["2015"]
    operations.post("/admin/cbsa/dataset/prune/", {"keep": "0", "reason": WHY})
    assert list(Dataset.objects.values_list("vintage", flat=True)) == ["2015"]


def test_a_great_loss_asks_for_a_tick(operations: Client, run: Import) -> None:
    run()
    requests.run_request(post_request(operations, zips=ZIPS.replace(ZIPS.splitlines()[-1], "")).pk)
    address = f"/admin/cbsa/dataset/{Dataset.objects.get(vintage='2016').pk}/activate/"
    assert "Tick the box" in operations.post(address, {"reason": WHY, "expected_in_use": "2015"}).content.decode()
    assert in_use() == ["2015"]
    operations.post(address, {"reason": WHY, "expected_in_use": "2015", "force": "on"})
    assert in_use() == ["2016"]


def test_bad_rows_are_listed_by_the_files_own_name(operations: Client) -> None:
    request = post_request(operations, zips=ZIPS + "1000X,10100,1,1,1,1\n")
    requests.run_request(request.pk)
    request.refresh_from_db()
    assert (request.state, request.report["rejects"][0]["file"], request.report["rejects"][0]["line"]) == ("refused", "zips.csv", 10)
    assert "is not five digits" in operations.get(page_of(request)).content.decode()
    assert not Upload.objects.exists()


def test_a_second_census_file_is_loaded_with_the_first(operations: Client) -> None:
    second = {"more_metros_file": SimpleUploadedFile("pr.csv", PUERTO_RICO.encode("latin-1"))}
    assert operations.post(ADD, files() | second).status_code == 302
    request = ImportRequest.objects.get()
    assert "pr.csv" in operations.get(page_of(request)).content.decode()
    requests.run_request(request.pk)
    request.refresh_from_db()
    assert (request.state, request.report["absent"]) == ("loaded", {})
    assert Area.objects.filter(dataset=request.dataset, cbsa="10900").exists()
    assert not Upload.objects.exists()


def test_an_address_of_a_second_census_file_is_fetched_and_kept_without_its_secrets(operations: Client) -> None:
    address = "http://127.0.0.1:9/pr.csv?token=secret"
    assert operations.post(ADD, files() | {"more_metros_address": address}).status_code == 302
    request = ImportRequest.objects.get()
    assert "secret" not in operations.get(page_of(request)).content.decode()
    requests.run_request(request.pk)
    request.refresh_from_db()
    assert (request.state, request.more_metros) == ("refused", "http://127.0.0.1:9/pr.csv")
    assert "not a public address" in request.detail


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x", "http://[::1]/x", "http://169.254.169.254/x"])
def test_a_private_address_is_refused(operations: Client, address: str) -> None:
    operations.post(ADD, {"vintage": "2016", "zips_address": address, "metros_address": address})
    request = ImportRequest.objects.get()
    requests.run_request(request.pk)
    request.refresh_from_db()
    assert request.state == "refused"
    assert "not a public address" in request.detail


@pytest.mark.parametrize(
    "changed",
    [
        {"zips_address": "http://example.org/x"},
        {"zips_file": ""},
        {"zips_file": "", "zips_address": "file:///etc/passwd"},
        {"more_metros_address": "file:///etc/passwd"},
        {"more_metros_file": SimpleUploadedFile("pr.csv", b"x"), "more_metros_address": "http://example.org/x"},
    ],
)
def test_what_cannot_be_requested(operations: Client, changed: dict[str, str]) -> None:
    assert operations.post(ADD, files() | changed).context["form"].errors
    assert not ImportRequest.objects.exists()


@pytest.mark.parametrize(("name", "accepted"), [("☃" * 85, True), ("☃" * 86, False), ("a" * 100, True)])
def test_a_name_that_no_file_can_have_is_refused(operations: Client, name: str, accepted: bool) -> None:
    form = files() | {"zips_file": SimpleUploadedFile(name, ZIPS.encode())}
    answer = operations.post("/admin/cbsa/importrequest/add/", form)
    assert answer.status_code == (302 if accepted else 200)
    assert [requests.run_request(request.pk) for request in ImportRequest.objects.all()] == [
        f"Request {request.pk} is loaded." for request in ImportRequest.objects.all()
    ]
    assert ImportRequest.objects.count() == accepted


@pytest.mark.parametrize("group", ["Support", "Auditors"])
def test_other_groups_only_see(operations: Client, run: Import, group: str) -> None:
    run()
    request = post_request(operations)
    requests.run_request(request.pk)
    other, loaded = member(group), Dataset.objects.get(vintage="2016")
    page = other.get(page_of(request)).content.decode()
    assert "/cancel/" not in page
    assert "/activate/" not in page
    assert other.post(ADD, files()).status_code == 403
    for address in (f"importrequest/{request.pk}/cancel/", f"dataset/{loaded.pk}/activate/", "dataset/prune/"):
        assert other.post(f"/admin/cbsa/{address}", {"reason": WHY, "expected_in_use": "2015", "keep": "0"}).status_code == 403
    assert in_use() == ["2015"]
    assert Dataset.objects.count() == 2


def test_a_killed_worker_is_replaced_three_times_at_most(operations: Client) -> None:
    request = post_request(operations)
    for _ in range(requests.MOST_ATTEMPTS):
        assert requests.unleased_requests() == [request.pk]
        assert requests._lease(request.pk) is not None
        assert requests._lease(request.pk) is None, "held by the first"
        assert requests.unleased_requests() == []
        ImportRequest.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert requests.unleased_requests() == []
    request.refresh_from_db()
    assert request.state == "failed"
    assert "Request it again" in request.detail


@pytest.mark.parametrize("meanwhile", ["canceled", "taken over"])
def test_a_worker_that_lost_its_lease_loads_nothing(operations: Client, monkeypatch: pytest.MonkeyPatch, meanwhile: str) -> None:
    request = post_request(operations)
    load = service.load

    def loaded_late(*arguments: object) -> Dataset:
        dataset = load(*arguments)  # type: ignore[arg-type]
        if meanwhile == "canceled":
            operations.post(f"/admin/cbsa/importrequest/{request.pk}/cancel/", {"reason": WHY})
        else:
            ImportRequest.objects.update(leased_until=timezone.now())
            assert requests._lease(request.pk) is not None
        return dataset

    monkeypatch.setattr(service, "load", loaded_late)
    assert "canceled, or another worker has it" in requests.run_request(request.pk)
    assert not Dataset.objects.exists()


def test_a_canceled_requests_dataset_is_deleted(operations: Client, run: Import) -> None:
    run()
    request = post_request(operations)
    requests.run_request(request.pk)
    assert "not free" in requests.run_request(request.pk)
    operations.post(f"/admin/cbsa/importrequest/{request.pk}/cancel/", {"reason": WHY})
    assert list(Dataset.objects.values_list("vintage", flat=True)) == ["2015"]
    assert WHY in operations.get(page_of(request)).content.decode()


def test_the_page_shows_every_warning_and_speaks_of_no_option(operations: Client) -> None:
    request = post_request(operations, metros=METROS.replace("Metropolitan Division", "Metro Division"))
    requests.run_request(request.pk)
    page = unescape(operations.get(page_of(request)).content.decode())
    assert "LSAD 'Metro Division' is none that the rule knows" in page
    assert "are both files of the same vintage?" in page
    for zips in (ZIPS + "1000X,10100,1,1,1,1\n", COUNTIES, ZIPS + "10002,20000,1,1,1,1\n"):
        refused = post_request(operations, zips=zips, vintage="2017")
        requests.run_request(refused.pk)
        refused.refresh_from_db()
        assert refused.state == "refused"
        assert (
            "--"
            not in unescape(operations.get(page_of(refused)).content.decode())
            .partition('class="module office"')[2]
            .partition("</section>")[0]
        )
