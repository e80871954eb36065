"""Mazes as MultiNet v2.0 has them: its golden traces, its public tasks, and new ones beside it.

`multinet_v2/` holds traces of the benchmark's own world on layouts of our own, and its sixteen
public tasks (MIT, © Manifold Research Group; the notice lies beside them).
"""

import hashlib
import json
import random
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mugato.tasks.domains.mazes import TASKS, make_solver, maze_file
from mugato.tasks.envs.maze_files import maze_of, read_maze, task_of
from mugato.tasks.envs.maze_generator import HEIGHTS, LEVELS, WIDTHS, drawn, new_maze, said
from mugato.tasks.envs.maze_walls import PUBLIC_WALLS, Draft, wall_form
from mugato.tasks.envs.mazes import CANVAS, TILE_PX, Mazes, WithAim, look, picture, seen
from mugato.tasks.experts.mazes import (
    ACTIONS,
    BLOCK,
    COLORS,
    DROP,
    FORWARD,
    GATE,
    GOAL,
    KEY,
    KIND,
    LAVA,
    LEFT,
    LOCKED,
    NOTHING,
    PICKUP,
    RIGHT,
    SWITCH,
    TELEPORTER,
    TOGGLE,
    Maze,
    Thing,
    aim,
    moved,
    solve,
)
from mugato.tasks.rollout import run_episode

HERE = Path(__file__).parent / "multinet_v2"
GOLDEN = json.loads((HERE / "golden.json").read_text())["cases"]
TIERS = sorted((HERE / "tiers").glob("*.json"))
# The shortest ways by the benchmark's true rules, found and replayed there.
SHORTEST = {
    "maze_simple_001": 11, "maze_corridor_002": 27, "maze_rooms_003": 21, "single_key_001": 15,
    "multi_key_002": 23, "colored_doors_003": 37, "key_switch_001": 28, "gates_switches_002": 35,
    "complex_deps_003": 50, "push_block_001": 15, "blocked_path_002": 16, "consumable_003": 29,
    "hidden_switch_001": 22, "infer_color_002": 21, "memory_003": 30, "teleporter_004": 17,
}  # fmt: skip


def fingerprint(frame: np.ndarray) -> str:
    return hashlib.sha256(frame.tobytes()).hexdigest()[:12]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["task"]["task_id"])
def test_every_golden_trace_is_reproduced_with_its_frames(case):
    maze = maze_of(case["task"])
    for trace in case["traces"]:
        env = Mazes(maze=maze, render_mode="rgb_array")
        env.reset(seed=0)
        assert fingerprint(env.render()) == trace["first_frame"]
        for action, expected in zip(trace["actions"], trace["steps"], strict=True):
            _, reward, terminated, truncated, _ = env.step(action)
            y, x = divmod(env.position.cell, maze.width)
            carrying = COLORS[env.position.carrying] if env.position.carrying >= 0 else None
            state = [x, y, env.position.facing, carrying]
            assert [*state, terminated, truncated, fingerprint(env.render())] == [
                *expected[:4], *map(bool, expected[5:7]), expected[7]
            ]  # fmt: skip
            assert reward == pytest.approx(expected[4])


@pytest.mark.parametrize("path", TIERS, ids=lambda path: path.stem)
def test_the_expert_takes_the_shortest_way_of_each_public_task(path):
    task = maze_file(path)
    env = task.make_env()
    played = run_episode(env, make_solver, seed=0, max_episode_steps=task.max_episode_steps)
    assert len(played) == SHORTEST[path.stem]
    limit = json.loads(path.read_text())["max_steps"]
    assert played.episode_return == pytest.approx(1 - 0.9 * len(played) / limit)


@pytest.mark.parametrize("path", TIERS, ids=lambda path: path.stem)
def test_what_an_agent_sees_is_each_tile_of_the_benchmarks_picture_shrunk(path):
    maze = read_maze(path)
    env = Mazes(maze=maze)
    observation, _ = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(6):
        whole = picture(maze, env.position, 32)
        for y in range(maze.height):
            for x in range(maze.width):
                tile = Image.fromarray(whole[y * 32 : y * 32 + 32, x * 32 : x * 32 + 32])
                small = observation["image"][y * 8 : y * 8 + 8, x * 8 : x * 8 + 8]
                assert (np.asarray(tile.resize((8, 8), Image.Resampling.BOX)) == small).all()
        found = look(seen(whole))  # by the red triangle alone
        assert all((observation[name] == found[name]).all() for name in found)
        assert not observation["image"][maze.height * TILE_PX :].any()
        assert not observation["image"][:, maze.width * TILE_PX :].any()
        observation, _, terminated, _, _ = env.step(rng.integers(len(ACTIONS)))
        if terminated:
            observation, _ = env.reset(seed=0)


