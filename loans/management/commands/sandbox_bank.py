"""Play the bank in a demo: watch transfers, and send the site a signed notice of what became of each."""

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpcore
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from loans.demo import sandbox_bank
from loans.demo.sandbox_bank import Habits
from loans.models.fields import new_secret
from loans.services.bank_events import Notice
from peerloans.database.clock import database_now

PATH = "/api/v1/bank-events/"
TIMEOUT_SECONDS = dict.fromkeys(["connect", "read", "write", "pool"], 10.0)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def probability(text: str) -> float:
    """Return the number; argparse prints the message if it is not a probability."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def seconds(text: str) -> float:
    """Return the number; argparse prints the message if it is no span of time."""
    value = float(text)
    if not 0 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1000000")
    return value


class Command(BaseCommand):
    help = (
        "Play the bank in a demo: watch the transfers on their way and the refunds due, and send the running site a signed notice of each "
        "after a while. Most money comes; some transfers fail, some come late, some are a cent short. With the same seed a transfer has "
        "the same outcome. Works only with DEBUG on. Exit status 0 on SIGTERM or Ctrl-C; with --once, 1 if the site refused a notice."
    )
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--site", default="http://127.0.0.1:8000", help="address of the site (default: %(default)s)")
        parser.add_argument("--delay", type=seconds, default=20.0, help="seconds that the bank usually takes (default: %(default)s)")
        for name, outcome in (("fail", "a transfer fails"), ("late", "money comes after its deadline"), ("short", "a cent is missing")):
            parser.add_argument(f"--{name}", type=probability, default=0.05, help=f"probability that {outcome} (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="each number gives other outcomes (default: %(default)s)")
        parser.add_argument("--every", type=seconds, default=1.0, help="seconds between two rounds (default: %(default)s)")
        parser.add_argument("--from-now", action="store_true", help="ignore transfers that were started before this command")
        parser.add_argument("--once", action="store_true", help="end after one round")

    def handle(self, *_: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("This command invents payments: it works only with DEBUG on.")
        if options["fail"] + options["late"] + options["short"] > 1:
            raise CommandError("--fail, --late and --short together are more than 1.")
        if not options["site"].startswith(("http://", "https://")):
            raise CommandError("Write the site as http://host:port.")
        habits = Habits(
            delay=timedelta(seconds=options["delay"]),
            **{name: options[name] for name in ("fail", "late", "short", "seed")},
            since=database_now(None) if options["from_now"] else sandbox_bank.BEGINNING,
        )
        # A site without a secret, which DEBUG allows, accepts any signature.
        self.secret = next(iter(settings.BANK_WEBHOOK_SECRETS), None) or new_secret()
        self.address = options["site"].rstrip("/") + PATH
        self.last_complaint = ""
        with stopped_by_signals() as stop:
            all_accepted = self.send_all(habits, stop)
            if options["once"] and not all_accepted:
                raise CommandError("The site did not take all events.")
            while not options["once"] and not stop.wait(options["every"]):
                close_old_connections()
                self.send_all(habits, stop)

    def send_all(self, habits: Habits, stop: threading.Event) -> bool:
        """Send every notice that is due, and return whether the site accepted all. A refused one is sent again in the next round."""
        all_accepted = True
        for notice in sandbox_bank.notices(habits, database_now(None)):
            if stop.is_set():
                break
            all_accepted &= self.send(notice)
        return all_accepted

    def send(self, notice: Notice) -> bool:
        headers, body = sandbox_bank.signed_request(notice, self.secret)
        try:
            response = httpcore.request("POST", self.address, headers=headers, content=body, extensions={"timeout": TIMEOUT_SECONDS})
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            self.complain(f"{self.address} does not answer: {error}")
            return False
        if not 200 <= response.status < 300:
            self.complain(f"{self.address} answered {response.status}: {response.content[:300].decode(errors='replace')}")
            return False
        self.stdout.write(f"{notice.type} {notice.reference} {notice.amount}")
        return True

    def complain(self, complaint: str) -> None:
        """Print the complaint, unless it is the same as the last one."""
        if complaint != self.last_complaint:
            self.stderr.write(complaint)
        self.last_complaint = complaint


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM or Ctrl-C sets."""
    stop = threading.Event()
    handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
