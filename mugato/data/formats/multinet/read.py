"""MultiNet's training data as a source (`multinet:FOLDER/NAME`): a question, a picture, an answer.

Every item is made the request that the benchmark's harness would make of it, and read by the very
function that reads requests where an agent is tested, so that it is tested as it was taught.
Overcooked and PIQA are answered with a number, ODinW with the name of a class, the rest with text.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mugato.data.formats.multinet.downloads import FIND, Asked, Item
from mugato.data.formats.multinet.names import (
    FOLDERS,
    MAX_CHARACTERS,
    PREFIX,
    data_sets_in,
    dataset_called,
    dataset_of,
)
from mugato.data.formats.multinet.requests import (
    DATASETS,
    NUM_JOINT_ACTIONS,
    Request,
    read_request,
)
from mugato.data.language import LanguageSource
from mugato.data.pictures import square
from mugato.data.source import check_split
from mugato.episode import Episode, text_leaf
from mugato.spec import TEXT_LEAF, Leaf, Spec
from mugato.system.errors import known_names

# How many numbers there are to answer with.
NUMBERS = {"overcooked_ai": NUM_JOINT_ACTIONS, "piqa": 2}


def open_multinet(
    where: str,
    split: str = "train",
    *,
    size_px: int = 64,
    max_characters: int = MAX_CHARACTERS,
) -> LanguageSource:
    """Open what may be trained on of one of the benchmark's data sets; all else is its test.

    Args:
        where: FOLDER/NAME, the folder that the benchmark's downloader filled, and overcooked_ai,
            piqa, odinw, sqa3d, robot_vqa or bfcl.
        size_px: pictures are resized to squares of this side.
        max_characters: of each text so many are kept at its end.

    Raises:
        ValueError: an unknown name or split, files that are missing or damaged, nothing to train
            on; or data that only running code could read.
    """
    name = f"{PREFIX}{where}"
    check_split(name, split, ("train",))
    for option, value in (("size_px", size_px), ("max_characters", max_characters)):
        if value < 1:
            raise ValueError(f"{option} must be at least 1, got {value}")
    dataset, folder = _located(name, Path(where).expanduser())
    try:
        download = FIND[dataset](folder)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: not as it was downloaded: {error!r}") from error
    if not download.items:
        raise ValueError(f"{name}: nothing to train on in {folder}")
    read = partial(_read, name=name, ask=download.ask, dataset=dataset, size_px=size_px)
    return LanguageSource(
        name=name,
        spec=spec_of_dataset(dataset, size_px=size_px),
        items=download.items,
        read=partial(read, max_characters=max_characters),
        remarks=download.remarks,
    )


def expanded(source: str) -> list[str]:
    """Return the sources that a name stands for: all that lie in a folder, or the name itself.

    Raises:
        ValueError: for a folder in which there is none.

    >>> expanded("multinet:data/piqa"), expanded("easy-vqa")
    (['multinet:data/piqa'], ['easy-vqa'])
    """
    where, mark, options = source.partition("?")
    if not where.startswith(PREFIX) or dataset_of(source) is not None:
        return [source]
    folder = where.removeprefix(PREFIX).rstrip("/")
    found = data_sets_in(Path(folder).expanduser())
    if not found:
        raise ValueError(f"{source}: no data set in that folder, of {', '.join(FOLDERS)}")
    return [f"{PREFIX}{folder}/{name}{mark}{options}" for name in found]


def spec_of_dataset(dataset: str, *, size_px: int) -> Spec:
    """Return what a data set shows and takes: a question, a picture where it has one, an answer."""
    seen = {"question": TEXT_LEAF}
    if DATASETS[dataset].image:
        seen["image"] = Leaf(kind="image", shape=(size_px, size_px, 3), dtype="uint8")
    answer = TEXT_LEAF
    if count := NUMBERS.get(dataset):
        answer = Leaf(kind="discrete", dtype="int64", low=(0.0,), high=(count - 1.0,))
    return Spec(observation=seen, action={"answer": answer})


def request_of(asked: Asked, dataset: str, *, max_characters: int) -> Request:
    """Read a request as it is read where an agent is tested."""
    return read_request(
        asked.observation,
        asked.instruction,
        dataset,
        asked.messages,
        max_characters=max_characters,
    )


def _read(
    item: Item,
    *,
    ask: Callable[[Item], Asked],
    dataset: str,
    name: str,
    size_px: int,
    max_characters: int,
) -> Episode:
    asked = ask(item)
    request = request_of(asked, dataset, max_characters=max_characters)
    seen = {"question": text_leaf(request.text)}
    if request.image is not None:
        seen["image"] = square(Image.fromarray(request.image), size_px=size_px)[None]
    is_text = isinstance(asked.answer, str)
    answer = text_leaf(str(asked.answer)) if is_text else np.array([asked.answer], np.int64)
    return Episode(observations=seen, actions={"answer": answer}, name=name)


def _located(name: str, path: Path) -> tuple[str, Path]:
    """Return the harness's name of a data set, and the folder of its download."""
    dataset = dataset_called(path.name)
    if dataset is None:
        raise ValueError(f"{name}: no data set {path.name!r}{known_names(path.name, FOLDERS)}")
    places = (path.parent / FOLDERS[dataset], path.parent / dataset, path)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise ValueError(f"{name}: there is no folder {places[0]}{_there(path.parent)}")
    return dataset, folder


def _there(folder: Path) -> str:
    found = data_sets_in(folder) if folder.is_dir() else []
    return f"; there are {', '.join(found)}" if found else ""