@pytest.mark.parametrize("level", LEVELS)
def test_new_mazes_are_beaten_in_time_and_none_has_the_walls_of_a_public_task(level):
    public = {wall_form(m.width, m.height, m.walls) for m in map(read_maze, TIERS)}
    assert public == PUBLIC_WALLS
    for seed in range(6):
        maze = new_maze(np.random.default_rng(seed), level)
        actions = solve(maze, maze.first_position, random.Random(seed))
        position = maze.first_position
        for action in actions:
            assert maze.outcome(position) == "on"
            position = moved(maze, position, action)
        assert maze.outcome(position) == "won" and 2 * len(actions) < maze.max_steps
        assert wall_form(maze.width, maze.height, maze.walls) not in public
        assert 8 <= maze.width <= CANVAS[0] and 6 <= maze.height <= CANVAS[1]
        assert replace(maze_of(task_of(maze)), name=maze.name).first_position == maze.first_position


def test_the_levels_hold_what_they_are_called_for():
    def drafts(level: str) -> list[Draft]:
        found = [drawn(random.Random(seed), level) for seed in range(300)]
        return [draft for draft in found if draft is not None]

    def kinds(level: str) -> set[int]:
        codes = {thing.code for draft in drafts(level) for thing in draft.things}
        return {code & KIND or code for code in codes} - {GOAL}

    assert kinds("empty") == kinds("corridors") == set()
    assert kinds("keys") >= {KEY, LOCKED} and kinds("switches") >= {SWITCH, GATE}
    assert kinds("chains") == {KEY, LOCKED, SWITCH, GATE, BLOCK, LAVA, TELEPORTER}
    assert kinds("teleporters") == {BLOCK, LAVA, TELEPORTER}
    sizes = {(draft.width, draft.height) for draft in drafts("corridors")}
    assert len(sizes) == len(WIDTHS) * len(HEIGHTS)
    missions = {said(draft, random.Random(i)) for i, draft in enumerate(drafts("keys"))}
    assert "" in missions and len(missions) > 50


@pytest.mark.thorough
@pytest.mark.parametrize("level", ["corridors", "keys", "switches", "chains"])
def test_the_expert_is_as_short_as_a_search_that_tries_every_action(level):
    for seed in range(8):
        maze = new_maze(np.random.default_rng(seed), level)
        depth = {maze.first_position: 0}
        waiting = deque(depth)
        found = None
        while found is None:
            position = waiting.popleft()
            for action in range(len(ACTIONS)):
                after = moved(maze, position, action)
                if action == DROP or after in depth or maze.outcome(after) == "lost":
                    continue
                depth[after] = depth[position] + 1
                waiting.append(after)
                if maze.outcome(after) == "won":
                    found = depth[after]
        assert len(solve(maze, maze.first_position, random.Random(seed))) == found


@pytest.mark.parametrize("level", LEVELS)
def test_the_expert_says_what_it_uses(level):
    task = next(task for task in TASKS if task.name == f"mazes-{level}")
    for seed in range(6):
        played = run_episode(task.make_env(), make_solver, seed=seed, max_episode_steps=400)
        for observation, action in zip(played.observations, played.actions, strict=False):
            if action["move"] in (PICKUP, TOGGLE, DROP):
                x, y, facing = observation["pose"]
                dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[facing]
                used = tuple(action["aim"])
                assert used in ((x, y), (x + dx, y + dy))


def test_an_aim_is_what_the_way_comes_to_next():
    maze = Maze(
        width=12, height=4, walls=frozenset(), start=(1, 1), target=(10, 2), max_steps=99,
        things=(Thing(cell=(9, 1), code=KEY | 1),),
    )  # fmt: skip
    position = maze.first_position
    way = [*[FORWARD] * 7, PICKUP, RIGHT, FORWARD, LEFT, FORWARD, FORWARD]
    found = []
    for step, action in enumerate(way):
        y, x = divmod(aim(maze, position, way[step:]), maze.width)
        found.append((x, y))
        position = moved(maze, position, action)
    assert found == [(9, 1)] * 8 + [(10, 2)] * 5 and maze.outcome(position) == "won"


