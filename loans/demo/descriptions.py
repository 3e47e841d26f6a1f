"""Describe each loan of the demo, by its title: what it is for, who borrows, and the lien."""

from typing import NamedTuple

from loans.domain.loan_terms import BorrowerType


class Description(NamedTuple):
    """What an investor reads of a loan."""

    borrower_type: BorrowerType
    text: str
    lien_position: int = 1


_COMPANY, _INDIVIDUAL = BorrowerType.COMPANY, BorrowerType.INDIVIDUAL
_TRUST, _PARTNERSHIP = BorrowerType.TRUST, BorrowerType.PARTNERSHIP

DESCRIPTIONS = {
    "Beach duplex renovation": Description(
        _COMPANY,
        "A builder from the South Bay renovates both halves of a 1950s duplex, three streets from the beach. Kitchens, "
        "baths and the roof are "
        "new when it is done; the walls stay.\n\nThe permits are issued. The borrower has finished four such houses in "
        "the area, and sells or "
        "refinances this one at the end of the term.",
    ),
    "Brownstone on Henry Street": Description(
        _PARTNERSHIP,
        "Four floors of 1861 in Brooklyn Heights, let as five apartments. The partners replace the heating and the "
        "windows while the tenants "
        "stay.\n\nThe rent of the five apartments covers the interest 1.4 times.",
    ),
    "Three-flat in Lincoln Park": Description(
        _INDIVIDUAL,
        "The owner lives on the first floor and lets the two above. The loan pays for a new porch, wiring and "
        "insulation.\n\nBoth flats are "
        "let through next summer.",
    ),
    "Townhouses off Westheimer": Description(
        _COMPANY,
        "Two townhouses of a row of six that the borrower built. The other four are sold.\n\nThe loan bridges the time "
        "until the last two are, "
        "and is paid from their sale.",
    ),
    "Adobe ranch, Old Town": Description(
        _INDIVIDUAL,
        "A single-story adobe of 1948 with a new guest house behind it. The loan pays for the guest house, the pool and the shade garden.",
    ),
    "Mixed use on Pine Street": Description(
        _COMPANY,
        "Two shops with eleven apartments above, ten minutes on foot from Pike Place Market. The borrower buys out a partner.\n\nAll "
        "apartments and one shop are let; the second shop is being rebuilt for a bakery that has signed for seven years.",
        lien_position=2,
    ),
    "RiNo warehouse conversion": Description(
        _COMPANY,
        "A brick warehouse becomes eight studios with a shared workshop. The shell is sound; the loan pays for the interior and the lift.",
    ),
    "Midtown garden apartments": Description(
        _PARTNERSHIP,
        "Twenty-four apartments around two courtyards, five minutes from the MARTA station. A third are renovated each "
        "winter; this loan is for "
        "the second third.",
    ),
    "Two-family near Inman Square": Description(
        _TRUST, "A family trust lets both floors and pays out two of its members. The house was appraised in spring."
    ),
    "Art Deco condominiums": Description(
        _COMPANY,
        "Six condominiums of 1937 in the historic district. The facade is protected and stays; behind it the building "
        "gets new plumbing, and "
        "windows that stand a hurricane.\n\nFour of the six are reserved by buyers.",
    ),
    "Bungalow on Doctors Lake": Description(
        _INDIVIDUAL,
        "A lakefront bungalow with a dock. The loan pays for raising the house above the flood line, which lowers its insurance by half.",
    ),
    "South Congress cottages": Description(
        _COMPANY, "Three cottages on one lot, let by the month. The borrower adds a fourth, for which the permit is issued."
    ),
    "Craftsman fourplex": Description(
        _INDIVIDUAL, "Four apartments in a house of 1924, all let. The loan replaces the roof and all four kitchens."
    ),
    "Pearl District lofts": Description(
        _PARTNERSHIP,
        "Five lofts above a gallery. The partners refinance a construction loan that ends, while the last two lofts find buyers.",
        lien_position=2,
    ),
    "Main Street storefronts": Description(
        _TRUST,
        "Three storefronts in the historic center, let to a bookshop, a ski shop and a café. The loan pays for the seismic retrofit.",
    ),
    "Bayside row houses": Description(
        _COMPANY, "Seven row houses two blocks from the bay. The first three are finished; this loan completes the next two."
    ),
    "Bungalow court in Grant Park": Description(
        _PARTNERSHIP, "Eight bungalows around a lawn, built in 1926. The partners renovate two at a time and let them again."
    ),
    "Warehouse lofts on Blake Street": Description(
        _COMPANY, "The second phase of a conversion whose first twelve lofts are sold. This loan is for the next nine."
    ),
}
