"""Answers in the form in which MultiNet's scorers compare them (v1.0, src/eval_harness/scoring).

Texts are compared as `vqa_metrics.py` normalizes the right answer, calls letter by letter as
`bfcl_metrics.py` does. Both count an empty answer as invalid, so none is empty here.
"""

import ast
import re
from collections.abc import Iterable

# What is said where a text holds nothing but punctuation, which normalizes to nothing.
NO_ANSWER = "unknown"
# What is called where a text holds no name.
NO_CALL = "answer()"

_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_CALLED = re.compile(_NAME.pattern + r"\s*\(")
_QUOTED = re.compile(
    r"'''(?:[^\\]|\\.)*?'''" r'|"""(?:[^\\]|\\.)*?"""'
    r"|'(?:[^'\\\n]|\\.)*'" r'|"(?:[^"\\\n]|\\.)*"', re.S
)  # fmt: skip
# Deeper than that nothing is a call, and a text of nothing but brackets is read quickly.
_MAX_DEPTH = 32
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def normalize_answer(text: str) -> str:
    """Bring an answer to small letters, without punctuation, with single spaces.

    Digits stay digits: the scorer leaves those of the right answer, too.

    >>> normalize_answer("  It's on the\\nLEFT, 2 m away. "), normalize_answer("?!")
    ('its on the left 2 m away', 'unknown')
    """
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split()) or NO_ANSWER


def join_calls(calls: Iterable[str]) -> str:
    """Write calls as one text, from which `extract_calls` takes them again.

    >>> join_calls(["cd(folder='a')", "ls(a=True)"])
    "cd(folder='a'), ls(a=True)"
    """
    return ", ".join(map(str, calls))


def extract_calls(text: str) -> list[str]:
    """Extract the function calls in a text, in order: what Python reads as `name(arguments)`.

    Whitespace is made single, but for quotes, within which everything stays as it is.

    >>> extract_calls("I call cd(folder='a  (b)') and  move( pos=(1,  2) )!")
    ["cd(folder='a  (b)')", 'move( pos=(1, 2) )']
    >>> extract_calls("nothing to call (really")
    []
    """
    found, start = [], 0
    while match := _CALLED.search(text, start):
        call = _call_at(text, match)
        if call is None:
            start = _NAME.match(text, match.start()).end()  # type: ignore[union-attr]
        else:
            found.append(_single_spaced(call))
            start = match.start() + len(call)
    return found


def calls_or_name(text: str) -> list[str]:
    """Extract the calls in a text; where there are none, call the first name in it.

    >>> calls_or_name("ls(a=True"), calls_or_name("!")
    (['ls()'], ['answer()'])
    """
    if calls := extract_calls(text):
        return calls
    name = _NAME.search(text)
    return [NO_CALL if name is None else f"{name[0]}()"]


def _call_at(text: str, match: re.Match[str]) -> str | None:
    """Return the call that begins at a match of `_CALLED`; None if it never ends or is none."""
    open_brackets, place = [")"], match.end()
    while open_brackets:
        if len(open_brackets) > _MAX_DEPTH:
            return None
        if quoted := _QUOTED.match(text, place):
            place = quoted.end()
            continue
        character = text[place : place + 1]
        if character in _CLOSING:
            open_brackets.append(_CLOSING[character])
        elif character == open_brackets[-1]:
            open_brackets.pop()
        elif character in ("", "'", '"', *_CLOSING.values()):
            return None
        place += 1
    call = text[match.start() : place]
    try:
        parsed = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return call if isinstance(parsed, ast.Call) else None


def _single_spaced(call: str) -> str:
    kept, place = [], 0
    for quoted in _QUOTED.finditer(call):
        kept += [re.sub(r"\s+", " ", call[place : quoted.start()]), quoted[0]]
        place = quoted.end()
    return "".join((*kept, re.sub(r"\s+", " ", call[place:])))