def test_what_is_said_changes_nothing():
    one, two = WithAim(Mazes("keys")), Mazes("keys")
    (seen_1, _), (seen_2, _) = one.reset(seed=3), two.reset(seed=3)
    one.action_space.seed(0)
    for _ in range(30):
        action = one.action_space.sample()
        seen_1, seen_2 = one.step(action)[0], two.step(action["move"])[0]
        assert (seen_1["image"] == seen_2["image"]).all()


def test_a_wrong_key_is_laid_down_for_the_right_one():
    task = json.loads((HERE / "tiers" / "infer_color_002.json").read_text())
    maze = maze_of(task)
    needed = {door["requires_key"] for door in task["mechanisms"]["doors"]}
    wrong = next(key for key in task["mechanisms"]["keys"] if key["color"] not in needed)
    number = maze.number(tuple(wrong["position"]))
    cells = bytearray(maze.first_position.cells)
    cells[number] = 0
    position = maze.first_position._replace(
        cells=bytes(cells), carrying=COLORS.index(wrong["color"])
    )
    actions = solve(maze, position, random.Random(0))
    assert DROP in actions
    for action in actions:
        position = moved(maze, position, action)
    assert maze.outcome(position) == "won"


def test_the_view_is_what_lies_around_the_agent_with_its_front_up():
    env = Mazes(maze=read_maze(TIERS[0]))
    observation, _ = env.reset(seed=0)
    image, view = observation["image"], observation["view"]
    assert observation["pose"].tolist() == [1, 1, 0]
    east = image[8:16, 16:24]  # the cell before the agent, which faces right
    assert (np.rot90(view[16:24, 24:32], -1) == east).all()
    assert not view[:, :8].any()  # beyond the maze
    turned = env.step(1)[0]
    assert turned["pose"].tolist() == [1, 1, 1]
    south = turned["image"][16:24, 8:16]
    assert (np.rot90(turned["view"][16:24, 24:32], 2) == south).all()


@pytest.mark.parametrize(
    ("name", "shortest"), [("colored_doors_003", 39), ("complex_deps_003", 52)]
)
def test_keys_that_are_kept_are_laid_down_after_their_doors(name, shortest):
    maze = replace(read_maze(TIERS[0].with_stem(name)), keys_vanish=False)
    position = maze.first_position
    actions = solve(maze, position, random.Random(0))
    for action in actions:
        position = moved(maze, position, action)
    assert maze.outcome(position) == "won" and DROP in actions and len(actions) == shortest


def test_a_door_in_the_border_leads_nowhere():
    task = task_of(ROOM)
    task["mechanisms"]["keys"] = [{"position": [1, 2], "color": "red"}]
    task["mechanisms"]["doors"] = [
        {"position": place, "requires_key": "red", "initial_state": "open"}
        for place in ([5, 1], [0, 2], [2, 4])
    ]
    maze = maze_of(task)
    east = maze.first_position._replace(cell=maze.number((4, 1)))
    for action in (TOGGLE, FORWARD, FORWARD, FORWARD):
        east = moved(maze, east, action)
    assert east.cell == maze.number((5, 1))
    south = maze.first_position._replace(cell=maze.number((2, 3)), facing=1)
    for action in (TOGGLE, FORWARD, FORWARD):
        south = moved(maze, south, action)
    assert south.cell == maze.number((2, 4))


def test_only_the_block_that_is_wanted_wins():
    task = task_of(replace(ROOM, width=8))
    task["mechanisms"]["blocks"] = [
        {"id": "b", "position": [2, 1], "color": "grey"},
        {"id": "c", "position": [5, 3], "color": "grey"},
    ]
    task["goal"] = {"type": "push_block_to", "target_ids": ["c"], "target_positions": [[3, 1]]}
    maze = maze_of(task)
    pushed = moved(maze, maze.first_position, FORWARD)
    assert maze.outcome(pushed) == "on"
    task["goal"]["target_ids"] = ["b"]
    assert (
        maze_of(task).outcome(moved(maze_of(task), maze_of(task).first_position, FORWARD)) == "won"
    )


ROOM = Maze(width=6, height=5, walls=frozenset(), start=(1, 1), target=(4, 3), max_steps=20)


