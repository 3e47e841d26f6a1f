"""Write the documents of the demo's loans: PDFs of one page, with the same bytes on every day."""

import re
from collections.abc import Sequence

from loans.models import Loan
from peerloans.wording import whole_dollars_text


def demo_document(loan: Loan, title: str) -> bytes:
    """Return a PDF with that title and the facts of the loan."""
    value = loan.amount * 100 / loan.ltv
    return pdf_page(
        [
            title,
            "",
            f"{loan.reference}, {loan.title}",
            f"{loan.address}, {loan.city}, {loan.state} {loan.zip}",
            "",
            f"Amount: {whole_dollars_text(loan.amount)}",
            f"Value of the property: {whole_dollars_text(value)}",
            f"Loan to value: {loan.ltv:.1f} %",
            f"Interest: {loan.annual_rate} % per year, for {loan.term_months} months",
            "",
            "This document belongs to the demo. No such property is financed.",
        ]
    )


def pdf_page(lines: Sequence[str]) -> bytes:
    """Return a PDF (ISO 32000) of one page in letter format with these lines of text."""
    shown = "\n".join("(" + re.sub(r"([\\()])", r"\\\1", line) + ") Tj T*" for line in lines)
    stream = f"BT /F1 14 Tf 20 TL 72 700 Td\n{shown}\nET".encode("cp1252")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    )
    pdf, places = b"%PDF-1.4\n", b"0000000000 65535 f \n"
    for number, content in enumerate(objects, start=1):
        places += b"%010d 00000 n \n" % len(pdf)
        pdf += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    size = len(objects) + 1
    end = b"xref\n0 %d\n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return pdf + end % (size, places, size, len(pdf))
