"""Decide which requests an investor's token allows, by its scopes (loans/domain/scopes.py)."""

from typing import Any

from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.request import Request

from loans.domain.errors import ScopeMissing
from loans.domain.scopes import Scope
from loans.models import Investor


def scope_of(view: Any, method: str | None) -> Scope:
    """Return the scope that a request needs: that of the view, else `read` to read and `reserve` for the rest."""
    scope: Scope = getattr(view, "scope", Scope.READ if method in SAFE_METHODS else Scope.RESERVE)
    return scope


class IsInvestor(IsAuthenticated):
    """Let investors in whose token has the scope that the request needs. Staff are not investors.

    Raises: ScopeMissing.
    """

    message = "Only investors may do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        if not super().has_permission(request, view) or not hasattr(request.user, "investor"):
            return False
        needed = scope_of(view, request.method)
        token: Any = request.auth
        if needed not in token.scopes:
            raise ScopeMissing(f"This token lacks the scope {needed}.", needed_scope=needed, scopes=sorted(token.scopes))
        return True


def investor_of(request: Request) -> Investor:
    """Return the request's investor, in a view that only IsInvestor lets into."""
    return request.user.investor  # type: ignore[union-attr]
