"""Any registered Gymnasium environment as a task, with the user's own expert."""

import contextlib
import difflib
import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from mugato.spec import spec_of
from mugato.system.errors import one_line
from mugato.system.names import import_name, search_working_directory
from mugato.tasks.environment import opened
from mugato.tasks.experts.users import check_expert, make_expert
from mugato.tasks.task import Task
from mugato.tasks.wrappers import with_supported_spaces

# For environments that state no time limit of their own.
MAX_EPISODE_STEPS = 10_000
# Packages that register environments when they are imported, tried in turn for unknown ids.
PROVIDERS = ("minigrid", "gymnasium_robotics", "ale_py", "metaworld", "panda_gym", "shimmy")


def gymnasium_task(
    env_id: str,
    *,
    env_kwargs: Mapping[str, Any] = {},
    wrappers: Sequence[str] = (),
    expert: str | None = None,
    max_episode_steps: int | None = None,
) -> Task:
    """Describe an environment by its Gymnasium id.

    Args:
        env_id: a registered id ("CartPole-v1"), or "module:Env-v0" to import `module` first.
        env_kwargs: what the environment is made with.
        wrappers: "package.module:Wrapper" each, put around it, the innermost first.
        expert: "package.module:name" of a function, a class or an object, or "sb3:ppo:model.zip";
            see `mugato.tasks.experts.users`. The working directory is searched too.
        max_episode_steps: where None, the environment's own limit, or 10,000 if it has none.

    Raises:
        ValueError: unknown id, arguments that it does not take, an unsupported space, or a wrapper
            or an expert that cannot be found or called.
    """
    spec = _find_env(env_id)
    if expert is not None:
        check_expert(expert)
    limit = max_episode_steps or spec.max_episode_steps or MAX_EPISODE_STEPS
    make_env = partial(_make_env, env_id, limit, dict(env_kwargs), tuple(wrappers))
    _check_spaces(env_id, make_env)
    return Task(
        name=env_id,  # by which an agent knows it, too
        domain="gymnasium",
        make_env=make_env,
        make_expert=None if expert is None else partial(make_expert, expert),
        max_episode_steps=limit,
    )


def _check_spaces(env_id: str, make_env: Callable[[], gymnasium.Env]) -> None:
    with opened(make_env) as env:
        try:
            spec_of(env.observation_space, env.action_space)
        except ValueError as error:
            raise ValueError(f"{env_id}: {error}") from error


def _find_env(env_id: str) -> EnvSpec:
    search_working_directory()
    module, colon, name = env_id.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(
                f"environment {env_id!r}: cannot import {module!r}: {error}; run this in the "
                "folder that it lies in, or install it"
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


def _make_env(
    env_id: str,
    limit: int,
    env_kwargs: Mapping[str, Any],
    wrappers: Sequence[str],
    *,
    render_mode: str | None = None,
) -> gymnasium.Env:
    _find_env(env_id)  # in a new process nothing is registered yet
    # Environments that draw nothing may not know the argument.
    rendering = {} if render_mode is None else {"render_mode": render_mode}
    try:
        env = gymnasium.make(
            env_id,
            **env_kwargs,
            **rendering,
            max_episode_steps=limit,
            disable_env_checker=True,  # what is wrong is refused when it is recorded
        )
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{env_id}: {error}") from error
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        if render_mode is not None and not env_kwargs:
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in env_kwargs.items())
        raise ValueError(f"{env_id} cannot be made with ({given}): {one_line(error)}") from error
    for wrapper in wrappers:
        env = _wrapped(env, wrapper)
    return with_supported_spaces(env)


def _wrapped(env: gymnasium.Env, wrapper: str) -> gymnasium.Env:
    wrapped = import_name(wrapper, "a wrapper")(env)
    if not isinstance(wrapped, gymnasium.Env):
        raise ValueError(f"the wrapper {wrapper!r} gave a {type(wrapped).__name__}, no environment")
    return wrapped
