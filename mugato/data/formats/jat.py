"""The JAT data set: expert episodes of 157 control tasks, two texts, two picture sets (`jat:NAME`).

`jat:atari-pong` reads `jat-project/jat-dataset` on the hub (Gallouédec et al. 2024, Apache-2.0);
`jat:/folder/atari-pong` a folder of the same layout: parquet files by configuration, one episode a
row, splits `train` and `test`. Timestep t holds the observation, the action that answered it and
the reward of that action; there is no observation after the last.

Values are JAT's own, nothing is scaled here:

- `image_observations` (Atari): a PNG of 84x84 with the newest 4 gray frames, 0..255, as channels,
  which readers take for red, green, blue and transparency; the newest is the last. Each timestep
  shows that one as a gray picture, or as many as `frames` says. Of two games the stored bytes are
  reported to be scrambled, which no shape or type gives away, but `check_pictures` does.
- `continuous_observations` (Meta-World 39 values, MuJoCo): float32 as the simulator gives them.
- `discrete_observations` (BabyAI): the direction, then the 7x7x3 codes of the cells in view.
- `text_observations` (BabyAI): the mission, repeated at each timestep.
- `continuous_actions` (Meta-World 4 values, MuJoCo): float32 of the expert's network, *not clipped*
  to the environment's bounds; so the leaf has no bounds and the bins follow the µ-law.
- `discrete_actions`: of each Atari game's minimal set, or BabyAI's 7.
- `rewards`: the environment's, unclipped.
- `text`, `images` (oscar, wikipedia, conceptual-captions, ok-vqa): a document, a captioned picture,
  "Q: ... A: ..." about a picture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8

from mugato.data.cache import CachedSource, MemoryBudget
from mugato.data.formats.hub import caption_source, question_source, text_source
from mugato.data.formats.hub_rows import Place, Rows, locate, open_rows
from mugato.data.formats.parquet import to_array
from mugato.data.pictures import open_picture
from mugato.data.source import Source, similar
from mugato.data.sources.downloaded import OK_VQA
from mugato.episode import Episode
from mugato.spec import TEXT_LEAF, Leaf, Spec, Tree
from mugato.system.optional import require

REPO = "jat-project/jat-dataset"
ACTIONS = ("continuous_actions", "discrete_actions")
IMAGE = "image_observations"
TEXT = "text_observations"
OBSERVATIONS = (TEXT, IMAGE, "discrete_observations", "continuous_observations")
# JAT's own space of BabyAI's codes: four directions, then bytes.
BABYAI_HIGH = (3.0, *[254.0] * 147)
REWARDS = "rewards"
NUM_STACKED = 4
# Pictures of an episode that are looked at for whether they are pictures.
NUM_CHECKED = 8
# Neighboring pixels of a picture are alike. Measured on 1,710 stacks of the 57 games (random play,
# ale-py 0.12): the mean difference of neighbors is at most 0.53 of the mean difference of any two
# pixels, and at least 0.98 after a shuffle. A stack whose bytes were laid out frame by frame but
# read pixel by pixel stays under 0.85; yet read frame by frame again it is smoother, by a factor of
# 0.76 or less for all but seven stacks, while a true stack read so is rougher or keeps at least
# 0.89.
MAX_ROUGHNESS = 0.75
MIN_RELAID = 0.82
# How many actions an Atari game has (ALE's minimal set): the data holds numbers only.
ATARI_ACTIONS = {
    "alien": 18, "amidar": 10, "assault": 7, "asterix": 9, "asteroids": 14, "atlantis": 4,
    "bankheist": 18, "battlezone": 18, "beamrider": 9, "berzerk": 18, "bowling": 6, "boxing": 18,
    "breakout": 4, "centipede": 18, "choppercommand": 18, "crazyclimber": 9, "defender": 18,
    "demonattack": 6, "doubledunk": 18, "enduro": 9, "fishingderby": 18, "freeway": 3,
    "frostbite": 18, "gopher": 8, "gravitar": 18, "hero": 18, "icehockey": 18, "jamesbond": 18,
    "kangaroo": 18, "krull": 18, "kungfumaster": 14, "montezumarevenge": 18, "mspacman": 9,
    "namethisgame": 6, "phoenix": 8, "pitfall": 18, "pong": 6, "privateeye": 18, "qbert": 6,
    "riverraid": 18, "roadrunner": 18, "robotank": 18, "seaquest": 18, "skiing": 3, "solaris": 18,
    "spaceinvaders": 6, "stargunner": 18, "surround": 5, "tennis": 18, "timepilot": 10,
    "tutankham": 8, "upndown": 6, "venture": 18, "videopinball": 9, "wizardofwor": 10,
    "yarsrevenge": 18, "zaxxon": 18,
}  # fmt: skip
BABYAI_ACTIONS = 7
# Names as in JAT's own table of scores, apart by white space.
BABYAI = """
action-obj-door blocked-unlock-pickup boss-level boss-level-no-unlock find-obj-s5 go-to go-to-door
go-to-imp-unlock go-to-local go-to-obj go-to-obj-door go-to-red-ball go-to-red-ball-grey
go-to-red-ball-no-dists go-to-red-blue-ball go-to-seq key-corridor mini-boss-level
move-two-across-s8n9 one-room-s8 open open-door open-doors-order-n4 open-red-door open-two-doors
pickup pickup-above pickup-dist pickup-loc put-next put-next-local synth synth-loc synth-seq
unblock-pickup unlock unlock-local unlock-pickup unlock-to-unlock
"""
METAWORLD = """
assembly basketball bin-picking box-close button-press button-press-topdown
button-press-topdown-wall button-press-wall coffee-button coffee-pull coffee-push dial-turn
disassemble door-close door-lock door-open door-unlock drawer-close drawer-open faucet-close
faucet-open hammer hand-insert handle-press handle-press-side handle-pull handle-pull-side
lever-pull peg-insert-side peg-unplug-side pick-out-of-hole pick-place pick-place-wall plate-slide
plate-slide-back plate-slide-back-side plate-slide-side push push-back push-wall reach reach-wall
shelf-place soccer stick-pull stick-push sweep sweep-into window-close window-open
"""
MUJOCO = """
ant doublependulum halfcheetah hopper humanoid pendulum pusher reacher standup swimmer walker
"""
TASKS = (
    *(f"atari-{game}" for game in ATARI_ACTIONS),
    *(f"babyai-{level}" for level in BABYAI.split()),
    *(f"metaworld-{task}" for task in METAWORLD.split()),
    *(f"mujoco-{task}" for task in MUJOCO.split()),
)
TEXTS = ("oscar", "wikipedia")
PICTURES = ("conceptual-captions", "ok-vqa")
CONFIGS = (*TASKS, *TEXTS, *PICTURES)


class JatSource(CachedSource):
    """Episodes of one control task.

    Attributes:
        name: what was opened.
        spec: observations as in JAT's environments (`image_observation`, ...), and one action.
    """

    def __init__(
        self,
        *,
        name: str,
        spec: Spec,
        lengths: tuple[int, ...],
        rows: Rows,
        frames: int,
        budget: MemoryBudget,
    ) -> None:
        super().__init__(name=name, spec=spec, lengths=lengths, budget=budget)
        self._rows, self._frames = rows, frames

    def window(self, index: int, start: int, stop: int) -> Episode:
        """Read some timesteps of an episode; its row is read whole."""
        return self.checked(index).window(start, stop)

    def read(self, index: int, start: int, stop: int) -> Episode:
        """Read a whole episode, which is all that is ever asked for."""
        row = self._rows.arrow(index)
        where = f"{self._rows.name} {self._rows.split} episode {index}"
        observations: dict[str, np.ndarray] = {}
        for column in OBSERVATIONS:
            values = list_of(row, column, where) if column in row.column_names else None
            if values is not None and column == IMAGE:
                observations |= self._pictures(values, where)
            elif values is not None:
                observations[_key(column)] = self._array(values, _key(column), where)
        action = next(column for column in ACTIONS if column in row.column_names)
        actions = {"action": self._array(list_of(row, action, where), "action", where)}
        rewards = _rewards(list_of(row, REWARDS, where), self.lengths[index], where)
        return Episode(observations=observations, actions=actions, rewards=rewards, name=where)

    def _array(self, values: Any, key: str, where: str) -> np.ndarray:
        leaf = (self.spec.observation_leaves | self.spec.action_leaves)[key]
        if leaf.kind == "text":
            return np.array(values.to_pylist(), dtype=object)
        return to_array(values, leaf.shape, leaf.dtype, f"{where}: {key!r}")

    def _pictures(self, values: Any, where: str) -> dict[str, np.ndarray]:
        pictures = read_pictures(values, where)
        if pictures.ndim == 4:
            picked = np.unique(np.linspace(0, len(pictures) - 1, NUM_CHECKED).astype(int))
            check_pictures(pictures[picked], f"{where}: {IMAGE!r}")
        if pictures.ndim < 4 or pictures.shape[-1] != NUM_STACKED:
            return {_key(IMAGE): pictures}
        newest = np.ascontiguousarray(rearrange(pictures, "t h w f -> f t h w")[-self._frames :])
        if self._frames == 1:
            return {_key(IMAGE): newest[0]}
        return {f"{_key(IMAGE)}/{i}": frame for i, frame in enumerate(newest)}


def open_jat(
    where: str,
    split: str,
    budget: MemoryBudget | None = None,
    *,
    frames: int = 1,
    size_px: int = 128,
    rows: int | None = None,
) -> Source:
    """Open a configuration by its name, or a folder of the same layout.

    Args:
        frames: of Atari's newest four, how many each timestep shows, each a picture of its own, the
            newest last. One is enough where the agent sees the timesteps before.
        size_px: side of the pictures with captions and questions.
        rows: only the first episodes or rows, streamed; see `open_rows`.

    Raises:
        ValueError: for an unknown name or split, listing close ones; no network; a missing column;
            damage; an episode of no timesteps.
    """
    if not 1 <= frames <= NUM_STACKED:
        raise ValueError(f"frames must be 1 to {NUM_STACKED}, got {frames}")
    name, place = f"jat:{where}", _place(where)
    opened = open_rows(place, split, rows=rows)
    config = place.config or Path(place.path).name
    if "text" not in opened.columns:
        budget = budget or MemoryBudget()
        return _open_episodes(name, opened, config, frames=frames, budget=budget)
    if "images" not in opened.columns:
        return text_source(name, opened, "text")
    if config == "ok-vqa":
        return question_source(name, opened, OK_VQA, size_px)
    return caption_source(name, opened, "images", "text", size_px)


def _place(where: str) -> Place:
    """Find a name on the hub, anything else wherever it leads."""
    if where in CONFIGS:
        return Place(path=REPO, config=where)
    if "/" not in where and not Path(where).exists():
        raise ValueError(f"JAT has no {where!r}{similar(where, CONFIGS)}")
    return locate(where)


def read_pictures(values: Any, where: str) -> np.ndarray:
    """Decode an episode's pictures: (T, height, width[, channels]) uint8.

    Raises:
        ValueError: for a missing, damaged or differently shaped picture, naming the timestep.
    """
    pictures = []
    for t, value in enumerate(values.to_pylist()):
        place = f"{where}: {IMAGE!r} at timestep {t}"
        if not isinstance(value, Mapping) or not value.get("bytes"):
            raise ValueError(f"{place} holds no picture")
        image = open_picture(value["bytes"], place)
        picture = np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))
        if pictures and picture.shape != pictures[0].shape:
            raise ValueError(f"{place}: shape {picture.shape}, before {pictures[0].shape}")
        pictures.append(picture)
    return np.stack(pictures)


def check_pictures(stacks: UInt8[np.ndarray, "k height width frames"], where: str) -> None:
    """Refuse scrambled pictures, judged by the median of some stacks (or plain pictures).

    Raises:
        ValueError: saying in which way; `where` begins the message. Pictures of one color pass.
    """
    own = np.median(roughness(rearrange(stacks, "k h w f -> k f h w")).mean(axis=1))
    if own > MAX_ROUGHNESS:
        raise ValueError(
            f"{where} holds no pictures: neighboring pixels differ {own:.2f} times as much as any "
            f"two pixels do, in a picture at most {MAX_ROUGHNESS}; the bytes seem shuffled"
        )
    if stacks.shape[-1] != 4 or own == 0:
        return
    k, h, w, f = stacks.shape
    relaid = np.median(roughness(stacks.reshape(k, f, h, w)).mean(axis=1))
    if relaid < MIN_RELAID * own:
        raise ValueError(
            f"{where} holds no pictures: read frame by frame, not pixel by pixel, the bytes are "
            f"{relaid / own:.2f} times as rough; the frames seem to lie one after the other"
        )


def roughness(
    pictures: UInt8[np.ndarray, "*batch height width"],
) -> Float[np.ndarray, "*batch"]:
    """Divide the mean difference of neighbors by that of any two pixels; 0 if all are equal.

    >>> ramp = np.arange(64, dtype=np.uint8).repeat(64).reshape(64, 64)
    >>> noise = np.random.default_rng(0).permutation(ramp.reshape(-1)).reshape(64, 64)
    >>> roughness(np.stack([ramp, noise, 0 * ramp])).round(2).tolist()
    [0.02, 1.0, 0.0]
    """
    values = pictures.astype(np.float64)
    down, right = np.abs(np.diff(values, axis=-2)), np.abs(np.diff(values, axis=-1))
    neighbors = (down.mean(axis=(-2, -1)) + right.mean(axis=(-2, -1))) / 2
    ranked = np.sort(rearrange(values, "... h w -> ... (h w)"), axis=-1)
    n = ranked.shape[-1]
    # The mean over all pairs is a weighted sum of the sorted values.
    pairs = (ranked * (2 * np.arange(n) - n + 1)).sum(axis=-1) * 2 / n**2
    return np.divide(neighbors, pairs, out=np.zeros_like(pairs), where=pairs > 0)


def list_of(row: Any, column: str, where: str) -> Any:
    """Return a row's list, one value a timestep, as an Arrow array.

    Raises:
        ValueError: if there is none.
    """
    lists = row[column].combine_chunks()
    if not hasattr(lists.type, "value_type") or lists.null_count:
        raise ValueError(f"{where}: {column!r} holds no list of timesteps")
    return lists.flatten()


def _open_episodes(
    name: str, rows: Rows, config: str, *, frames: int, budget: MemoryBudget
) -> JatSource:
    actions = [column for column in ACTIONS if column in rows.columns]
    seen = [column for column in OBSERVATIONS if column in rows.columns]
    if len(actions) != 1 or not seen:
        raise ValueError(
            f"{rows.name} {rows.split} must have one of the columns {', '.join(ACTIONS)} and some "
            f"of {', '.join(OBSERVATIONS)}; it has {', '.join(rows.columns)}"
        )
    rows = rows.of(*seen, *actions, REWARDS)
    lengths = _lengths(rows, actions[0])
    spec = Spec(
        observation={_key(column): _tree(rows, column, config, frames) for column in seen},
        action=_tree(rows, actions[0], config, frames),
    )
    return JatSource(name=name, spec=spec, lengths=lengths, rows=rows, frames=frames, budget=budget)


def _lengths(rows: Rows, column: str) -> tuple[int, ...]:
    compute = require("pyarrow.compute", extra="hf")
    values = rows.table.data.column(column)
    if not hasattr(values.type, "value_type"):
        raise ValueError(f"{rows.name} {rows.split}: {column!r} holds no lists, but {values.type}")
    counts = compute.list_value_length(values).to_pylist()
    for index, count in enumerate(counts):
        if not count:
            raise ValueError(
                f"{rows.name} {rows.split} episode {index}: {column!r} has no timesteps"
            )
    return tuple(counts)


def _tree(rows: Rows, column: str, config: str, frames: int) -> Tree:
    """Tell a column's leaves by the first episode's first value and the task's name."""
    where = f"{rows.name} {rows.split} episode 0"
    first = list_of(rows.arrow(0), column, where)[:1]
    if column == TEXT:
        return TEXT_LEAF
    if column == IMAGE:
        shape = read_pictures(first, where).shape[1:]
        stacked = len(shape) == 3 and shape[-1] == NUM_STACKED
        leaf = Leaf(kind="image", shape=shape[:2] if stacked else shape, dtype="uint8")
        return (leaf,) * frames if stacked and frames > 1 else leaf
    value = np.asarray(first.to_pylist()[0])
    n = value.size
    if column.startswith("continuous"):
        return Leaf(kind="continuous", shape=value.shape, low=(-np.inf,) * n, high=(np.inf,) * n)
    high = _highest(column, config) or (float(_largest(rows, column)),) * n
    if len(high) != n:
        raise ValueError(f"{where}: {column!r} holds {n} values, expected {len(high)}")
    return Leaf(kind="discrete", shape=value.shape, dtype="int64", low=(0.0,) * n, high=high)


