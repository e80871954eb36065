"""Errors as one line of text."""

import difflib
import os
import traceback
from collections.abc import Iterable


def one_line(error: BaseException) -> str:
    r"""Return what an error says, without its line breaks; its type where it says nothing.

    >>> one_line(OSError("no such\n  file")), one_line(KeyboardInterrupt())
    ('no such file', 'KeyboardInterrupt')
    """
    return " ".join(str(error).split()) or type(error).__name__


def describe(
    error: BaseException,
    *,
    expected: tuple[type[BaseException], ...] = (),
    with_place: bool = False,
) -> str:
    """Format an error on one line; name its type, and on request its place, if it is unexpected.

    Args:
        expected: types whose text says enough.
        with_place: whether to add the file and line that raised an unexpected one.

    >>> describe(KeyError("door")), describe(ValueError("no door"), expected=(ValueError,))
    ("KeyError: 'door'", 'no door')
    """
    if isinstance(error, expected):
        return one_line(error)
    where = traceback.extract_tb(error.__traceback__) if with_place else []
    place = f" ({os.path.basename(where[-1].filename)}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {one_line(error)}{place}"


def did_you_mean(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """Return the end of an error's message about a name: the one that was meant, if one is like it.

    Args:
        most: names that are shown.
        cutoff: how like it they must be, from 0 to 1.

    >>> did_you_mean("cartpol", ["lunar-lander", "cartpole"]), did_you_mean("x", ["cartpole"])
    ('; did you mean cartpole?', '')
    """
    close = difflib.get_close_matches(name, list(known), n=most, cutoff=cutoff)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def known_names(name: str, known: Iterable[str], *, most: int = 12) -> str:
    """Return the end of an error's message about a name: which was meant, or those there are.

    >>> known_names("cartpol", ["lunar-lander", "cartpole"]), known_names("x", "abc", most=2)
    ('; did you mean cartpole?', ', only a, b and 1 more')
    """
    known = sorted(known)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return did_you_mean(name, known) or f", only {', '.join(known[:most])}{more}"
