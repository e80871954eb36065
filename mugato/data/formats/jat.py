"""The JAT data set: expert episodes of 157 control tasks, two texts, two picture sets (`jat:NAME`).

`jat:atari-pong` reads `jat-project/jat-dataset` on the hub (Gallouédec et al. 2024, Apache-2.0);
`jat:/folder/atari-pong` a folder of the same layout: parquet files by configuration, one episode a
row, splits `train` and `test`. Timestep t holds the observation, the action that answered it and
the reward of that action; there is no observation after the last.

Values are JAT's own, nothing is scaled here:

- `image_observations` (Atari): a PNG of 84x84 with the newest 4 gray frames as channels, 0..255.
  Each timestep shows the last, newest one as a gray picture, or as many as `frames` says.
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from mugato.data.cache import EpisodeCache, MemoryBudget, timestep_bytes
from mugato.data.formats.frame_stacks import check_pictures
from mugato.data.formats.hub_place import Place, locate, similar
from mugato.data.formats.hub_rows import Rows, decode_image, open_rows
from mugato.data.formats.huggingface import HubCaptions, HubQuestions, HubText
from mugato.data.formats.jat_names import ATARI_ACTIONS, BABYAI_ACTIONS, CONFIGS
from mugato.data.formats.parquet import to_array
from mugato.data.source import Source
from mugato.data.sources.okvqa import OK_VQA
from mugato.episode import Episode, validate
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


class JatSource(Source):
    """Episodes of one control task; they stay in memory if all of them may.

    Attributes:
        name: what was opened.
        spec: observations as in JAT's environments (`image_observation`, ...), and one action.
        lengths: timesteps per episode.
    """

    lengths: tuple[int, ...]

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
        self.name, self.spec, self.lengths = name, spec, lengths
        self._rows, self._frames, self._budget = rows, frames, budget
        self._cache = EpisodeCache(budget, num_bytes=timestep_bytes(spec) * sum(lengths))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Episode:
        """The episode at `index`, validated when it is read.

        Raises:
            IndexError: for an index out of range.
            ValueError: for damage, naming the data set, the episode and the column or leaf.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} episodes, no episode {index}")
        return self._cache.get(index, partial(self._read, index))

    def __reduce__(self) -> tuple:
        """Send no episodes to other processes: those read what they need."""
        make = partial(JatSource, name=self.name, spec=self.spec, lengths=self.lengths)
        return partial(make, rows=self._rows, frames=self._frames, budget=self._budget), ()

    def _read(self, index: int) -> Episode:
        row = self._rows.row(index)
        where = f"{self._rows.name} {self._rows.split} episode {index}"
        observations: dict[str, np.ndarray] = {}
        for column in OBSERVATIONS:
            values = list_of(row, column, where) if column in row.column_names else None
            if values is not None and column == IMAGE:
                observations |= self._pictures(values, where)
            elif values is not None:
                observations[_key(column)] = self._array(values, _key(column), where)
        action = next(column for column in ACTIONS if column in row.column_names)
        rewards = list_of(row, REWARDS, where)
        if len(rewards) != self.lengths[index]:
            raise ValueError(
                f"{where}: {REWARDS!r} has {len(rewards)} timesteps, but there are "
                f"{self.lengths[index]} actions"
            )
        episode = Episode(
            observations=observations,
            actions={"action": self._array(list_of(row, action, where), "action", where)},
            rewards=_finite(to_array(rewards, (), "float32", f"{where}: {REWARDS!r}"), where),
            name=where,
        )
        return validate(episode, self.spec)

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
    name, place = f"jat:{where}", jat_place(where)
    opened = open_rows(place, split, rows=rows)
    config = place.config or Path(place.path).name
    if "text" not in opened.columns:
        budget = budget or MemoryBudget()
        return _open_episodes(name, opened, config, frames=frames, budget=budget)
    if "images" not in opened.columns:
        return HubText(name=name, rows=opened.of("text"), column="text")
    pictured = opened.of("images", "text")
    if config == "ok-vqa":
        return HubQuestions(name=name, rows=pictured, columns=OK_VQA, size_px=size_px)
    return HubCaptions(name=name, rows=pictured, image="images", caption="text", size_px=size_px)


def jat_place(where: str) -> Place:
    """A name is on the hub, anything else wherever it leads.

    Raises:
        ValueError: for an unknown name, listing those that are like it.
    """
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
        image = decode_image(value["bytes"], place)
        picture = np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))
        if pictures and picture.shape != pictures[0].shape:
            raise ValueError(f"{place}: shape {picture.shape}, before {pictures[0].shape}")
        pictures.append(picture)
    return np.stack(pictures)


def list_of(row: Any, column: str, where: str) -> Any:
    """A row's list, one value a timestep, as an Arrow array.

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
    """What the first episode's first value and the task's name tell of a column."""
    where = f"{rows.name} {rows.split} episode 0"
    first = list_of(rows.row(0), column, where)[:1]
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
    """The largest values that the task's spaces have, where its name tells."""
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
    """The largest value in a column, in any row."""
    compute = require("pyarrow.compute", extra="hf")
    values = rows.table.data.column(column)
    while hasattr(values.type, "value_type"):
        values = compute.list_flatten(values)
    return compute.max(values).as_py()


def _finite(rewards: np.ndarray, where: str) -> np.ndarray:
    for t in np.flatnonzero(~np.isfinite(rewards))[:1]:
        raise ValueError(f"{where}: {REWARDS!r} at timestep {t} is {rewards[t]}")
    return rewards


def _key(column: str) -> str:
    """The name of a leaf: a timestep has one of what the column has many of."""
    return column.removesuffix("s")
