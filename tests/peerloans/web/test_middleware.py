"""Which requests go through the middleware that serves browsers."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "is_page"),
    [("/", True), ("/zip/", True), ("/admin/login/", True), ("/api/docs/", True), ("/api/v1/loans/", False), ("/ziptocbsa/90266", False)],
)
def test_only_pages_go_through_the_middleware_for_browsers(client: Client, path: str, is_page: bool) -> None:
    response = client.get(path)
    assert hasattr(response.wsgi_request, "session") is is_page
    assert ("Content-Security-Policy" in response.headers) is is_page
