"""Refuse what only a crafted request sends to the admin: values in the query, the selection or the address that no row can have.

Django's admin filters by each name in the query and leaves bad values to the database. It would answer them with a fault.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.core.exceptions import BadRequest, FieldError, ValidationError
from django.db import DataError, NotSupportedError, ProgrammingError
from django.http import Http404, HttpRequest, HttpResponseBase

logger = logging.getLogger(__name__)

# What Django, Python and PostgreSQL raise for values that they cannot convert or compare.
BAD_VALUE = (
    IncorrectLookupParameters,
    DataError,
    ProgrammingError,
    NotSupportedError,
    FieldError,
    ValidationError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


def refuse_crafted(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Make a view of the admin answer crafted requests with 400, or 404 where the address is crafted.

    The errors of a page with a query count as the query's. They are logged, since a fault of ours would look the same.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if "\0" in unquote(str(kwargs.get("object_id", ""))):
            raise Http404("No row has this key.")
        try:
            if request.method == "POST":
                _try_list(getattr(view, "__self__", None), request)
            else:
                response = view(request, *args, **kwargs)
                return response.render() if hasattr(response, "render") else response
        except BAD_VALUE as error:
            if not (request.GET or request.method == "POST"):
                raise
            logger.warning("A request for %s was refused: %s", request.path, type(error).__name__, exc_info=True)
            raise BadRequest("The request has a value that is not possible here.") from error
        return view(request, *args, **kwargs)

    return answer


def _try_list(page: Any, request: HttpRequest) -> None:
    """Read the selected rows, and the list that the query filters, as the view will. An action must not begin with bad values."""
    selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
    if selected and hasattr(page, "get_changelist_instance"):
        page.get_queryset(request).filter(pk__in=selected).exists()
        if request.GET:
            page.get_changelist_instance(request)