def _highest(column: str, config: str) -> tuple[float, ...] | None:
    """Return the largest values that the task's spaces have, where its name tells."""
    domain, _, task = config.partition("-")
    match domain, column:
        case "babyai", "discrete_observations":
            return BABYAI_HIGH
        case "babyai", "discrete_actions":
            return (BABYAI_ACTIONS - 1.0,)
        case "atari", "discrete_actions" if task in ATARI_ACTIONS:
            return (ATARI_ACTIONS[task] - 1.0,)
    return None


def _largest(rows: Rows, column: str) -> int:
    """Return the largest value in a column, in any row."""
    compute = require("pyarrow.compute", extra="hf")
    values = rows.table.data.column(column)
    while hasattr(values.type, "value_type"):
        values = compute.list_flatten(values)
    return compute.max(values).as_py()


def _rewards(values: Any, timesteps: int, where: str) -> np.ndarray:
    if len(values) != timesteps:
        raise ValueError(
            f"{where}: {REWARDS!r} has {len(values)} timesteps, but there are {timesteps} actions"
        )
    rewards = to_array(values, (), "float32", f"{where}: {REWARDS!r}")
    for t in np.flatnonzero(~np.isfinite(rewards))[:1]:
        raise ValueError(f"{where}: {REWARDS!r} at timestep {t} is {rewards[t]}")
    return rewards


def _key(column: str) -> str:
    """Return the name of a leaf: a timestep has one of what the column has many of."""
    return column.removesuffix("s")
