"""JAT: every kind of task from a folder of its layout; what is wrong with a copy is named."""

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("datasets")

from datasets import Value

from mugato.data.formats.jat import ATARI_ACTIONS, CONFIGS, TASKS, check_pictures, open_jat
from mugato.data.registry import open_source
from mugato.data.windows import WindowConfig, windows_of
from mugato.episode import validate
from mugato.tokens.sequence import encode
from tests.agents import tiny_tokenizer
from tests.data.formats.hub_files import (  # noqa: F401
    JAT_FEATURES,
    game_stacks,
    no_hub,
    png,
    write_jat,
    write_parquet,
)

pytestmark = pytest.mark.usefixtures("no_hub")

LENGTHS = (5, 1, 3)
RNG = np.random.default_rng(0)


def pictures(stacks: np.ndarray) -> list[dict]:
    return [{"bytes": png(stack), "path": None} for stack in stacks]


def atari(**changes: Any) -> dict[str, list]:
    columns = {
        "image_observations": [pictures(game_stacks(n, seed=n)) for n in LENGTHS],
        "discrete_actions": [[t % 6 for t in range(n)] for n in LENGTHS],
        "rewards": [[1.5] * n for n in LENGTHS],
    }
    return {**columns, **changes}


def metaworld(**changes: Any) -> dict[str, list]:
    columns = {
        "continuous_observations": [RNG.normal(size=(n, 39)).tolist() for n in LENGTHS],
        "continuous_actions": [(3 * RNG.normal(size=(n, 4))).tolist() for n in LENGTHS],
        "rewards": [[0.25] * n for n in LENGTHS],
    }
    return {**columns, **changes}


def babyai() -> dict[str, list]:
    seen = [np.column_stack([np.full(n, 3), RNG.integers(11, size=(n, 147))]) for n in LENGTHS]
    return {
        "text_observations": [["go to the red ball"] * n for n in LENGTHS],
        "discrete_observations": [rows.tolist() for rows in seen],
        "discrete_actions": [[2] * n for n in LENGTHS],
        "rewards": [[0.0] * n for n in LENGTHS],
    }


def test_all_157_tasks_and_four_more_have_names():
    assert len(set(TASKS)) == 157
    assert len(set(CONFIGS)) == 161
    assert {"atari-pong", "babyai-go-to-red-ball", "metaworld-reach", "mujoco-ant"} <= set(TASKS)


def test_atari_games_have_as_many_actions_as_the_emulator_says():
    ale_py = pytest.importorskip("ale_py")
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    names = {rom.replace("_", ""): rom for rom in roms.get_all_rom_ids()}
    for game in ("pong", "asteroids", "freeway", "montezumarevenge", "tutankham"):
        ale = ale_py.ALEInterface()
        ale.loadROM(roms.get_rom_path(names[game]))
        assert ATARI_ACTIONS[game] == len(ale.getMinimalActionSet())


def test_atari_shows_the_newest_frame(tmp_path: Path):
    where = write_jat(tmp_path, "atari-pong", atari())
    source = open_source(f"jat:{where}", "train")
    assert source.name == f"jat:{where}" and source.lengths == LENGTHS
    leaf = source.spec.observation_leaves["image_observation"]
    assert (leaf.kind, leaf.shape) == ("image", (84, 84))
    assert source.spec.action_leaves["action"].high == (5.0,)
    for i, n in enumerate(LENGTHS):
        episode = validate(source[i], source.spec)
        seen = episode.observations["image_observation"]
        np.testing.assert_array_equal(seen, game_stacks(n, seed=n)[..., -1])
        assert episode.actions["action"].tolist() == [t % 6 for t in range(n)]
        assert episode.rewards.tolist() == [1.5] * n
    assert source[0] is source[0]
    with pytest.raises(IndexError, match="has 3 episodes, no episode 3"):
        source[3]


def test_atari_shows_more_frames_if_asked(tmp_path: Path):
    where = write_jat(tmp_path, "atari-pong", atari())
    source = open_jat(where, "test", frames=3)
    seen = validate(source[0], source.spec).observations
    assert list(seen) == [f"image_observation/{i}" for i in range(3)]
    for i in range(3):
        expected = game_stacks(5, seed=5)[..., 1 + i]
        np.testing.assert_array_equal(seen[f"image_observation/{i}"], expected)
    with pytest.raises(ValueError, match="frames must be 1 to 4, got 5"):
        open_jat(where, "test", frames=5)


def test_metaworld_and_mujoco_are_unbounded_numbers(tmp_path: Path):
    columns = metaworld()
    for config in ("metaworld-reach", "mujoco-ant"):
        source = open_jat(write_jat(tmp_path, config, columns), "train")
        assert not source.spec.action_leaves["action"].bounded
        for i in range(len(LENGTHS)):
            episode = validate(source[i], source.spec)
            expected = np.float32(columns["continuous_observations"][i])
            np.testing.assert_array_equal(episode.observations["continuous_observation"], expected)
            expected = np.float32(columns["continuous_actions"][i])
            np.testing.assert_array_equal(episode.actions["action"], expected)


