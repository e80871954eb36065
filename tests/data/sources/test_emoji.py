"""Emoji: every picture has a name of its own; twins never stand on both sides of a split."""

import numpy as np
import pytest
from PIL import Image

from mugato.data.pictures import read_picture
from mugato.data.source import EpisodeList
from mugato.data.sources.emoji import named_emoji, open_emoji


def captions(source: EpisodeList) -> list[str]:
    return [source[i].actions["caption"][0] for i in range(len(source))]


def pictures(source: EpisodeList) -> set[bytes]:
    return {source[i].observations["image"].tobytes() for i in range(len(source))}


def test_published_counts():
    assert len(open_emoji("all")) == 1903
    assert len({emoji.category for emoji in named_emoji()}) == 10


def test_names_are_plain_words_and_unique():
    names = captions(open_emoji("all"))
    assert len(set(names)) == 1903
    assert not any(character in name for name in names for character in ":_")
    assert {"grinning face with big eyes", "red apple", "France"} <= set(names)


@pytest.mark.thorough
def test_train_and_test_share_neither_name_nor_picture():
    train, test = open_emoji("train", size_px=72), open_emoji("test", size_px=72)
    assert (len(train), len(test)) == (1699, 204)
    assert sorted(captions(train) + captions(test)) == sorted(captions(open_emoji("all")))
    assert pictures(train).isdisjoint(pictures(test))


@pytest.mark.thorough
@pytest.mark.parametrize("size_px", [16, 32, 72])
def test_only_1870_pictures_differ_at_any_size(size_px: int):
    source = open_emoji("all", size_px=size_px)
    assert source.spec.observation_leaves["image"].shape == (size_px, size_px, 3)
    assert len(pictures(source)) == 1870


def test_pictures_lie_over_white_and_show_the_right_thing():
    by_name = {emoji.name: emoji for emoji in named_emoji()}
    circle = read_picture(by_name["red circle"].png, "it", size_px=32)
    assert circle[0, 0].tolist() == [255, 255, 255]
    red, green, blue = circle[16, 16].tolist()
    assert red > 200 and green < 80 and blue < 100


def test_resizing_is_the_mean_over_area(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    data = (tmp_path / "noise.png").read_bytes()
    means = pixels.reshape(4, 2, 4, 2, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(
        read_picture(data, "it", size_px=4), means, atol=1
    )  # rounded per axis
    np.testing.assert_array_equal(read_picture(data, "it", size_px=8), pixels)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match="size_px must be at least 1, got 0"):
        open_emoji("all", size_px=0)
