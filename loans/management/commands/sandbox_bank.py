"""Who plays the bank in a demo? This command: it watches transfers and tells the site, over HTTP, what became of them."""

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
from loans.services.payments import Notice
from peerloans.database.clock import database_now

PATH = "/api/v1/bank-events/"
TIMEOUT = dict.fromkeys(["connect", "read", "write", "pool"], 10.0)
STOPS = (signal.SIGTERM, signal.SIGINT)


def probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1000000")
    return value


class Command(BaseCommand):
    help = (
        "Play the bank, for demos: watch the started transfers and the refunds due, and send the running site a signed event for each "
        "after a while. Most money comes; some transfers fail, some come late, some are a cent short. The same seed has the same transfer "
        "end the same way. Works only with DEBUG on. Ends with status 0 on SIGTERM or Ctrl-C; with --once, with status 1 where the site "
        "did not take an event."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--site", default="http://127.0.0.1:8000", help="where the site runs (default: %(default)s)")
        parser.add_argument(
            "--delay", type=seconds, default=20.0, help="seconds that the bank usually takes, divided by TIME_LAPSE (default: %(default)s)"
        )
        for name, told in (("fail", "a transfer fails"), ("late", "money comes after its deadline"), ("short", "a cent is missing")):
            parser.add_argument(f"--{name}", type=probability, default=0.05, help=f"probability that {told} (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="another number deals other fates (default: %(default)s)")
        parser.add_argument("--every", type=seconds, default=1.0, help="seconds between two looks (default: %(default)s)")
        parser.add_argument("--from-now", action="store_true", help="leave alone what was started before this command")
        parser.add_argument("--once", action="store_true", help="tell what there is to tell now, and end")

    def handle(self, *_: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("This plays with other people's money: it works only with DEBUG on.")
        if options["fail"] + options["late"] + options["short"] > 1:
            raise CommandError("--fail, --late and --short together are more than 1.")
        if not options["site"].startswith(("http://", "https://")):
            raise CommandError("Write the site as http://host:port.")
        habits = Habits(
            delay=timedelta(seconds=options["delay"]) / settings.TIME_LAPSE,
            **{name: options[name] for name in ("fail", "late", "short", "seed")},
            since=database_now(None) if options["from_now"] else sandbox_bank.BEGINNING,
        )
        # Where the site has no secret, as it may in DEBUG, it takes any signature.
        self.secret = next(iter(settings.BANK_WEBHOOK_SECRETS), None) or new_secret()
        self.address = options["site"].rstrip("/") + PATH
        self.said = ""
        with stopped_by_signals() as stop:
            taken = self.tell_all(habits, stop)
            if options["once"] and not taken:
                raise CommandError("The site did not take all events.")
            while not options["once"] and not stop.wait(options["every"]):
                close_old_connections()
                self.tell_all(habits, stop)

    def tell_all(self, habits: Habits, stop: threading.Event) -> bool:
        """Tell what there is to tell; what the site does not take is told again with the next look."""
        all_taken = True
        for notice in sandbox_bank.notices(habits, database_now(None)):
            if stop.is_set():
                break
            all_taken &= self.tell(notice)
        return all_taken

    def tell(self, notice: Notice) -> bool:
        headers, body = sandbox_bank.signed(notice, self.secret)
        try:
            answer = httpcore.request("POST", self.address, headers=headers, content=body, extensions={"timeout": TIMEOUT})
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            self.complain(f"{self.address} does not answer: {error}")
            return False
        if not 200 <= answer.status < 300:
            self.complain(f"{self.address} answered {answer.status}: {answer.content[:300].decode(errors='replace')}")
            return False
        self.stdout.write(f"{notice.type} {notice.reference} {notice.amount}")
        return True

    def complain(self, words: str) -> None:
        """Say it, but not with every look again."""
        if words != self.said:
            self.stderr.write(words)
        self.said = words


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in STOPS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
