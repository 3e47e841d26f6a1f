"""Read bank statements: OFX, BAI2, and CSV with named columns. The readers know no Django and no database."""
