"""Make text safe in a CSV file that people open in a spreadsheet."""

import re

# A spreadsheet runs a cell that starts with one of these, also the wide forms of East Asian fonts. Where the list separator is a
# semicolon, as in much of Europe, it also starts a cell after each semicolon or new line within a text.
_FORMULA = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=[\s\"]*[=+\-@＝＋－＠])")


def escape_formula(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would run as a formula."""
    return _FORMULA.sub("'", text)
