from dataclasses import replace

import numpy as np
import pytest

from mugato.tasks.domains.sokoban import TASKS
from mugato.tasks.envs.sokoban import (
    CELLS,
    MIN_SOLUTION_MOVES,
    MOVES,
    Level,
    Sokoban,
    moved,
    new_level,
)
from mugato.tasks.experts.sokoban import solve
from mugato.tasks.task import TUNING_SEEDS

SEED = TUNING_SEEDS.start
ROOM = frozenset((row, column) for row in range(1, 5) for column in range(1, 5))


def level(boxes, goals, player=(1, 1)) -> Level:
    return Level(
        height=6,
        width=6,
        floor=ROOM,
        boxes=frozenset(boxes),
        goals=frozenset(goals),
        player=player,
    )


@pytest.mark.parametrize("seed", range(5))
def test_new_levels_are_solved_by_the_solver_and_not_at_once(seed: int):
    start = new_level(np.random.default_rng(seed), height=7, width=7, num_boxes=2)
    numbers = solve(start)
    assert len(numbers) >= MIN_SOLUTION_MOVES
    position = start.position
    for number in numbers:
        assert moved(start, position, number) != position
        position = moved(start, position, number)
    assert position[1] == start.goals


@pytest.mark.thorough
def test_solutions_are_as_short_as_those_of_a_breadth_first_search():
    for seed in range(5):
        start = new_level(np.random.default_rng(seed), height=6, width=6, num_boxes=2)
        seen, front, moves = {start.position}, [start.position], 0
        while not any(boxes == start.goals for _, boxes in front):
            steps = {moved(start, p, number) for p in front for number in range(len(MOVES))}
            front = list(steps - seen)
            seen |= steps
            moves += 1
        assert len(solve(start)) == moves


def test_a_box_in_a_corner_is_lost_and_a_solved_level_needs_nothing():
    assert solve(level([(1, 4)], [(4, 4)])) is None
    assert solve(level([(2, 2)], [(2, 2)])) == []


def test_walls_and_second_boxes_do_not_move():
    down, left, right = 1, 2, 3
    start = level([(1, 2), (1, 3)], [(2, 2), (2, 3)])
    assert moved(start, start.position, left) == start.position
    assert moved(start, start.position, right) == start.position
    pushed = level([(3, 1)], [(4, 1)], player=(2, 1))
    assert moved(pushed, pushed.position, down) == ((3, 1), frozenset([(4, 1)]))


def test_rewards_are_the_papers():
    env = Sokoban(num_boxes=2)
    env.reset(seed=0)
    env.level = level([(1, 2), (4, 2)], [(1, 3), (4, 3)])
    right = 3
    assert env.step(right)[1] == pytest.approx(0.9)  # onto a goal
    assert env.step(right)[1] == pytest.approx(-1.1)  # off it again
    env.level = replace(env.level, boxes=frozenset([(1, 3), (4, 2)]), player=(4, 1))
    observation, reward, terminated, truncated, _ = env.step(right)
    assert (reward, terminated, truncated) == (pytest.approx(10.9), True, False)
    assert CELLS[observation[4, 3]] == "box on goal"
    assert CELLS[observation[4, 2]] == "player"


def test_the_picture_shows_the_cells():
    env = TASKS[0].make_env(render_mode="rgb_array")
    grid, _ = env.reset(seed=SEED)
    picture = env.render()
    assert picture.shape == (7 * 32, 7 * 32, 3)
    middles = picture[16::32, 16::32].reshape(-1, 3)
    assert len(np.unique(middles, axis=0)) == len(np.unique(grid))


def test_too_many_boxes_are_refused():
    with pytest.raises(ValueError, match="a 7x7 level holds 1 to 6 boxes, not 7"):
        Sokoban(num_boxes=7).reset(seed=0)


def test_a_step_before_the_reset_is_refused():
    with pytest.raises(ValueError, match="reset the environment"):
        Sokoban().step(0)
