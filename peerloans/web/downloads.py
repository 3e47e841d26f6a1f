"""Limit how many files a visitor or a user of the pages may get. The rate is the setting THROTTLE_DOWNLOAD in peerloans/settings.py."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from peerloans.api.throttling import DownloadThrottle


def limited_download(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let the view answer only as long as the caller has not had too many files."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        downloads = DownloadThrottle()
        if downloads.allow_request(request):
            return view(request, *args, **kwargs)
        seconds = math.ceil(downloads.wait())
        page = render(request, "429.html", {"seconds": seconds}, status=429)
        page.headers["Retry-After"], page.headers["Cache-Control"] = str(seconds), "no-store"
        return page

    return answer
