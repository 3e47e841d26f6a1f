"""Named tokens do what their scopes name, and no more, until they are revoked."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from knox.models import AuthToken

from loans.domain.errors import NotPermitted
from loans.models import Loan, NamedToken
from loans.services.named_tokens import MOST_TOKENS, create_named_token, generation_of_log_in
from loans.services.retention import delete_ended_access_data
from tests.loans.api.conftest import Caller

TOKEN = {"name": "Portfolio bot", "scopes": ["reserve", "read"], "days": 7}


def test_a_token_is_shown_once_and_listed(investor: Caller) -> None:
    made = investor.post("tokens/", TOKEN)
    assert made.status_code == 201
    body = made.json()
    text = body.pop("token")
    assert (body["name"], body["scopes"]) == ("Portfolio bot", ["read", "reserve"])
    listed = investor.get("tokens/")
    assert listed.json() == {"results": [body]}
    assert text not in listed.content.decode()


def test_each_scope_lets_in_only_what_it_names(investor: Caller, loan: Loan) -> None:
    reserve = f"loans/{loan.reference}/reservations/"
    for scopes, reads, reserves in ((["read"], 200, 403), (["reserve"], 403, 201), (["read", "reserve"], 200, 201)):
        program = investor.token_with(scopes)
        assert program.get("portfolio/").status_code == reads, scopes
        made = program.post(reserve, {"amount": 1000})
        assert made.status_code == reserves, scopes
        for refused in (program.get("tokens/"), program.post("tokens/", TOKEN)):
            assert (refused.status_code, refused.json()["needed_scope"]) == (403, "account")


def test_a_revoked_token_ends_at_once_and_only_its_owner_revokes_it(investor: Caller, new_investor: Callable[..., Caller]) -> None:
    program = investor.token_with(["read"])
    assert program.get("portfolio/").status_code == 200
    revoke = f"tokens/{NamedToken.objects.get().pk}/revoke/"
    assert new_investor().post(revoke).status_code == 404
    assert program.get("portfolio/").status_code == 200
    assert investor.post(revoke).status_code == 204
    assert program.get("portfolio/").status_code == 401
    assert investor.post(revoke).status_code == 404
    assert investor.get("portfolio/").status_code == 200


def test_a_program_may_log_itself_out(investor: Caller) -> None:
    program = investor.token_with(["read"])
    assert program.post("auth/logout/").status_code == 204
    assert program.get("portfolio/").status_code == 401
    assert not NamedToken.objects.exists()


def test_a_new_password_ends_named_tokens(investor: Caller) -> None:
    program = investor.token_with(["read"])
    assert program.get("portfolio/").status_code == 200
    assert investor.user
    investor.user.set_password("another long password")
    investor.user.save()
    assert program.get("portfolio/").status_code == 401


def test_a_log_in_that_is_remembered_makes_no_token_after_a_new_password(investor: Caller) -> None:
    assert investor.user
    user_id, (digest,) = investor.user.pk, AuthToken.objects.values_list("digest", flat=True)
    generation = generation_of_log_in(user_id=user_id, digest=digest)
    investor.user.set_password("another long password")
    investor.user.save()
    with pytest.raises(NotPermitted):
        create_named_token(user_id=user_id, generation=generation, name="x", scopes=["read"], days=1)
    AuthToken.objects.all().delete()
    with pytest.raises(NotPermitted):
        generation_of_log_in(user_id=user_id, digest=digest)


def test_the_number_of_tokens_is_limited(investor: Caller) -> None:
    for _ in range(MOST_TOKENS):
        investor.token_with(["read"])
    assert investor.post("tokens/", TOKEN).status_code == 400
    assert len(investor.get("tokens/").json()["results"]) == MOST_TOKENS


def test_a_named_token_without_its_scopes_has_none(investor: Caller) -> None:
    program = investor.token_with(["read"])
    NamedToken.objects.all().delete()
    assert program.get("portfolio/").status_code == 401


def test_scopes_are_refused_that_no_program_may_have(investor: Caller) -> None:
    for scopes in ([], ["account"], ["read", "write"], "read"):
        assert investor.post("tokens/", TOKEN | {"scopes": scopes}).json()["code"] == "invalid", scopes


def test_an_ended_named_token_is_deleted_and_counted_once(investor: Caller) -> None:
    investor.token_with(["read"])
    long_ago = timezone.now() - timedelta(days=31)
    NamedToken.objects.update(expires_at=long_ago)
    AuthToken.objects.filter(digest=NamedToken.objects.get().digest).update(expiry=long_ago)
    assert investor.get("tokens/").json() == {"results": []}
    assert delete_ended_access_data() == 1
    assert not NamedToken.objects.exists()