def test_babyai_is_codes_and_a_mission(tmp_path: Path):
    columns = babyai()
    source = open_jat(write_jat(tmp_path, "babyai-go-to-red-ball", columns), "train")
    assert list(source.spec.observation_leaves) == ["text_observation", "discrete_observation"]
    assert source.spec.action_leaves["action"].high == (6.0,)
    seen = validate(source[2], source.spec).observations
    assert seen["text_observation"].tolist() == ["go to the red ball"] * 3
    expected = columns["discrete_observations"][2]
    np.testing.assert_array_equal(seen["discrete_observation"], expected)


def test_texts_captions_and_questions(tmp_path: Path):
    image = [{"bytes": png(np.full((30, 20, 3), 7, np.uint8)), "path": None}]
    document = open_jat(write_jat(tmp_path, "wikipedia", {"text": ["An article."]}), "train")
    assert document[0].actions["text"][0] == "An article."
    columns = {"images": image, "text": ["a dull day"]}
    captions = open_jat(write_jat(tmp_path, "conceptual-captions", columns), "train", size_px=16)
    assert captions[0].actions["caption"][0] == "a dull day"
    assert (captions[0].observations["image"] == 7).all()
    columns = {"images": image * 2, "text": ["Q: What is it? A: a day", "no question"]}
    questions = open_jat(write_jat(tmp_path, "ok-vqa", columns), "train", size_px=16)
    assert questions[0].observations["question"][0] == "What is it?"
    assert questions[0].actions["answer"][0] == "a day"
    with pytest.raises(ValueError, match="row 1: 'text' is not of the form 'Q: "):
        questions[1]


@pytest.mark.parametrize(
    ("config", "columns"),
    [("atari-pong", atari), ("metaworld-reach", metaworld), ("babyai-open", babyai)],
)
def test_episodes_become_tokens_and_windows(tmp_path: Path, config: str, columns):
    source = open_jat(write_jat(tmp_path, config, columns()), "train")
    tokenizer = tiny_tokenizer()
    whole = encode(source[2], source.spec, tokenizer)
    assert len(np.unique(whole.timesteps)) == 3
    windows = windows_of(source, tokenizer, WindowConfig(context_length=1024))
    assert len(windows) >= 1


def test_a_source_travels_to_other_processes_without_its_episodes(tmp_path: Path):
    source = open_jat(write_jat(tmp_path, "atari-pong", atari()), "train")
    small = len(pickle.dumps(source))
    assert len(source[0]) == 5
    assert len(pickle.dumps(source)) == small
    assert len(pickle.loads(pickle.dumps(source))[2]) == 3


def test_the_first_episodes_alone(tmp_path: Path):
    where = write_jat(tmp_path, "atari-pong", atari())
    first, whole = open_jat(where, "train", rows=2), open_jat(where, "train")
    assert first.lengths == LENGTHS[:2]
    for i in range(2):
        np.testing.assert_equal(dict(first[i].observations), dict(whole[i].observations))


def test_unknown_names_list_close_ones():
    with pytest.raises(ValueError, match=r"JAT has no 'atari-pongo'; did you mean atari-pong "):
        open_jat("atari-pongo", "train")


def test_no_network_is_said_at_once():
    start = time.monotonic()
    with pytest.raises(
        ValueError, match=r"jat-project/jat-dataset/atari-pong .* the hub cannot be reached"
    ):
        open_source("jat:atari-pong", "train")
    assert time.monotonic() - start < 5


def broken(rows: list, episode: int, timestep: int, value: Any) -> list:
    """Return the same rows with one value of one episode changed."""
    changed = [list(row) for row in rows]
    changed[episode][timestep] = value
    return changed


NAN_ROW = [0.0] * 38 + [float("nan")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            metaworld(
                continuous_observations=broken(
                    metaworld()["continuous_observations"], 2, 1, NAN_ROW
                )
            ),
            r"reach train episode 2: observation 'continuous_observation' at timestep 1 holds NaN",
        ),
        (
            metaworld(
                continuous_observations=broken(metaworld()["continuous_observations"], 2, 1, [0.0])
            ),
            r"reach train episode 2: 'continuous_observation'.*expected shape \(39,\)",
        ),
        (
            metaworld(continuous_actions=broken(metaworld()["continuous_actions"], 2, 1, None)),
            r"reach train episode 2: 'action'",
        ),
        (
            metaworld(rewards=[[0.0] * 5, [0.0], [0.0] * 2]),
            r"reach train episode 2: 'rewards' has 2 timesteps, but there are 3 actions",
        ),
        (
            metaworld(rewards=broken(metaworld()["rewards"], 2, 1, float("nan"))),
            r"reach train episode 2: 'rewards' at timestep 1 is nan",
        ),
        (
            metaworld(continuous_observations=[[NAN_ROW] * 5, [NAN_ROW], None]),
            r"reach train episode 2: 'continuous_observations' holds no list of timesteps",
        ),
    ],
)
def test_damage_is_named_with_episode_and_field(tmp_path: Path, columns, message: str):
    source = open_jat(write_jat(tmp_path, "metaworld-reach", columns), "train")
    with pytest.raises(ValueError, match=message) as caught:
        source[2]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("nothing", [[], None])
