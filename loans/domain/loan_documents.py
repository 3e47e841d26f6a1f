"""Say what a document of a loan may be: a PDF of limited size, and how many a loan may have."""

MOST_DOCUMENTS = 20
MOST_BYTES = 10 * 2**20
PDF_BEGINS = b"%PDF-"


def fault_of_document(content: bytes) -> str:
    """Return why these bytes cannot be a document, as a sentence; an empty text if they can."""
    if not content.startswith(PDF_BEGINS):
        return "This file is not a PDF: it does not begin as one."
    if len(content) > MOST_BYTES:
        return f"A document has at most {MOST_BYTES // 2**20} MiB."
    return ""
