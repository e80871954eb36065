"""The door of the command line: from here on, stopping is one line and exit status 130.

Nothing is imported before that is so. The commands are in `commands.py`.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

INTERRUPTED = 130  # as a shell has it: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; whatever asks it to stop ends it in good order, a second Ctrl-C at once."""
    is_program = arguments is None
    if is_program:
        signal.signal(signal.SIGINT, _leave)
    from mugato.cli.commands import run
    from mugato.system.signals import handled

    asked: list[int] = []

    def stop(number: int) -> None:
        again = number == signal.SIGINT and number in asked
        asked.append(number)
        if again and is_program:
            _leave(number, None)
        if again or len(asked) == 1:
            raise KeyboardInterrupt

    try:
        with handled(stop):
            run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt as interrupt:
        print(f"mugato: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _leave(number: int, frame: Any) -> None:
    """Leave at once: while packages are imported there is nothing to tidy up."""
    os.write(2, b"mugato: interrupted\n")
    os._exit(INTERRUPTED)
