"""The OpenAPI document is complete, matches its snapshot, and has examples."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from rest_framework.serializers import Serializer

from loans.api import examples, serializers

SNAPSHOT = Path(__file__).with_name("openapi.json")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("schema") / "openapi.json"
    call_command("spectacular", format="openapi-json", file=str(file), validate=True, fail_on_warn=True)
    return json.loads(file.read_text())


def test_the_snapshot_is_current(document: dict[str, Any]) -> None:
    assert document == json.loads(SNAPSHOT.read_text()), "the API has changed: look whether that is meant, then `make schema`"


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/api/v1/"):
                yield f"{method} {path}", operation


def test_every_answer_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                assert content.get("examples"), f"{name} {status} {media_type}"
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            assert content.get("examples"), f"{name} {media_type}"


@pytest.mark.parametrize(
    ("serializer_class", "example"),
    [
        (serializers.LoanDetailSerializer, examples.LOAN | examples.LOAN_DETAILS),
        (serializers.ReservationDetailSerializer, examples.PENDING | {"number": 1, "queue_position": 1}),
        (serializers.TransferSerializer, examples.TRANSFER),
        (serializers.TransitionSerializer, examples.TRANSITION),
        (serializers.PortfolioSerializer, examples.PORTFOLIO),
        (serializers.MarketTotalSerializer, examples.MARKET_TOTAL),
    ],
)
def test_examples_have_the_declared_fields(serializer_class: type[Serializer], example: dict[str, Any]) -> None:
    assert list(serializer_class().fields) == list(example)


@pytest.mark.parametrize("media_type", ["application/json", "application/vnd.oai.openapi"])
def test_the_document_is_made_once_for_each_media_type(client: Client, monkeypatch: pytest.MonkeyPatch, media_type: str) -> None:
    first = client.get("/api/schema/", headers={"Accept": media_type})
    monkeypatch.setattr("peerloans.api.openapi.OpenApiView.generator_class", None)
    again = client.get("/api/schema/", headers={"Accept": media_type})
    assert (again.status_code, again.content) == (200, first.content)
    assert first.headers["Content-Type"].startswith(media_type)
    assert first.headers["Content-Disposition"].startswith('inline; filename="peerloans.')