def test_episodes_of_no_timesteps_are_refused_at_the_start(tmp_path: Path, nothing):
    actions = [*metaworld()["continuous_actions"][:2], nothing]
    where = write_jat(tmp_path, "metaworld-reach", metaworld(continuous_actions=actions))
    with pytest.raises(ValueError, match="episode 2: 'continuous_actions' has no timesteps"):
        open_jat(where, "train")


def test_a_column_of_another_type_is_refused(tmp_path: Path):
    folder = tmp_path / "atari-pong"
    columns = {"continuous_observations": [[[0.0]]], "discrete_actions": [1], "rewards": [[0.0]]}
    features = {**JAT_FEATURES, "discrete_actions": Value("int64")}
    write_parquet(folder, {"train": columns}, features)
    with pytest.raises(ValueError, match=r"'discrete_actions' holds no lists, but int64"):
        open_jat(str(folder), "train")


@pytest.mark.parametrize("column", ["continuous_observations", "continuous_actions", "rewards"])
def test_missing_columns_are_named(tmp_path: Path, column: str):
    columns = metaworld()
    del columns[column]
    where = write_jat(tmp_path, "metaworld-reach", columns)
    with pytest.raises(ValueError, match=f"metaworld-reach train .*{column}"):
        open_jat(where, "train")


def test_actions_that_a_game_does_not_have_are_refused(tmp_path: Path):
    columns = atari(discrete_actions=[[0] * 5, [6], [0] * 3])
    source = open_jat(write_jat(tmp_path, "atari-pong", columns), "train")
    with pytest.raises(ValueError, match=r"episode 1: action 'action' .*is outside \[0, 5\]"):
        source[1]


def test_damaged_pictures_are_named_with_their_timestep(tmp_path: Path):
    images = atari()["image_observations"]
    cut = {"bytes": images[2][1]["bytes"][:200], "path": None}
    columns = atari(image_observations=broken(images, 2, 1, cut))
    source = open_jat(write_jat(tmp_path, "atari-pong", columns), "train")
    message = r"episode 2: 'image_observations' at timestep 1 cannot be read .*truncated"
    with pytest.raises(ValueError, match=message):
        source[2]
    columns = atari(image_observations=broken(images, 2, 1, None))
    source = open_jat(write_jat(tmp_path, "atari-alien", columns), "train")
    with pytest.raises(ValueError, match=r"episode 2: .* at timestep 1 holds no picture"):
        source[2]


def shuffled(stacks: np.ndarray) -> np.ndarray:
    order = np.random.default_rng(0).permutation(stacks[0].size)
    return stacks.reshape(len(stacks), -1)[:, order].reshape(stacks.shape)


def frame_by_frame(stacks: np.ndarray) -> np.ndarray:
    """Return the bytes of four frames, one after the other, under the shape of four channels."""
    return np.ascontiguousarray(np.moveaxis(stacks, -1, 1)).reshape(stacks.shape)


@pytest.mark.parametrize(
    ("scramble", "message"),
    [(shuffled, "bytes seem shuffled"), (frame_by_frame, "frames seem to lie one after the other")],
)
def test_scrambled_pictures_are_no_pictures(tmp_path: Path, scramble, message: str):
    images = [pictures(scramble(game_stacks(n, seed=n))) for n in LENGTHS]
    columns = atari(image_observations=images)
    source = open_jat(write_jat(tmp_path, "atari-kungfumaster", columns), "train")
    with pytest.raises(ValueError, match=rf"episode 0: 'image_observations' holds no p.*{message}"):
        source[0]


def test_real_games_pass_and_scrambled_ones_do_not():
    pytest.importorskip("ale_py")
    import ale_py
    import gymnasium
    from PIL import Image

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)
    for game in ("KungFuMaster", "MontezumaRevenge", "Berzerk"):
        env = gymnasium.make(f"ALE/{game}-v5", obs_type="grayscale")
        env.action_space.seed(0)
        frames = [env.reset(seed=0)[0]] + [
            env.step(env.action_space.sample())[0] for _ in range(43)
        ]
        small = np.stack([np.asarray(Image.fromarray(f).resize((84, 84))) for f in frames])
        stacks = np.stack([small[i : i + 40 : 5] for i in range(4)], axis=-1)
        check_pictures(stacks, game)
        for scramble in (shuffled, frame_by_frame):
            with pytest.raises(ValueError, match=f"{game} holds no pictures"):
                check_pictures(scramble(stacks), game)
        env.close()


def test_pictures_of_one_color_pass():
    check_pictures(np.zeros((2, 84, 84, 4), np.uint8), "nothing")
