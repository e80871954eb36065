"""One FourRooms demonstration, from the file to an `Episode`: the data source to read first.

An agent stands in one of four rooms; somewhere is a green square that it should step onto. At each
timestep it sees a picture of the 7x7 cells before it, knows in which of four directions it looks
and what its mission is; it turns, or walks forward. An expert did this 1,200 times: `mugato record
minigrid-four-rooms` writes its demonstrations to this machine's Minari folder.

The other sources do the same for their own data and hide it behind `source[i]`: whatever the
modality, what comes out is a spec and episodes. This one does a single episode step by step.
`minari_source.py` is its general form, for any spaces, any number of episodes, with the errors.
"""

import minari
import numpy as np

from mugato.episode import Episode, validate
from mugato.spec import Spec, spec_of

DATASET_ID = "mugato/minigrid-four-rooms/expert-v0"


def four_rooms_episode(index: int = 0) -> tuple[Spec, Episode]:
    """Read one demonstration.

    Returns:
        The spec says what one timestep looks like, leaf by leaf, for every episode of this task:
        `mission` is text, `image` an image of shape (56, 56, 3), `direction` one of 4 values,
        `action` one of 7. The episode holds T timesteps of each.

    Raises:
        ValueError: if the demonstrations have not been recorded.
    """
    try:
        dataset = minari.load_dataset(DATASET_ID)
    except FileNotFoundError as error:
        raise ValueError(
            f"no demonstrations {DATASET_ID!r}; record them: mugato record minigrid-four-rooms"
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
        name=f"{DATASET_ID} episode {index}",
    )

    # Checked once, here, where the episode enters: everything after this may trust it.
    return spec, validate(episode, spec)
