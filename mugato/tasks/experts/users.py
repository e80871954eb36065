"""A user's own expert by its name: a function, a class, an object, or a saved SB3 model.

A function goes from observation to action. A class is made anew for each episode, so that it
remembers nothing of the last one; one with `reset` is made once and reset before each. An object is
reset before each episode, if it can be. What has `predict`, as the models of Stable-Baselines3 have
it, is asked through that, with its state from step to step.
"""

import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium

from mugato.system.errors import one_line
from mugato.system.names import import_name
from mugato.system.optional import require
from mugato.tasks.task import Action, ActionFunction, Observation

SB3 = "sb3:"
SB3_ALGORITHMS = ("a2c", "ddpg", "dqn", "ppo", "sac", "td3")


def check_expert(expert: str) -> None:
    """Refuse an expert that cannot be found or asked.

    Raises:
        ValueError: naming it and what is wrong.
        ImportError: for an SB3 model without the package.
    """
    _resolve(expert)


def make_expert(expert: str, env: gymnasium.Env) -> ActionFunction:
    """Return what answers observations, in an episode that begins."""
    found: Any = _resolve(expert)
    if inspect.isclass(found):
        found = _only_one(found) if hasattr(found, "reset") else found()
    if hasattr(found, "reset"):
        found.reset()
    return _Predictor(found) if hasattr(found, "predict") else found


class _Predictor:
    """Asks an object through `predict`, and hands it its state of the step before."""

    def __init__(self, model: Any) -> None:
        self._model, self._state = model, None
        self._recurrent = "state" in inspect.signature(model.predict).parameters

    def __call__(self, observation: Observation) -> Action:
        if not self._recurrent:
            answer = self._model.predict(observation)
            return answer[0] if isinstance(answer, tuple) and len(answer) == 2 else answer
        action, self._state = self._model.predict(
            observation, state=self._state, deterministic=True
        )
        return action


def _resolve(expert: str) -> Any:
    if expert.startswith(SB3):
        return _sb3_model(expert)
    found = import_name(expert, "an expert")
    if not callable(found) and not hasattr(found, "predict"):
        raise ValueError(f"expert {expert!r} is a {type(found).__name__}, not a function")
    return found


@lru_cache(maxsize=8)
def _sb3_model(expert: str) -> Any:
    """Load a saved model, which runs what its file says: only your own.

    Raises:
        ValueError: another form than "sb3:ppo:model.zip", or a file that is none of this algorithm.
    """
    _, _, rest = expert.partition(":")
    algorithm, colon, path = rest.partition(":")
    if algorithm.lower() not in SB3_ALGORITHMS or not colon:
        raise ValueError(
            f"a saved model is written 'sb3:ALGORITHM:model.zip' with one of "
            f"{', '.join(SB3_ALGORITHMS)}, not {expert!r}"
        )
    if not Path(path).expanduser().is_file():
        raise ValueError(f"expert {expert!r}: there is no file {path}")
    require("stable_baselines3", extra="sb3")
    import stable_baselines3

    try:
        kind = getattr(stable_baselines3, algorithm.upper())
        return kind.load(Path(path).expanduser(), device="cpu")
    except Exception as error:  # zipfile's, pickle's, PyTorch's
        raise ValueError(
            f"expert {expert!r}: {path} is no model of {algorithm.upper()}: {one_line(error)}"
        ) from error


@lru_cache(maxsize=8)
def _only_one(kind: type) -> Any:
    return kind()
