"""Fill the queue of messages with one investor's, and see when another's is sent, by a mail server that takes its time."""

import socketserver
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

from tests.attack.site import Result, Site, make_loans

TITLE = "2,000 messages of one investor before another's, a slow mail server"
MESSAGES = 2_000
LOAN = "AT-CHURN"
MAIL_SECONDS = 0.2
MOST_SECONDS = 10.0  # until the other investor's message is sent


class SlowMailServer(socketserver.StreamRequestHandler):
    """An SMTP server that accepts everything, each message after a while, and notes to whom."""

    received: list[tuple[float, str]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 slow\r\n")
        recipient = ""
        with suppress(OSError):
            for line in self.rfile:
                verb = line[:4].upper()
                if verb == b"RCPT":
                    recipient = line.decode()
                elif verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    while self.rfile.readline() not in {b".\r\n", b""}:
                        pass
                    time.sleep(MAIL_SECONDS)
                    self.received.append((time.monotonic(), recipient))
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 good\r\n")
                if verb == b"QUIT":
                    return


def prepare(site: Site) -> None:
    """Let one investor reserve once and repeat the transition, as thousands of reservations would."""
    from django.db import connection

    from loans.models import Investor, Transition
    from loans.services.reservations import reserve

    make_loans([LOAN])
    site.new_token("churner")
    site.new_token("other")
    churner = Investor.objects.get(user__username="churner")
    made = reserve(reference=LOAN, investor=churner, amount=Decimal(1_000))
    first = Transition.objects.get(reservation=made)
    columns = ", ".join(field.column for field in Transition._meta.fields if field.name not in {"id", "txid"})
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO loans_transition ({columns}) SELECT {columns} FROM loans_transition, generate_series(1, %s) WHERE id = %s",
            [MESSAGES, first.pk],
        )
    reserve(reference=LOAN, investor=Investor.objects.get(user__username="other"), amount=Decimal(1_000))


def attack(site: Site) -> Result:
    from django.conf import settings
    from django.test.utils import override_settings

    from loans.notifications import deliveries, outbox

    result = Result(MESSAGES)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), SlowMailServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = {"EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend", "EMAIL_HOST": "127.0.0.1"}
        with override_settings(**address, EMAIL_PORT=server.server_address[1], EMAIL_FROM=getattr(settings, "EMAIL_FROM", "x@example.org")):
            outbox.fan_out_all()
            started = time.monotonic()
            run = threading.Thread(target=deliveries.deliver_due, args=(datetime.now(UTC),), daemon=True)
            run.start()
            while time.monotonic() - started < MOST_SECONDS and not any("other@" in to for _, to in SlowMailServer.received):
                time.sleep(0.05)
        server.shutdown()
    if not any("other@" in to for _, to in SlowMailServer.received):
        result.broken.append(
            f"another's message was not sent within {MOST_SECONDS:.0f} s, after {len(SlowMailServer.received)} of one investor"
        )
    return result
