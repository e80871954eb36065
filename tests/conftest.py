"""Shapes and types of every public signature are checked in all tests."""

import signal
import sys
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("mugato", "beartype.beartype")

import hypothesis
import torch

# Environments of users are imported by their module's name, also by workers.
ENVIRONMENTS = Path(__file__).parent / "environments"
sys.path.insert(0, str(ENVIRONMENTS))

# Run in the background of a script, the shell has us ignore Ctrl-C, and whoever we start with us.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Tests run in several processes: two threads each would wait for one another on two cores.
torch.set_num_threads(1)
