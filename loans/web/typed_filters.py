"""Read the market's filters as visitors type them: a state by its name, numbers with signs and commas."""

from django.http import QueryDict

STATES = {
    "alabama": "AL",
    "alaska": "AK",
    "arizona": "AZ",
    "arkansas": "AR",
    "california": "CA",
    "colorado": "CO",
    "connecticut": "CT",
    "delaware": "DE",
    "district of columbia": "DC",
    "florida": "FL",
    "georgia": "GA",
    "hawaii": "HI",
    "idaho": "ID",
    "illinois": "IL",
    "indiana": "IN",
    "iowa": "IA",
    "kansas": "KS",
    "kentucky": "KY",
    "louisiana": "LA",
    "maine": "ME",
    "maryland": "MD",
    "massachusetts": "MA",
    "michigan": "MI",
    "minnesota": "MN",
    "mississippi": "MS",
    "missouri": "MO",
    "montana": "MT",
    "nebraska": "NE",
    "nevada": "NV",
    "new hampshire": "NH",
    "new jersey": "NJ",
    "new mexico": "NM",
    "new york": "NY",
    "north carolina": "NC",
    "north dakota": "ND",
    "ohio": "OH",
    "oklahoma": "OK",
    "oregon": "OR",
    "pennsylvania": "PA",
    "puerto rico": "PR",
    "rhode island": "RI",
    "south carolina": "SC",
    "south dakota": "SD",
    "tennessee": "TN",
    "texas": "TX",
    "utah": "UT",
    "vermont": "VT",
    "virginia": "VA",
    "washington": "WA",
    "west virginia": "WV",
    "wisconsin": "WI",
    "wyoming": "WY",
}
NUMBERS = ("min_rate", "max_ltv", "min_remaining")


def normalized(filters: QueryDict) -> QueryDict:
    """Return the filters as the list takes them: "California" as CA, "9 %" as 9, "$100,000" as 100000. What is something else stays."""
    result = filters.copy()
    if "state" in result:
        typed = str(result["state"]).strip()
        result["state"] = STATES.get(" ".join(typed.lower().split()), typed)
    for field in NUMBERS:
        if field in result:
            result[field] = str(result[field]).replace(",", "").replace("$", "").replace("%", "").strip()
    return result
