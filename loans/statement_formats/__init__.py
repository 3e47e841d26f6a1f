"""Read bank statements: OFX, BAI2, and CSV with named columns. The readers know no Django and no database.

detection.py limits the bytes of a file and chooses its reader; lines.py limits the number of lines and says what each must hold.
"""
