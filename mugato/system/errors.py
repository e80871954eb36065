"""How errors of others stand in ours."""


def one_line(error: BaseException) -> str:
    r"""What an error says, without its line breaks; its kind where it says nothing.

    >>> one_line(OSError("no such\n  file")), one_line(KeyboardInterrupt())
    ('no such file', 'KeyboardInterrupt')
    """
    return " ".join(str(error).split()) or type(error).__name__
