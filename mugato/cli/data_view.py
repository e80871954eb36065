"""What `mugato data` shows: a table of all data, one episode as tokens, the progress of a check."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from minari.storage import get_dataset_path
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mugato.cli.data_pictures import TERMINAL_COLUMNS, frames, half_blocks
from mugato.cli.display import console, print_json, tracked
from mugato.data.formats.minari.read import DATA_FOLDER
from mugato.data.registry import SOURCES, open_source
from mugato.data.source import Source
from mugato.data.summary import Summary, describe, describe_leaf, summarize
from mugato.episode import Episode
from mugato.spec import Leaf, Spec
from mugato.spec_json import spec_to_json
from mugato.tasks.registry import TASKS
from mugato.tokens.sequence import TokenSequence, encode
from mugato.tokens.tokenizer import Tokenizer

STYLES = {
    "text": "green", "image": "magenta", "discrete": "yellow", "continuous": "cyan",
    "separator": "dim",
}  # fmt: skip
MAX_VALUE_CHARACTERS = 300


def open_by_id(name: str, split: str) -> Source:
    """Open what `open_source` takes, or a task's own demonstrations by the task's name."""
    if name in TASKS:
        name = f"minari:{TASKS[name].dataset_id}"
    return open_source(name, split)


def known_ids() -> Iterator[tuple[str, Path | None]]:
    """All data on this machine by id, with the folder of what has one to itself."""
    yield from ((name, None) for name in SOURCES)
    own = {task.dataset_id: name for name, task in TASKS.items()}
    root = Path(get_dataset_path())
    for folder in sorted(root.glob(f"**/{DATA_FOLDER}")):
        place = folder.parent.relative_to(root)
        if not any(part.startswith(".") for part in place.parts):
            dataset_id = place.as_posix()
            yield own.get(dataset_id, f"minari:{dataset_id}"), folder.parent


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One data set or named source of this machine.

    Attributes:
        disk_bytes: of what has a folder to itself.
        fault: why it cannot be opened; nothing else is known then.
    """

    id: str
    disk_bytes: int | None
    spec: str = ""
    summary: Summary | None = None
    fault: str = ""


def find_all(tokenizer: Tokenizer) -> Iterator[Entry]:
    """Look at everything there is."""
    for name, folder in tracked(list(known_ids()), "Counting"):
        disk = None if folder is None else _disk_bytes(folder)
        try:
            source = open_by_id(name, "train")
            found = summarize(source, tokenizer)
        except (ValueError, ImportError, OSError) as error:
            yield Entry(id=name, disk_bytes=disk, fault=str(error))
        else:
            yield Entry(id=name, disk_bytes=disk, spec=describe(source.spec), summary=found)


