"""TextWorld's generated text adventures as a Gymnasium environment: a new game for every episode.

A game is drawn from the seed, compiled for the interpreter of such games in a temporary folder,
which takes most of a second, and played from memory.
"""

import string
import tempfile
import warnings
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium import spaces

from mugato.system.optional import require

TEXT_LENGTH = 4096
# Longer commands are cut, since the interpreter reads a line of limited length; the games' own have
# up to about 90 characters.
COMMAND_LENGTH = 128


class TextWorld(gymnasium.Env):
    """Observation: the quest, the room, what is carried, the answer to the last command.

    Args:
        num_rooms, num_objects: size of the world.
        quest_length: commands that the quest takes, at least one.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012

    def __init__(
        self,
        *,
        num_rooms: int = 3,
        num_objects: int = 5,
        quest_length: int = 4,
        render_mode: str | None = None,
    ) -> None:
        # A space's characters are those of a random value; games write what they like.
        text = spaces.Text(TEXT_LENGTH, min_length=0, charset=string.printable)
        names = ("objective", "description", "inventory", "feedback")
        self.observation_space = spaces.Dict(dict.fromkeys(names, text))
        self.action_space = spaces.Text(COMMAND_LENGTH, charset=string.ascii_lowercase + " -")
        self.render_mode = render_mode
        self._size = {
            "nb_rooms": num_rooms,
            "nb_objects": num_objects,
            "quest_length": quest_length,
        }
        self._game: Any = None
        self._objective = ""
        self._state: Any = None

    @property
    def winning_commands(self) -> list[str]:
        """What to say from here on to win; empty if the game cannot be won any more."""
        return list(self._state.policy_commands)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.close()
        self._game, self._state = _new_game(int(self.np_random.integers(2**31)), self._size)
        self._objective = _in_one_line(self._state.objective)
        return self._observation(answer=""), {}

    def step(self, action: str) -> tuple:
        command = _in_one_line(action)[:COMMAND_LENGTH]
        self._state, score, over = self._game.step(command)
        # What follows the prompt is the status line of a terminal.
        answer, _, _ = self._state.feedback.partition("\n>")
        return self._observation(answer), float(score), bool(over), False, {}

    def render(self) -> str | None:
        return None if self.render_mode is None else self._state.feedback

    def close(self) -> None:
        if self._game is not None:
            self._game.close()
            self._game = None

    def _observation(self, answer: str) -> dict[str, str]:
        return {
            "objective": self._objective,
            "description": _in_one_line(self._state.description),
            "inventory": _in_one_line(self._state.inventory),
            "feedback": _in_one_line(answer),
        }


def _new_game(seed: int, size: dict[str, int]) -> tuple[Any, Any]:
    """Make a game and start it: the game and its first state."""
    textworld = require("textworld", extra="textworld")
    options = textworld.GameOptions()
    options.seeds = seed
    for name, number in size.items():
        setattr(options, name, number)
    wanted = textworld.EnvInfos(
        description=True, inventory=True, objective=True, policy_commands=True
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The interpreter knows published games only, and would know more about those.
        warnings.simplefilter("ignore", UserWarning)
        options.path = str(Path(folder) / "game.z8")
        path, _ = textworld.make(options)
        game = textworld.start(path, wanted)
        game.seed(seed)
        return game, game.reset()


def _in_one_line(text: str | None) -> str:
    """Join the lines: breaks carry nothing, tokens are dear, a finished game describes nothing."""
    return " ".join((text or "").split())
