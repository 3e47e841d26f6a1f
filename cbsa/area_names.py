"""Normalize the names of areas, and rank how well a name matches what somebody typed. Pure functions.

The Census Bureau names an area by up to three principal cities and its states: "Los Angeles-Long Beach-Anaheim, CA". People
write "los angeles", "LA metro", "Portland Maine", "St Louis" or "winston salem".
"""

import re
import unicodedata
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

STATES = {
    "al": "alabama",
    "ak": "alaska",
    "az": "arizona",
    "ar": "arkansas",
    "ca": "california",
    "co": "colorado",
    "ct": "connecticut",
    "de": "delaware",
    "dc": "district of columbia",
    "fl": "florida",
    "ga": "georgia",
    "hi": "hawaii",
    "id": "idaho",
    "il": "illinois",
    "in": "indiana",
    "ia": "iowa",
    "ks": "kansas",
    "ky": "kentucky",
    "la": "louisiana",
    "me": "maine",
    "md": "maryland",
    "ma": "massachusetts",
    "mi": "michigan",
    "mn": "minnesota",
    "ms": "mississippi",
    "mo": "missouri",
    "mt": "montana",
    "ne": "nebraska",
    "nv": "nevada",
    "nh": "new hampshire",
    "nj": "new jersey",
    "nm": "new mexico",
    "ny": "new york",
    "nc": "north carolina",
    "nd": "north dakota",
    "oh": "ohio",
    "ok": "oklahoma",
    "or": "oregon",
    "pa": "pennsylvania",
    "pr": "puerto rico",
    "ri": "rhode island",
    "sc": "south carolina",
    "sd": "south dakota",
    "tn": "tennessee",
    "tx": "texas",
    "ut": "utah",
    "vt": "vermont",
    "va": "virginia",
    "wa": "washington",
    "wv": "west virginia",
    "wi": "wisconsin",
    "wy": "wyoming",
}

ALIASES = {
    "dallas": ("dfw",),
    "minneapolis": ("twin cities",),
    "new orleans": ("nola",),
    "new york": ("nyc", "manhattan", "brooklyn", "staten island"),
    "philadelphia": ("philly",),
    "san francisco": ("bay area",),
    "san jose": ("silicon valley",),
    "washington": ("dc",),
}
"""What people call an area whose first city has this name. Its initials, such as "la", are added to these."""
ALIASED_STATES = {"new york": "ny", "washington": "dc", "san jose": "ca", "philadelphia": "pa"}
"""The state of the area that is meant where several areas begin with such a city."""

NAMES_REMEMBERED = 5_000  # a census file has about 3,000
SHORT_WORDS = {"saint": "st", "sainte": "ste", "fort": "ft", "mount": "mt"}
FILLERS = {"area", "cbsa", "greater", "metro", "metropolitan", "micropolitan", "msa", "statistical", "the"}


class Match(IntEnum):
    """How well a name matches, the best first."""

    FIRST_CITY = 0  # its first city or an alias, alone or with the state: "portland", "portland me"
    OTHER_CITY = 1
    FIRST_CITY_BEGUN = 2  # "los ang"
    OTHER_CITY_BEGUN = 3
    WORDS = 4  # all words are in the name, in any order


def words_of(text: str) -> list[str]:
    """Return the words of a text without regard to case, accents and punctuation. Fort, Mount and Saint are abbreviated."""
    decomposed = unicodedata.normalize("NFKD", text.replace("\N{MODIFIER LETTER APOSTROPHE}", ""))
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()
    words = re.findall(r"[^\W_]+", re.sub(r"['\u2019.]", "", plain))
    return [SHORT_WORDS.get(word, word) for word in words]


def query_words(text: str) -> list[str]:
    """Return the words to look for. Fillers such as "metro" count only in an alias, or where nothing else is left."""
    words = words_of(text)
    if any(" ".join(words) in aliases for aliases in ALIASES.values()):
        return words
    telling = [word for word in words if word not in FILLERS]
    return telling or words


def without_begun_filler(words: Sequence[str]) -> list[str]:
    """Return the words without a last one that may become a filler, as in "la met"; the same words where it cannot."""
    *others, last = words
    begun = any(filler.startswith(last) for filler in FILLERS)
    return others if others and begun else list(words)


@lru_cache(maxsize=NAMES_REMEMBERED)
def area_name(name: str) -> "AreaName":
    """Return the parts of a name. They are remembered, as a search of one letter ranks hundreds of names."""
    return AreaName(name)


class AreaName:
    """The parts of an area's name: its cities and states, as words."""

    def __init__(self, name: str) -> None:
        cities, _, states = name.rpartition(", ")
        if not cities:
            cities, states = states, ""
        self.cities = [words_of(city) for city in re.split(r"--|[-\u2013\u2014/]", cities)]
        self.states = [word for word in words_of(states) if word in STATES]
        self.state_words = [*self.states, *(word for state in self.states for word in STATES[state].split())]
        first = " ".join(self.cities[0])
        aliases = ALIASES.get(first, ()) if ALIASED_STATES.get(first, "") in ("", *self.states) else ()
        initials = "".join(word[0] for word in self.cities[0]) if len(self.cities[0]) > 1 else ""
        self.aliases = [alias.split() for alias in (*aliases, *filter(None, [initials]))]

    def match(self, words: Sequence[str]) -> Match:
        """Return how well the words, all of which begin words of this name, match it."""
        first, *others = self.cities
        if any(self._is(city, words) for city in (first, *self.aliases)):
            return Match.FIRST_CITY
        if any(self._is(city, words) for city in others):
            return Match.OTHER_CITY
        typed = " ".join(words)
        if " ".join(first).startswith(typed) or " ".join(word for city in self.cities for word in city).startswith(typed):
            return Match.FIRST_CITY_BEGUN
        if any(" ".join(city).startswith(typed) for city in others):
            return Match.OTHER_CITY_BEGUN
        return Match.WORDS

    def _is(self, city: Sequence[str], words: Sequence[str]) -> bool:
        """Return whether the words are the city, with nothing behind it but its states."""
        rest = words[len(city) :]
        return list(words[: len(city)]) == list(city) and all(self._begins_state(word) for word in rest)

    def _begins_state(self, word: str) -> bool:
        return any(state.startswith(word) for state in self.state_words)


def search_text(name: str, *, is_county: bool) -> str:
    """Return the words by which an area is found: of its name, its states and its aliases."""
    area = AreaName(name)
    words = [*words_of(name), *area.state_words]
    words += [long for long, short in SHORT_WORDS.items() if short in words]  # for somebody who is still typing "sain"
    if not is_county:
        words += [word for alias in area.aliases for word in alias]
    return " ".join(dict.fromkeys(words))