def show_all(tokenizer: Tokenizer, *, as_json: bool = False) -> None:
    """Show a line for everything there is; what cannot be opened says why."""
    if as_json:
        print_json([asdict(entry) for entry in find_all(tokenizer)])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("id and spec", overflow="fold")
    for name in ("episodes", "timesteps", "tokens", "bytes", "on disk"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in find_all(tokenizer):
        table.add_row(*_row(entry))
    console.print(table)
    console.print(
        "Named sources: their train split. Bytes: of pixels, numbers and text as they are read. "
        "≈: estimated from a part of the texts.",
        style="dim",
    )


def _row(entry: Entry) -> tuple[RenderableType, ...]:
    disk = "" if entry.disk_bytes is None else _size(entry.disk_bytes)
    if (found := entry.summary) is None:
        return Text(entry.id).append(f"\n{entry.fault}", "red"), "", "", "", "", disk
    about = "" if found.exact else "≈ "
    return (
        Text(entry.id).append(f"\n{entry.spec}", "dim"),
        f"{found.episodes:,}",
        f"{found.timesteps:,}",
        f"{about}{found.tokens:,}",
        f"{about}{_size(found.num_bytes)}",
        disk,
    )


def show_episode(
    episode: Episode, spec: Spec, tokenizer: Tokenizer, *, timesteps: int, max_tokens: int
) -> None:
    """Show an episode's first timesteps as pictures, tokens by modality and decoded values."""
    stream = encode(episode, spec, tokenizer)
    targets = int(stream.loss_mask.sum())
    streams = [encode(replace(episode, executed=None), spec, tokenizer)]
    if episode.executed is not None:
        streams.append(encode(episode.as_executed, spec, tokenizer))
    parts = [f"{len(episode)} timesteps, {len(stream):,} tokens, {targets:,} of them targets"]
    if len(episode.rewards):
        parts.append(f"return {episode.episode_return:g}")
    console.print(Text(episode.name, style="bold"), Text(", ".join(parts)))
    console.print(Text(describe(spec)))
    pieces, px = len(tokenizer.vocab.text), tokenizer.image.patch_px
    how = f"as read with {pieces:,} pieces of text (demo's agents learn 8,192 of their own)"
    console.print(f"{how} and patches of {px} pixels", style="dim", highlight=False)
    console.print(_legend())
    for t in range(min(timesteps, len(episode))):
        console.print(Rule(f"timestep {t}", align="left", style="dim"))
        console.print(_timestep(t, episode, spec, tokenizer, streams, max_tokens))
    if timesteps < len(episode):
        left = len(episode) - timesteps
        console.print(f"{left} more timesteps (--timesteps {len(episode)})", style="dim")


def read_episode(source: Source, index: int) -> Episode:
    """Read an episode.

    Raises:
        ValueError: if there is none of that number.
    """
    if not 0 <= index < len(source):
        raise ValueError(f"{source.name} has episodes 0 to {len(source) - 1}, no episode {index}")
    return source[index]


def episode_json(
    episode: Episode, spec: Spec, tokenizer: Tokenizer, *, timesteps: int
) -> dict[str, Any]:
    """Return an episode's first timesteps for a program: every leaf's tokens and what they say."""
    targets = encode(episode, spec, tokenizer).loss_mask
    stream = encode(replace(episode, executed=None), spec, tokenizer)
    shown = _shown_json(stream, spec, tokenizer, range(min(timesteps, len(episode))))
    if episode.executed is not None:
        executed = encode(episode.as_executed, spec, tokenizer)
        for t, leaves in enumerate(shown):
            for slot, leaf in zip(slots_of(spec), leaves, strict=True):
                if slot.role == "action":
                    leaf["executed"] = _leaf_json(slot, executed, tokenizer, t)
    return {
        "name": episode.name,
        "timesteps": len(episode),
        "tokens": len(stream),
        "targets": int(targets.sum()),
        "return": episode.episode_return if len(episode.rewards) else None,
        "spec": spec_to_json(spec),
        "shown": shown,
    }


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A leaf's place in a timestep of the stream, or the separator's, which has no leaf."""

    index: int
    path: str
    leaf: Leaf | None
    role: str

    def ids(self, stream: TokenSequence, t: int) -> np.ndarray:
        """Return what stands at this place of a timestep."""
        return stream.ids[(stream.timesteps == t) & (stream.leaf_index == self.index)]


def slots_of(spec: Spec) -> list[Slot]:
    """Return the leaves of a timestep in the order of the stream."""
    slots = [(path, leaf, "observation") for path, leaf in spec.observation_leaves.items()]
    slots += [("separator", None, "separator")] if slots else []
    slots += [(path, leaf, "action") for path, leaf in spec.action_leaves.items()]
    return [Slot(index=i, path=p, leaf=leaf, role=r) for i, (p, leaf, r) in enumerate(slots)]


def _shown_json(
    stream: TokenSequence, spec: Spec, tokenizer: Tokenizer, timesteps: range
) -> list[list[dict[str, Any]]]:
    return [
        [
            {"role": slot.role, "leaf": slot.path, **_leaf_json(slot, stream, tokenizer, t)}
            for slot in slots_of(spec)
        ]
        for t in timesteps
    ]


def _leaf_json(slot: Slot, stream: TokenSequence, tokenizer: Tokenizer, t: int) -> dict[str, Any]:
    ids = slot.ids(stream, t)
    if slot.leaf is None or slot.leaf.kind == "image":
        return {"tokens": len(ids)}
    value = tokenizer.decode(slot.leaf, ids, is_action=slot.role == "action")
    return {"tokens": ids.tolist(), "value": value if isinstance(value, str) else value.tolist()}


def _timestep(
    t: int,
    episode: Episode,
    spec: Spec,
    tokenizer: Tokenizer,
    streams: Sequence[TokenSequence],
    max_tokens: int,
) -> RenderableType:
    """List the leaves of a timestep in the order of the stream; then what was executed, if else."""
    table = Table("leaf", "tokens", "value", box=None, pad_edge=False)
    slots = [(slot, streams[0], "target") for slot in slots_of(spec)]
    slots += [(slot, stream, "executed") for stream in streams[1:] for slot in slots_of(spec)]
    for slot, stream, what in slots:
        ids, leaf, is_action = slot.ids(stream, t), slot.leaf, slot.role == "action"
        if what == "executed" and not is_action:
            continue
        kind = "separator" if leaf is None else leaf.kind
        style = f"bold {STYLES[kind]}" if is_action else STYLES[kind]
        if kind == "image":
            tokens = f"{len(ids)} patch{'es' * (len(ids) > 1)}"
        else:
            tokens = " ".join(map(str, ids[:max_tokens]))
            tokens += f" … {len(ids) - max_tokens:,} more" if len(ids) > max_tokens else ""
        value = "" if leaf is None else _value(leaf, ids, tokenizer, is_action=is_action)
        name = f"{slot.path} ({what})" if is_action else slot.path
        table.add_row(Text(name, style), Text(tokens, style), Text(value))
    if not any(leaf.kind == "image" for leaf in spec.observation_leaves.values()):
        return table
    if console.color_system is None:  # a file or a pipe: half blocks would all look alike
        return table
    return Group(half_blocks(frames(episode, spec)[t], columns=TERMINAL_COLUMNS), table)


def _value(leaf: Leaf, ids: np.ndarray, tokenizer: Tokenizer, *, is_action: bool) -> str:
    """Show what the tokens say: decoded, not what was read."""
    if leaf.kind == "image":
        return describe_leaf(leaf)
    value = tokenizer.decode(leaf, ids, is_action=is_action)
    shown = value if isinstance(value, str) else np.array2string(value, precision=3, threshold=12)
    if len(shown) > MAX_VALUE_CHARACTERS:
        return f"{shown[:MAX_VALUE_CHARACTERS]} … ({len(shown):,} characters)"
    return shown


def _legend() -> Text:
    return Text(" ").join(Text(kind, style) for kind, style in STYLES.items())


def _disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(num_bytes: int) -> str:
    """Bytes for people.

    >>> _size(999), _size(4_841_378)
    ('999 B', '4.8 MB')
    """
    size, unit = float(num_bytes), 0
    while size >= 999.5 and unit < 4:
        size, unit = size / 1000, unit + 1
    return f"{size:.1f} {' kMGT'[unit]}B" if unit else f"{num_bytes} B"
