"""Read variables of the environment, and collect what is wrong with them, so that one start tells the operator everything.

A method returns the variable's value. If that is missing or wrong, it notes a problem and returns the default, so that the rest is checked
too. No problem quotes a value: it may be a secret.
"""

import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from email.utils import parseaddr
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ

T = TypeVar("T")

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
DATABASE_SCHEMES = ("postgres", "postgresql")
REDIS_SCHEMES = ("redis", "rediss", "unix")
BROKER_SCHEMES = ("amqp", "amqps", "pyamqp", "redis", "rediss", "redis+socket", "sentinel")
MAIL_SERVERS = ("smtp", "smtps", "smtp+tls", "smtp+ssl")
DATABASE_ADDRESS = "an address such as postgresql://user:password@host:5432/name"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def is_true(text: str) -> bool:
    return text.strip().lower() in TRUE


def comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class Environment:
    """The variables by name, and the `problems` that were found in them."""

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self.variables = variables
        self.problems: list[str] = []
        self.in_debug = False

    def _parsed(self, name: str, default: T, parse: Callable[[str], T], must_be: str) -> T:
        """Return what `parse` makes of the variable, or the default where it is not set or empty, or where `parse` raises ValueError."""
        text = self.variables.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError:
            self.problems.append(f"{name} must be {must_be}.")
            return default

    def required(self, name: str, in_debug: str) -> str:
        """Return the variable, or `in_debug` where it is not set. Outside debug that is a problem."""
        value = self.text(name)
        if not (value or self.in_debug):
            self.problems.append(f"Set {name} in the environment (or DEBUG=1 on your own machine).")
        return value or in_debug

    def text(self, name: str, default: str = "") -> str:
        return self.variables.get(name, default)

    def values(self, name: str) -> list[str]:
        return comma_separated(self.text(name))

    def flag(self, name: str, *, default: bool) -> bool:
        def parse(text: str) -> bool:
            if text.lower() not in TRUE + FALSE:
                raise ValueError
            return is_true(text)

        return self._parsed(name, default, parse, "1 or 0")

    def whole_number(self, name: str, default: int, *, least: int) -> int:
        def parse(text: str) -> int:
            if not text.isdecimal() or int(text) < least:
                raise ValueError
            return int(text)

        return self._parsed(name, default, parse, f"a whole number, {least} or more")

    def dollars(self, name: str, default: str) -> Decimal:
        return self._parsed(name, Decimal(default), _amount, "a number of dollars, such as 10000")

    def rate(self, name: str, default: str) -> str | None:
        """Return a rate of requests, such as 100/s. If the variable is set and empty, there is none."""
        if self.variables.get(name) == "":
            return None
        parse = _matching(r"[1-9]\d*/(s|sec|second|m|min|minute|h|hour|d|day)")
        return self._parsed(name, default, parse, "a number, a slash, and s, m, h or d, such as 100/s")

    def log_level(self, name: str) -> str:
        return self._parsed(name, "INFO", _matching("|".join(LOG_LEVELS)), f"one of {', '.join(LOG_LEVELS)}")

    def folder(self, name: str) -> None:
        """Create the folder where the variable names one."""
        self._parsed(name, None, _make_folder, "a folder that can be created and written to")

    def origins(self, name: str) -> list[str]:
        return self._parsed(name, [], _each(_matching(r"https?://[^/\s]+")), "origins such as https://name, separated by commas")

    def addresses(self, name: str) -> list[tuple[str, int]]:
        """Return hosts with their ports."""
        return self._parsed(name, [], _each(_address), "addresses such as host:26379, separated by commas")

    def database(self, name: str, in_debug: str) -> dict[str, Any]:
        """Return the database's settings for Django."""
        return self._required(name, in_debug, _database, DATABASE_ADDRESS)

    def other_database(self, name: str) -> dict[str, Any] | None:
        """Return the settings of a database that need not be there."""
        return self._parsed(name, None, _database, DATABASE_ADDRESS)

    def redis(self, name: str, in_debug: str) -> str:
        return self._required(name, in_debug, _with_scheme(REDIS_SCHEMES), "an address such as redis://host:6379/1")

    def broker(self, name: str, in_debug: str) -> str:
        must_be = "an address such as amqp://user:password@host:5672// or redis://host:6379/0"
        return self._required(name, in_debug, _with_scheme(BROKER_SCHEMES), must_be)

    def mail_server(self, name: str, in_debug: str) -> dict[str, Any]:
        """Return the settings for Django of the server that takes e-mails."""
        must_be = "an address such as smtp+tls://user:password@host:587; percent-encode what is special in a password"
        return self._required(name, in_debug, _mail_server, must_be)

    def sender(self, name: str, in_debug: str) -> str:
        return self._required(name, in_debug, _sender, "an e-mail address, such as peerloans <loans@example.org>")

    def _required(self, name: str, in_debug: str, parse: Callable[[str], T], must_be: str) -> T:
        self.required(name, in_debug)
        return self._parsed(name, parse(in_debug), parse, must_be)


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return parse


def _each(parse: Callable[[str], T]) -> Callable[[str], list[T]]:
    return lambda text: [parse(part) for part in comma_separated(text)]


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError from None
    if not amount.is_finite() or amount < 0:
        raise ValueError
    return amount


def _make_folder(text: str) -> None:
    try:
        Path(text).mkdir(parents=True, exist_ok=True)
    except OSError:
        raise ValueError from None
    if not os.access(text, os.W_OK):
        raise ValueError


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError
    return host, int(port)


def _with_scheme(schemes: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for address in text.split(";"):  # Celery takes several brokers
            scheme, slashes, _ = address.partition("://")
            if scheme not in schemes or not slashes:
                raise ValueError
            if scheme not in {"unix", "redis+socket"}:
                _ = urlsplit(address).port  # a port that is none raises ValueError
        return text

    return parse


def _database(text: str) -> dict[str, Any]:
    _with_scheme(DATABASE_SCHEMES)(text)
    config: dict[str, Any] = environ.Env.db_url_config(text)
    if not config["NAME"]:
        raise ValueError
    return config


def _mail_server(text: str) -> dict[str, Any]:
    scheme = text.partition("://")[0]
    if scheme not in environ.Env.EMAIL_SCHEMES or (scheme in MAIL_SERVERS and not urlsplit(text).hostname):
        raise ValueError
    config: dict[str, Any] = environ.Env.email_url_config(text)
    return config


def _sender(text: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(text)[1]):
        raise ValueError
    return text
