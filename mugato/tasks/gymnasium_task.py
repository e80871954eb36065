"""Any registered Gymnasium environment as a task, with the user's own function as expert."""

import contextlib
import difflib
import importlib
import io
import os
import sys
from functools import partial

import gymnasium
from gymnasium.envs.registration import EnvSpec

from mugato.spec import spec_of
from mugato.tasks.task import ActionFunction, Task
from mugato.tasks.wrappers import with_supported_spaces

# For environments that state no time limit of their own.
MAX_EPISODE_STEPS = 10_000
# Packages that register environments when they are imported, tried in turn for unknown ids.
PROVIDERS = ("minigrid", "gymnasium_robotics", "ale_py", "metaworld", "panda_gym", "shimmy")


def gymnasium_task(
    env_id: str, *, expert: str | None = None, max_episode_steps: int | None = None
) -> Task:
    """Describe an environment by its Gymnasium id.

    Args:
        env_id: a registered id ("CartPole-v1"), or "module:Env-v0" to import `module` first.
        expert: "package.module:function", where function(observation) returns an action; the
            working directory is searched too.
        max_episode_steps: where None, the environment's own limit, or 10,000 if it has none.

    Raises:
        ValueError: unknown id, unsupported space, or an expert that cannot be found or called.
    """
    spec = _find_env(env_id)
    if expert is not None:
        _resolve(expert)
    limit = max_episode_steps or spec.max_episode_steps or MAX_EPISODE_STEPS
    make_env = partial(_make_env, env_id, limit)
    env = make_env()
    try:
        spec_of(env.observation_space, env.action_space)
    except ValueError as error:
        raise ValueError(f"{env_id}: {error}") from error
    finally:
        env.close()
    return Task(
        name=env_id.rpartition(":")[2],
        domain="gymnasium",
        make_env=make_env,
        make_expert=None if expert is None else partial(_make_expert, expert),
        max_episode_steps=limit,
    )


def _find_env(env_id: str) -> EnvSpec:
    _search_working_directory()
    module, colon, name = env_id.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(
                f"environment {env_id!r}: cannot import {module!r}: {error}"
            ) from error
    for provider in (None, *PROVIDERS):
        if provider is not None:
            with contextlib.suppress(ImportError), contextlib.redirect_stderr(io.StringIO()):
                importlib.import_module(provider)
        with contextlib.suppress(gymnasium.error.Error):
            return gymnasium.spec(name)
    close = difflib.get_close_matches(name, gymnasium.registry, n=3)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    raise ValueError(
        f"no Gymnasium environment {env_id!r}{hint} (if a package registers it: 'package:Env-v0')"
    )


def _make_env(env_id: str, limit: int, *, render_mode: str | None = None) -> gymnasium.Env:
    _find_env(env_id)  # in a new process nothing is registered yet
    # Environments that draw nothing may not know the argument.
    rendering = {} if render_mode is None else {"render_mode": render_mode}
    try:
        env = gymnasium.make(
            env_id,
            **rendering,
            max_episode_steps=limit,
            disable_env_checker=True,  # what is wrong is refused when it is recorded
        )
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{env_id}: {error}") from error
    return with_supported_spaces(env)


def _make_expert(expert: str, env: gymnasium.Env) -> ActionFunction:
    return _resolve(expert)


def _resolve(expert: str) -> ActionFunction:
    _search_working_directory()
    module, colon, name = expert.partition(":")
    if not (module and colon and name):
        raise ValueError(f"an expert is written 'package.module:function', not {expert!r}")
    try:
        function = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ValueError(f"expert {expert!r}: cannot import {module!r}: {error}") from error
    except AttributeError as error:
        raise ValueError(f"expert {expert!r}: {module!r} has no {name!r}") from error
    if not callable(function):
        raise ValueError(f"expert {expert!r} is a {type(function).__name__}, not a function")
    return function


def _search_working_directory() -> None:
    """Programs installed by pip do not have it on their path; `python -m` does."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
