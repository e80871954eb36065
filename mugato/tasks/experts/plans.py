"""An expert that follows a plan, and plans again where something else was executed."""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from mugato.tasks.task import Action, Observation

World = TypeVar("World")  # the game as it stands
Position = TypeVar("Position", bound=Hashable)


class PlanFollower(Generic[World, Position]):
    """Acts by a search over a game's own rules.

    Args:
        look: returns the game as it stands, and the position in it.
        search: returns actions that win from there; None or nothing where none do.
        moved: returns the position after an action.
        say: makes an answer of what is left of a plan; its first action if None.
        what: is being solved, for the error.
    """

    def __init__(
        self,
        *,
        look: Callable[[], tuple[World, Position]],
        search: Callable[[World, Position], Sequence[int] | None],
        moved: Callable[[World, Position, int], Position],
        say: Callable[[World, Position, Sequence[int]], Action] | None = None,
        what: str,
    ) -> None:
        self._look, self._search, self._moved, self._what = look, search, moved, what
        self._say = say or (lambda world, position, plan: plan[0])
        self._plan: Sequence[int] = ()
        self._expected: Position | None = None

    def __call__(self, observation: Observation) -> Action:
        """Return the next action; what is observed is not looked at.

        Raises:
            RuntimeError: noise or an agent has spoilt the game.
        """
        world, position = self._look()
        if position != self._expected:
            self._plan = self._search(world, position) or ()
        if not self._plan:
            raise RuntimeError(f"the {self._what} has no solution any more")
        said = self._say(world, position, self._plan)
        action, self._plan = self._plan[0], self._plan[1:]
        self._expected = self._moved(world, position, action)
        return said
