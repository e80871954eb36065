"""One FourRooms demonstration, from the file to its tokens: the data source to read first.

An agent stands in one of four rooms; somewhere is a green square that it should step onto. At each
timestep it sees a picture of the 7x7 cells before it, knows in which of four directions it looks
and what its mission is; it turns, or walks forward. An expert did this 1,200 times: `mugato record
minigrid-four-rooms` writes its demonstrations to this machine's Minari folder, and `mugato data
show minigrid-four-rooms` shows one as below.

The other sources do the same for their own data and hide it behind `source[i]`: whatever the
modality, what comes out is a spec and episodes. This one does a single episode step by step.
`minari_source.py` is its general form, for any spaces, any number of episodes, with the errors;
`pointmaze.py` is the next to read, for robots have no pictures and no missions but numbers.
"""

import minari
import numpy as np

from mugato.episode import Episode, validate
from mugato.spec import Spec, spec_of
from mugato.tokens.timesteps import Timesteps, tokenize
from mugato.tokens.tokenizer import Tokenizer

DATASET_ID = "mugato/minigrid-four-rooms/expert-v0"


def four_rooms_episode(index: int = 0, *, dataset_id: str = DATASET_ID) -> tuple[Spec, Episode]:
    """Read one demonstration.

    Returns:
        The spec says what one timestep looks like, leaf by leaf, for every episode of this task:
        `mission` is text, `image` an image of shape (56, 56, 3), `direction` one of 4 values,
        `action` one of 7. The episode holds T timesteps of each.

    Raises:
        ValueError: if the demonstrations have not been recorded.
    """
    try:
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise ValueError(
            f"no demonstrations {dataset_id!r}; record them: mugato record minigrid-four-rooms"
        ) from error

    # Minari keeps the environment's Gymnasium spaces with the data. The spec follows from them, so
    # that neither training nor acting needs to know anything else about the environment.
    spec = spec_of(dataset.observation_space, dataset.action_space)

    # Minari nests values as the spaces do, and puts time first: observations["image"][t].
    data = dataset[index]
    timesteps = len(data.actions)

    # There is one observation more than actions: the last, which nobody answered, is dropped.
    episode = Episode(
        observations={
            "mission": np.array(data.observations["mission"][:timesteps], dtype=object),
            "image": data.observations["image"][:timesteps],  # uint8 until the GPU
            "direction": data.observations["direction"][:timesteps],
        },
        # The action space is a plain Discrete(7), so its only leaf is named after the whole.
        actions={"action": data.actions},
        # The reward comes with the last timestep, and falls with the time that it took.
        rewards=data.rewards,
        name=f"{dataset_id} episode {index}",
    )

    # Checked once, here, where the episode enters: everything after this may trust it.
    return spec, validate(episode, spec)


def four_rooms_tokens(spec: Spec, episode: Episode, tokenizer: Tokenizer) -> Timesteps:
    """Turn T timesteps into tokens, each leaf by its kind.

    Returns:
        Of every leaf an array (T, tokens, channels); ids have 1 channel, a patch its 768 pixels:

        - `mission` (T, n, 1): SentencePiece's ids, the same n at every timestep.
        - `image` (T, 16, 768): 56 pixels are 3 1/2 patches of 16, so 4x4 of them, the rest black.
        - `direction` (T, 1, 1): the first discrete id and the three that follow it.
        - `action` (T, 1, 1): the first discrete id and six more; where it stands in the stream
          tells the model that it is an action. Only actions will be predicted.

        With the separator between what is seen and what is done these are n + 19 tokens a timestep.
    """
    return tokenize(episode, spec, tokenizer)
