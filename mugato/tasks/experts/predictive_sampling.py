"""Predictive sampling: plan by trying random variations of the last plan (Howell et al. 2022).

Every few steps the last plan and noisy copies of it are played in MuJoCo from where the robot
stands; the copy that costs least is followed until the next time. It works for whatever has a
simulator and a cost, and it needs no derivatives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mugato.system.optional import require


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What the candidates lead to, at the end of each control step.

    Attributes:
        model: MuJoCo's model, for what differs between episodes.
        qpos, qvel: generalised positions and velocities.
        control: the actions.
    """

    model: Any
    qpos: Float[np.ndarray, "candidates horizon positions"]
    qvel: Float[np.ndarray, "candidates horizon velocities"]
    control: Float[np.ndarray, "candidates horizon actions"]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to plan.

    Attributes:
        cost: of each step of each candidate.
        horizon: control steps to look ahead.
        candidates: plans tried each time.
        knots: the noise is drawn at so many points of the horizon and is linear between them.
        noise: its standard deviation; actions lie in [-1, 1].
        steps_per_plan: control steps taken before planning again.
    """

    cost: Callable[[Motion], Float[np.ndarray, "candidates horizon"]]
    horizon: int
    candidates: int = 32
    knots: int = 6
    noise: float = 0.5
    steps_per_plan: int = 1


class Planner:
    """Plans for one episode; the same for the same states."""

    def __init__(self, search: Search, *, model: Any, substeps: int, extra: str) -> None:
        mujoco = require("mujoco", extra=extra)
        self._rollout = require("mujoco.rollout", extra=extra).rollout
        self._search, self._model, self._substeps = search, model, substeps
        self._data = mujoco.MjData(model)
        self._rng = np.random.default_rng(0)
        self._plan = np.zeros((search.horizon, model.nu))
        self._followed = search.steps_per_plan
        self._from_knots = _interpolation(search.knots, search.horizon)

    def act(self, state: Float[np.ndarray, " state"]) -> Float[np.ndarray, " actions"]:
        """Return the next action.

        Args:
            state: time, positions, velocities (`mjSTATE_FULLPHYSICS`).
        """
        if self._followed == self._search.steps_per_plan:
            self._plan = self._improved(state)
            self._followed = 0
        action = self._plan[0]
        self._plan = np.concatenate([self._plan[1:], self._plan[-1:]])
        self._followed += 1
        return action

    def _improved(self, state: Float[np.ndarray, " state"]) -> Float[np.ndarray, "horizon actions"]:
        search = self._search
        shape = (search.candidates, search.knots, self._model.nu)
        knots = search.noise * self._rng.standard_normal(shape)
        knots[0] = 0.0  # the last plan itself
        plans = np.clip(self._plan + self._from_knots @ knots, -1.0, 1.0)
        cost = search.cost(self._motion(state, plans)).sum(axis=1)
        return plans[np.argmin(cost)]

    def _motion(
        self,
        state: Float[np.ndarray, " state"],
        plans: Float[np.ndarray, "candidates horizon actions"],
    ) -> Motion:
        control = plans.repeat(self._substeps, axis=1)
        states, _ = self._rollout(self._model, self._data, state[None], control)
        at_ends = states[:, self._substeps - 1 :: self._substeps, 1:]
        nq, nv = self._model.nq, self._model.nv
        return Motion(
            model=self._model,
            qpos=at_ends[..., :nq],
            qvel=at_ends[..., nq : nq + nv],
            control=plans,
        )


def _interpolation(knots: int, horizon: int) -> Float[np.ndarray, "horizon knots"]:
    """Return the matrix that draws straight lines between knots.

    >>> _interpolation(2, 3).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    places = np.linspace(0, knots - 1, horizon)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(knots)))
