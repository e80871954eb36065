"""Shapes and types of every public signature are checked in all tests."""

from jaxtyping import install_import_hook

install_import_hook("mugato", "beartype.beartype")
