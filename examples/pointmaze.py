"""One PointMaze demonstration: what becomes of numbers that have no natural unit.

A ball is pushed through a maze. It knows where it is, how fast it goes and where it should be, in
meters and meters per second, and answers with a force for each axis. `four_rooms.py` has text, a
picture and discrete values; here everything is continuous, and a token can stand for a number only
roughly. How roughly, this module shows (Reed et al. 2022, §2.1, App. B).
"""

import numpy as np

from mugato.data.formats.minari.read import open_minari
from mugato.episode import Episode
from mugato.spec import Spec
from mugato.tokens.tokenizer import Tokenizer

DATASET_ID = "mugato/pointmaze-umaze/expert-v0"


def pointmaze_episode(index: int = 0, *, dataset_id: str = DATASET_ID) -> tuple[Spec, Episode]:
    """Read one demonstration, this time through the general source.

    Returns:
        The spec's observation is a dictionary of three vectors, so an episode has three observed
        leaves: `achieved_goal` (T, 2), `desired_goal` (T, 2) and `observation` (T, 4). Within a
        timestep they stand in this order, that of the alphabet. `action` is (T, 2), in [-1, 1].

    Raises:
        ValueError: if the demonstrations have not been recorded.
    """
    source = open_minari(dataset_id)
    return source.spec, source[index]


def rounding(spec: Spec, episode: Episode, tokenizer: Tokenizer) -> dict[str, float]:
    """How far tokens are from the values that they stand for, at worst, leaf by leaf.

    Nobody tells the bounds of an observation, so it goes through the µ-law: 1,024 bins between -256
    and 256, narrow near 0 and wide far out. What is lost is a share of the value, about 1 %: of a
    position of 1 meter 1 centimeter, of one of 100 meters a whole one. An action has bounds,
    [-1, 1]: its bins are equal, and it is never further off than half of one, 1/1024.
    """
    worst = {}
    for values, leaves, is_action in (
        (episode.observations, spec.observation_leaves, False),
        (episode.actions, spec.action_leaves, True),
    ):
        for path, leaf in leaves.items():
            tokens, _ = tokenizer.encode(leaf, values[path], is_action=is_action)
            back = [tokenizer.decode(leaf, ids[:, 0], is_action=is_action) for ids in tokens]
            worst[path] = float(np.abs(np.stack(back) - values[path]).max())
    return worst
