"""One FourRooms demonstration, from the file to its tokens: the source to read first.

An agent stands in one of four rooms; somewhere is a green square that it should step onto. It sees
a picture of the 7x7 cells before it, its direction and its mission; it turns, or walks forward.
`mugato record minigrid-four-rooms` writes an expert's demonstrations to this machine's Minari
folder. Every source does for its data what this file does for one episode: what comes out is a spec
and episodes. `mugato/data/formats/minari/read.py` is its general form; read `pointmaze.py` next.
"""

import minari
import numpy as np

from mugato.episode import Episode, validate
from mugato.spec import Spec, spec_of
from mugato.tokens.timesteps import Timesteps, tokenize
from mugato.tokens.tokenizer import Tokenizer

DATASET_ID = "mugato/minigrid-four-rooms/expert-v0"


def four_rooms_episode(index: int = 0, *, dataset_id: str = DATASET_ID) -> tuple[Spec, Episode]:
    """Read one demonstration: the spec of every timestep of this task, and T of them.

    Raises:
        ValueError: if the demonstrations have not been recorded.
    """
    try:
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise ValueError(
            f"no demonstrations {dataset_id!r}; record them: mugato record minigrid-four-rooms"
        ) from error
    # The spaces lie with the data; nothing else of the environment is needed from here on.
    spec = spec_of(dataset.observation_space, dataset.action_space)
    data = dataset[index]  # nested as the spaces are, time first: observations["image"][t]
    timesteps = len(data.actions)  # the last observation, which nobody answered, is dropped
    mission = np.array(data.observations["mission"][:timesteps], dtype=object)
    others = {name: data.observations[name][:timesteps] for name in ("image", "direction")}
    episode = Episode(
        observations={"mission": mission, **others},  # text; (T, 56, 56, 3) uint8; one of 4
        actions={"action": data.actions},  # one of 7; a plain space's leaf is named as the whole
        rewards=data.rewards,  # with the last timestep, less for the time that it took
        name=f"{dataset_id} episode {index}",
    )
    return spec, validate(episode, spec)  # checked once; everything after this may trust it


def four_rooms_tokens(spec: Spec, episode: Episode, tokenizer: Tokenizer) -> Timesteps:
    """Turn T timesteps into tokens: of each leaf (T, tokens, channels).

    `mission` has n ids of SentencePiece's; `image` 4x4 patches of 16 pixels a side, (T, 16, 768),
    for 56 pixels are 3 1/2 of them and the rest is black; `direction` and `action` one discrete id
    each. With the separator between what is seen and what is done a timestep has n + 19 tokens.
    """
    return tokenize(episode, spec, tokenizer)
