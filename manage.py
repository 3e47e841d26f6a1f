#!/usr/bin/env python
"""Run Django's commands, beside a running system or alone."""

import os
import signal
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "peerloans.settings")
    from django.core.management import execute_from_command_line

    from peerloans.devserver import embedded

    if embedded.is_beside_make_run():
        os.environ.setdefault("DEBUG", "1")
    embedded.exit_on_signals(signal.SIGTERM, signal.SIGHUP)
    with embedded.running():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
