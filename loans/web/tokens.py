"""Serve the page on which an investor makes, lists and revokes the tokens of programs."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from loans.models import Investor
from loans.services.named_tokens import create_named_token, named_tokens_of, revoke_named_token
from loans.web.account import READS, account_page
from loans.web.forms import TokenForm
from peerloans.api.error_statuses import STATUSES
from peerloans.errors import Problem


@account_page(*READS, "POST")
def token_list(request: HttpRequest, investor: Investor) -> HttpResponse:
    """List the investor's tokens, and make one. Its text is in this answer and in no later one."""
    form, status, problem, new_token = TokenForm(request.POST or None), 200, "", ""
    if request.method == "POST":
        status = 400
        if form.is_valid():
            user = investor.user  # The session was checked against this user's password, so its generation is that of the password.
            try:
                _, new_token = create_named_token(user_id=user.pk, generation=user.token_generation, **form.cleaned_data)
            except Problem as error:
                problem, status = error.detail, STATUSES.get(error.code, 409)
            else:
                form, status = TokenForm(), 200
    context = {"section": "tokens", "form": form, "problem": problem, "new_token": new_token, "tokens": named_tokens_of(investor.user_id)}
    return render(request, "loans/account/tokens.html", context, status=status)


@account_page("POST")
def token_revoke(request: HttpRequest, investor: Investor, token_id: UUID) -> HttpResponse:
    revoke_named_token(user_id=investor.user_id, token_id=token_id)
    return redirect("loans:tokens")
