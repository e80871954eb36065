"""Environments of Gymnasium-Robotics, whose ids are there once the package is imported."""

import contextlib
import io
from typing import Any

import gymnasium

from mugato.tasks.task import require


def make_robotics_env(
    env_id: str, *, render_mode: str | None = None, **options: Any
) -> gymnasium.Env:
    with contextlib.redirect_stderr(io.StringIO()):  # a notice about other environments
        robotics = require("gymnasium_robotics", extra="robotics")
    gymnasium.register_envs(robotics)
    return gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True, **options)
