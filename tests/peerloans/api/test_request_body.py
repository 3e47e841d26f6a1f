"""Every call that reads a body refuses one that is null, by the same sentence."""

import pytest
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/v1/auth/token/", "/ziptocbsa"])
def test_null_is_no_body(client: Client, path: str) -> None:
    response = client.post(path, "null", content_type="application/json")
    assert response.status_code == 400
    assert response.json()["errors"] == {"non_field_errors": ["No data provided"]}
