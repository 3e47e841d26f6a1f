"""Write statements as banks do."""

from collections.abc import Sequence
from typing import NamedTuple

SGML_HEADER = """OFXHEADER:100
DATA:OFXSGML
VERSION:102
SECURITY:NONE
ENCODING:USASCII
CHARSET:1252
COMPRESSION:NONE
OLDFILEUID:NONE
NEWFILEUID:NONE

"""
XML_HEADER = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<?OFX OFXHEADER="200" VERSION="211" SECURITY="NONE" OLDFILEUID="NONE" NEWFILEUID="NONE"?>
"""
SIGNON = (
    "<SIGNONMSGSRSV1>\n<SONRS>\n<STATUS>\n<CODE>0\n<SEVERITY>INFO\n</STATUS>\n<DTSERVER>20260702\n<LANGUAGE>ENG\n</SONRS>\n"
    "</SIGNONMSGSRSV1>\n"
)


class Payment(NamedTuple):
    """A line of a statement: an amount as text, negative where the money went out."""

    amount: str
    text: str = ""
    id: str = ""
    day: str = "2026-07-01"


def ofx(*payments: Payment, header: str = SGML_HEADER, account: str = "1234567", currency: str = "USD", extra: str = "") -> str:
    """Return an OFX file; elements do not end, as SGML allows. `extra` is put into each transaction before its memo."""
    transactions = "".join(
        f"<STMTTRN>\n<TRNTYPE>OTHER\n<DTPOSTED>{each.day.replace('-', '')}\n<TRNAMT>{each.amount}\n<FITID>{each.id or number}\n"
        f"{extra}{f'<MEMO>{each.text}' + chr(10) if each.text else ''}</STMTTRN>\n"
        for number, each in enumerate(payments, start=1)
    )
    return (
        f"{header}<OFX>\n{SIGNON}<BANKMSGSRSV1>\n<STMTTRNRS>\n<TRNUID>0\n<STATUS>\n<CODE>0\n<SEVERITY>INFO\n</STATUS>\n<STMTRS>\n"
        f"<CURDEF>{currency}\n<BANKACCTFROM>\n<BANKID>021000021\n<ACCTID>{account}\n<ACCTTYPE>CHECKING\n</BANKACCTFROM>\n"
        f"<BANKTRANLIST>\n<DTSTART>20260701\n<DTEND>20260702\n{transactions}</BANKTRANLIST>\n"
        "<LEDGERBAL>\n<BALAMT>100.00\n<DTASOF>20260702\n</LEDGERBAL>\n</STMTRS>\n</STMTTRNRS>\n</BANKMSGSRSV1>\n</OFX>\n"
    )


def cents(amount: str) -> int:
    return round(abs(float(amount)) * 100)


def bai2(*payments: Payment, account: str = "1234567", currency: str = "USD", day: str = "260701", status: str = "1") -> str:
    """Return a BAI2 file with one group and one account. A payment's id is the bank's reference."""
    records = [f"16,{165 if not each.amount.startswith('-') else 475},{cents(each.amount)},Z,{each.id},,{each.text}/" for each in payments]
    total = sum(cents(each.amount) for each in payments) + 5000
    return bai2_of(
        [
            f"02,US,BANK,{status},{day},0600,{currency},2/",
            f"03,{account},,010,5000,,/",
            *records,
            f"49,{total},{len(records) + 2}/",
            f"98,{total},1,{len(records) + 4}/",
        ],
        total,
    )


def bai2_of(records: Sequence[str], total: int) -> str:
    """Return a BAI2 file of these records, between those of the file."""
    return "\n".join(["01,BANK,US,260702,0600,1,,,2/", *records, f"99,{total},1,{len(records) + 2}/", ""])


def csv(*payments: Payment, names: str = "Date,Amount,Description,Id") -> str:
    """Return a CSV. Without ids in `names`, leave out the ids."""
    width = names.count(",") + 1
    rows = [",".join([each.day, each.amount, each.text, each.id][:width]) for each in payments]
    return "\n".join([names, *rows, ""])


WRITERS = {"ofx": ofx, "bai2": bai2, "csv": csv}
