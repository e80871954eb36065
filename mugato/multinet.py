"""The door to the MultiNet adapter, which lies in the repository's `examples/multinet/`.

>>> from mugato.multinet import MultiNetAdapter
"""

try:
    from examples.multinet.adapter import MultiNetAdapter
except ModuleNotFoundError as error:
    raise ImportError(
        "the MultiNet adapter is an example and not part of the installed package: install "
        "mugato from a checkout of its repository (`pip install -e .`)"
    ) from error

__all__ = ["MultiNetAdapter"]
