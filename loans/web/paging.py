"""Read the number of a page from an address."""

from django.http import Http404

LAST_PAGE_NUMBER = 9999


def page_number(text: str) -> int:
    """Return the number. Raises Http404 where the text is none, or there is no such page."""
    # int() alone would also take signs, spaces, underscores and other scripts' digits, and millions of digits slowly.
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(LAST_PAGE_NUMBER)) and int(text)):
        raise Http404("There is no such page of loans.")
    return int(text)
