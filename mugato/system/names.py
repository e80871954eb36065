"""What a user names as "package.module:name", wherever that may lie."""

import importlib
import os
import sys
from typing import Any

from mugato.system.errors import describe


def import_name(name: str, what: str) -> Any:
    """Import "package.module:name"; the working directory is searched too.

    Args:
        what: what is named, with its article, for errors: "an expert".

    Raises:
        ValueError: if it is not of that form or not there, or its module cannot be imported.

    >>> import_name("math:tau", "a number")
    6.283185307179586
    >>> import_name("math:tow", "a number")
    Traceback (most recent call last):
    ValueError: number 'math:tow': 'math' has no 'tow'
    """
    search_working_directory()
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{what} is written 'package.module:name', not {name!r}")
    noun = what.partition(" ")[2]
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # whatever the user's own code raises
        said = describe(error, expected=(ImportError,), with_place=True)
        raise ValueError(f"{noun} {name!r}: cannot import {module!r}: {said}") from error
    if not hasattr(imported, attribute):
        raise ValueError(f"{noun} {name!r}: {module!r} has no {attribute!r}")
    return getattr(imported, attribute)


def search_working_directory() -> None:
    """Let modules there be imported: programs installed by pip do not have it on their path."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
