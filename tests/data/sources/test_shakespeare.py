"""Shakespeare: whole works are held out, in every spelling."""

from mugato.data.sources.shakespeare import HELD_OUT, open_shakespeare

SPLITS = ("train", "validation", "test")


def texts(split: str) -> list[str]:
    source = open_shakespeare(split)
    return [source[i].actions["text"][0] for i in range(len(source))]


def test_the_published_works_are_all_there():
    assert [len(texts(split)) for split in SPLITS] == [40, 1, 1]
    assert sum(len(text) for split in SPLITS for text in texts(split)) == 5_057_239


def test_held_out_plays_are_not_in_training_even_in_another_spelling():
    titles = [open_shakespeare("train")[i].name for i in range(40)]
    assert not any(held_out in title for held_out in HELD_OUT.values() for title in titles)
    training = "\n".join(texts("train")).lower()
    for line in ("if music be the food of love", "if musicke be the food of loue"):
        assert line not in training
    assert "if music be the food of love" in texts("test")[0].lower()


def test_no_licence_or_header_stands_in_the_texts():
    for split in SPLITS:
        for text in texts(split):
            assert text == text.strip() + "\n"
            for word in ("gutenberg", "etext", "copyright", "http"):
                assert word not in text.lower().replace("pretext", "")
