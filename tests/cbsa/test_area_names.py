import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsa.area_names import AreaName, Match, query_words, search_text, without_begun_filler, words_of

LOS_ANGELES = "Los Angeles-Long Beach-Anaheim, CA"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Winston-Salem", ["winston", "salem"]),
        ("WINSTON  SALEM!", ["winston", "salem"]),
        ("Doña Ana", ["dona", "ana"]),
        ("Cañon City, CO", ["canon", "city", "co"]),
        ("Can\u0303on", ["canon"]),
        ("Coeur d'Alene", ["coeur", "dalene"]),
        ("Coeur d\u2019Alene", ["coeur", "dalene"]),
        ("St. Louis", ["st", "louis"]),
        ("Saint Louis", ["st", "louis"]),
        ("Fort Wayne", ["ft", "wayne"]),
        ("Louisville/Jefferson County", ["louisville", "jefferson", "county"]),
        ("Los Angeles\u2013Long Beach", ["los", "angeles", "long", "beach"]),
        ("!?, -", []),
        ("ＮＥＷ ＹＯＲＫ", ["new", "york"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LA metro", ["la"]),
        ("Bay Area", ["bay", "area"]),
        ("the greater Boston area", ["boston"]),
        ("metro", ["metro"]),
        ("", []),
        ("msa 31080", ["31080"]),
    ],
)
def test_fillers_count_only_where_nothing_else_is_left(text: str, words: list[str]) -> None:
    assert query_words(text) == words


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["la", "met"], ["la"]),
        (["la", "m"], ["la"]),
        (["la", "x"], ["la", "x"]),
        (["met"], ["met"]),
        (["la", "metairie"], ["la", "metairie"]),
    ],
)
def test_a_filler_that_is_being_typed(words: list[str], without: list[str]) -> None:
    assert without_begun_filler(words) == without


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        (LOS_ANGELES, "los angeles", Match.FIRST_CITY),
        (LOS_ANGELES, "la", Match.FIRST_CITY),
        (LOS_ANGELES, "LA metro", Match.FIRST_CITY),
        (LOS_ANGELES, "los angeles ca", Match.FIRST_CITY),
        (LOS_ANGELES, "Los Angeles, Calif", Match.FIRST_CITY),
        (LOS_ANGELES, "long beach", Match.OTHER_CITY),
        (LOS_ANGELES, "anaheim california", Match.OTHER_CITY),
        (LOS_ANGELES, "los", Match.FIRST_CITY_BEGUN),
        (LOS_ANGELES, "los angeles long be", Match.FIRST_CITY_BEGUN),
        (LOS_ANGELES, "anah", Match.OTHER_CITY_BEGUN),
        (LOS_ANGELES, "beach", Match.WORDS),
        ("New York-Newark-Jersey City, NY-NJ-PA", "New York NJ", Match.FIRST_CITY),
        ("New York-Newark-Jersey City, NY-NJ-PA", "nyc", Match.FIRST_CITY),
        ("Portland-South Portland, ME", "Portland Maine", Match.FIRST_CITY),
        ("Portland-South Portland, ME", "portland or", Match.WORDS),
        ("Nashville-Davidson--Murfreesboro--Franklin, TN", "murfreesboro", Match.OTHER_CITY),
        ("Louisville/Jefferson County, KY-IN", "louisville", Match.FIRST_CITY),
        ("Washington-Arlington-Alexandria, DC-VA-MD-WV", "dc", Match.FIRST_CITY),
        ("San Francisco-Oakland-Hayward, CA", "the bay area", Match.WORDS),
        ("San Francisco-Oakland-Hayward, CA", "bay area", Match.FIRST_CITY),
        ("Washington, NC", "dc", Match.WORDS),
        ("Orange County, CA", "orange county", Match.FIRST_CITY),
        ("St. Louis, MO-IL", "saint louis", Match.FIRST_CITY),
    ],
)
def test_matches(name: str, text: str, match: Match) -> None:
    assert AreaName(name).match(query_words(text)) is match


def test_what_an_area_is_found_by() -> None:
    assert search_text(LOS_ANGELES, is_county=False) == "los angeles long beach anaheim ca california la"
    assert search_text("Doña Ana County, NM", is_county=True) == "dona ana county nm new mexico"
    assert search_text("St. Louis, MO-IL", is_county=False).split()[:6] == ["st", "louis", "mo", "il", "missouri", "illinois"]
    assert "saint" in search_text("St. Louis, MO-IL", is_county=False)


@given(st.text(max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    words = query_words(text)
    assert all(word == word.casefold() or not word.isascii() for word in words)
    if words:
        assert AreaName(text).match(words) in Match
        assert without_begun_filler(words)
    search_text(text, is_county=False)
