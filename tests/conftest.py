"""Shapes and types of every public signature are checked in all tests."""

from jaxtyping import install_import_hook

install_import_hook("mugato", "beartype.beartype")

import torch

# Tests run in several processes: two threads each would wait for one another on two cores.
torch.set_num_threads(1)
