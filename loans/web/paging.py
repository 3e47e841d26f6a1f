"""Say how many rows the lists on the web pages show, and read the number of a page from an address.

The lists of the API are paged by peerloans/api/pagination.py, those of the back office by peerloans/admin/base.py.
"""

from django.http import Http404

LOANS_PER_PAGE = 24  # fills rows of two, three and four
RESERVATIONS_PER_PAGE = 25
WATCHES_PER_PAGE = 25
LAST_PAGE_NUMBER = 9999


def page_number(text: str) -> int:
    """Return the number. Raises Http404 where the text is none, or there is no such page."""
    # int() alone would also take signs, spaces, underscores and other scripts' digits, and millions of digits slowly.
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(LAST_PAGE_NUMBER)) and int(text)):
        raise Http404("There is no such page of loans.")
    return int(text)