def test_time_is_over_after_the_mazes_own_steps_and_lava_ends_an_episode_without_reward():
    env = Mazes(maze=replace(ROOM, max_steps=3))
    env.reset(seed=0)
    assert [env.step(NOTHING)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]
    with pytest.raises(ValueError, match="actions are 0 to 6, got 7"):
        env.step(7)
    lava = task_of(ROOM)
    lava["mechanisms"]["hazards"] = [{"position": [2, 1], "hazard_type": "lava"}]
    env = Mazes(maze=maze_of(lava))
    env.reset(seed=0)
    assert env.step(FORWARD)[1:4] == (0.0, True, False)


def test_a_push_ends_an_episode_where_the_benchmarks_world_would_stop_with_an_error():
    task = task_of(ROOM)
    task["mechanisms"]["blocks"] = [{"position": [2, 1], "color": "grey"}]
    env = Mazes(maze=maze_of(task))
    env.reset(seed=0)
    assert env.step(FORWARD)[1:4] == (0.0, True, False)


def broken(**changes) -> dict:
    task = json.loads((HERE / "tiers" / "key_switch_001.json").read_text())
    for place, value in changes.items():
        part = task
        *way, last = place.split("__")
        for name in way:
            part = part[int(name) if isinstance(part, list) else name]
        part[last] = value
    return task


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ([], "maze must be of type dict, got None"),
        (broken(maze__dimensions=[2, 8]), "maze.dimensions must be at least 3, got 2 x 8"),
        (broken(maze__start=[0, 1]), r"start \(0, 1\) is no free cell"),
        (broken(maze__walls=3), "walls must be of type list, got 3"),
        (broken(maze__walls=[[1, "a"]]), "walls must be two whole numbers"),
        (broken(goal__type="collect_all"), "goal.type must be one of reach_position"),
        (broken(max_steps="many"), "max_steps must be of type int, got 'many'"),
        (broken(mechanisms__keys=[]), "the door at .* has no .* key"),
        (broken(mechanisms__switches__0__controls=["g9"]), "controls 'g9', which is no gate"),
        (broken(mechanisms__switches__0__switch_type="odd"), "must be toggle or hold or one_shot"),
        (broken(mechanisms__hazards=[{"position": [99, 1]}]), "lies outside of"),
        (broken(mechanisms__blocks=[{"position": [0, 1]}]), "stands in a wall"),
        (broken(mechanisms__blocks=[7]), "blocks must hold objects, got 7"),
        (broken(maze__walls=[[50, 50]]), r"wall \(50, 50\) lies outside of"),
        (broken(max_steps=0), "max_steps must be at least 1, got 0"),
        (broken(rules__key_consumption="no"), "key_consumption must be of type bool"),
        (broken(mechanisms__doors__0__initial_state="ajar"), "must be locked or open, got 'ajar'"),
        (broken(mechanisms__doors__0__requires_key="pink"), "has no pink key"),
        (broken(maze__start=[True, 1]), "start must be two whole numbers"),
    ],
)
def test_what_is_no_maze_is_refused_with_its_file_and_place(tmp_path, task, message):
    path = tmp_path / "task.json"
    path.write_text(json.dumps(task))
    with pytest.raises(ValueError, match=message) as caught:
        read_maze(path)
    assert str(path) in str(caught.value)


def test_two_things_in_one_cell_and_mazes_larger_than_the_canvas_are_refused():
    task = broken()
    task["mechanisms"]["blocks"] = [{"position": task["mechanisms"]["keys"][0]["position"]}]
    with pytest.raises(ValueError, match="two things stand at"):
        maze_of(task)
    with pytest.raises(ValueError, match="agents see 20 x 12"):
        Mazes(maze=replace(ROOM, width=30))
    with pytest.raises(ValueError, match=r"no mazes 'chain'.*did you mean chains"):
        new_maze(np.random.default_rng(0), "chain")


def test_an_episode_of_a_seed_is_the_same_anywhere():
    task = next(task for task in TASKS if task.name == "mazes-chains")
    one, two = (
        run_episode(task.make_env(), make_solver, seed=5, max_episode_steps=400, action_noise=0.05)
        for _ in range(2)
    )
    assert len(one) == len(two) > 10
    for a, b in zip(one.actions, two.actions, strict=True):
        assert a["move"] == b["move"] and (a["aim"] == b["aim"]).all()
    assert (one.observations[-1]["image"] == two.observations[-1]["image"]).all()
