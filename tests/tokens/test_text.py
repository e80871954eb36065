"""Text tokens: every string comes back, foreign files are refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceTrainer

from mugato.data.sources.shakespeare import open_shakespeare
from mugato.tokens.text import MAX_CACHED_CHARACTERS, TextTokenizer

HARD = [
    "",
    " ",
    "  two  spaces  ",
    "\n\n\tlines\r\n \n",
    "Sch\u00f6n, e\u0301 and \u1e9b\u0323",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd",
    "\u2581",
    "\u2581 \u2581a \u2581",
    "a\u2581b",
    "\0nul\0",
    "\u3000\u00a0\u200b\ufeff\ufffd",
    "<s></s><unk><0x41>[INST]",
    "1234567890",
    "\U0010ffff\ue000",
]


@pytest.fixture(scope="module")
def trained() -> TextTokenizer:
    return TextTokenizer.train(
        [open_shakespeare("validation")[0].actions["text"][0]], num_pieces=1000
    )


@pytest.fixture(scope="module")
def tokenizers(trained: TextTokenizer) -> list[TextTokenizer]:
    return [TextTokenizer.paper(), trained]


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_come_back(tokenizers: list[TextTokenizer], text: str):
    for tokenizer in tokenizers:
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32 and ids.ndim == 1
        assert tokenizer.decode(ids) == text


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(codec="utf-8") | st.sampled_from(" \n\u2581\0ab1")))
def test_any_text_comes_back(tokenizers: list[TextTokenizer], text: str):
    for tokenizer in tokenizers:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert ids.size == 0 or (
            ids.min() > tokenizer.end_of_text and ids.max() < tokenizer.num_pieces
        )


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from(" \n\u2581"), max_size=9)))
def test_our_pieces_can_be_decoded_in_parts(trained: TextTokenizer, parts: list[str]):
    ids = np.concatenate([np.zeros(0, np.int32), *(trained.encode(part) for part in parts)])
    assert trained.decode(ids) == "".join(parts)


def test_a_whole_play_comes_back(tokenizers: list[TextTokenizer]):
    play = open_shakespeare("test")[0].actions["text"][0]
    for tokenizer in tokenizers:
        assert tokenizer.decode(tokenizer.encode(play)) == play


def test_the_shipped_pieces_are_the_papers_number():
    tokenizer = TextTokenizer.paper()
    assert (tokenizer.num_pieces, tokenizer.end_of_text) == (32_000, 2)
    assert tokenizer.encode("hello").tolist() == [6312, 28709]  # as every user of the model gets it


def test_missing_shipped_pieces_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps mistral-common=="):
        TextTokenizer.paper()


def test_half_a_surrogate_pair_is_refused(tokenizers: list[TextTokenizer]):
    for tokenizer in tokenizers:
        with pytest.raises(ValueError, match=r"surrogate pair at character 3: '\\ud83d'"):
            tokenizer.encode("abc\ud83d")


@pytest.mark.parametrize("wrong", [-1, 1000, 33_000])
def test_ids_outside_the_pieces_are_refused(trained: TextTokenizer, wrong: int):
    with pytest.raises(ValueError, match=rf"text id {wrong} is outside 0\.\.999"):
        trained.decode([5, wrong])


def test_training_is_deterministic_and_learns_words(trained: TextTokenizer):
    text = open_shakespeare("validation")[0].actions["text"][0]
    assert TextTokenizer.train([text], num_pieces=1000) == trained
    assert TextTokenizer.train(text.split("\n"), num_pieces=1000) == trained
    assert trained.num_pieces == 1000
    assert len(trained.encode("PROTEUS")) == 1


def test_control_characters_in_training_text_do_no_harm():
    text = open_shakespeare("validation")[0].actions["text"][0]
    tokenizer = TextTokenizer.train([text.replace("the", "\0the"), "\0\0"], num_pieces=600)
    assert tokenizer.decode(tokenizer.encode("\0the\u2581\0the")) == "\0the\u2581\0the"


def test_too_little_text_is_refused_without_leaving_files(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for texts in ([], [""], ["to be or not to be"]):
        with pytest.raises(ValueError, match="cannot train 8192 pieces on"):
            TextTokenizer.train(texts)
    assert not any(tmp_path.iterdir())


def test_saving_and_loading(trained: TextTokenizer, tmp_path: Path):
    trained.save(tmp_path / "text.model")
    assert TextTokenizer.load(tmp_path / "text.model") == trained
    assert [path.name for path in tmp_path.iterdir()] == ["text.model"]


def test_a_failed_save_leaves_the_old_file(trained: TextTokenizer, tmp_path: Path, monkeypatch):
    trained.save(tmp_path / "text.model")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        TextTokenizer.paper().save(tmp_path / "text.model")
    assert [path.name for path in tmp_path.iterdir()] == ["text.model"]
    assert TextTokenizer.load(tmp_path / "text.model") == trained


@pytest.mark.parametrize("content", [b"", b"garbage" * 99, b"\0" * 100])
def test_corrupt_files_are_named(tmp_path: Path, content: bytes):
    (tmp_path / "broken.model").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.model: not a SentencePiece model \(\d+ bytes\)"):
        TextTokenizer.load(tmp_path / "broken.model")


def test_a_truncated_model_is_refused(trained: TextTokenizer, tmp_path: Path):
    (tmp_path / "half.model").write_bytes(trained.model[: len(trained.model) // 2])
    with pytest.raises(ValueError, match=r"half\.model: "):
        TextTokenizer.load(tmp_path / "half.model")


def test_models_that_change_text_are_refused(tmp_path: Path):
    text = open_shakespeare("validation")[0].actions["text"][0]
    SentencePieceTrainer.train(
        sentence_iterator=iter(text.splitlines()),
        model_prefix=str(tmp_path / "foreign"),
        vocab_size=500,
        minloglevel=2,
    )
    with pytest.raises(ValueError, match=r"foreign\.model: .* does not give text back exactly"):
        TextTokenizer.load(tmp_path / "foreign.model")


def test_a_copy_in_another_process_is_equal(trained: TextTokenizer):
    trained.encode("to be")
    copy = pickle.loads(pickle.dumps(trained))
    assert copy == trained and hash(copy) == hash(trained)
    assert len(pickle.dumps(trained)) < len(trained.model) + 200
    assert copy.encode("to be").tolist() == trained.encode("to be").tolist()


def test_changing_what_encode_gave_changes_nothing_else(trained: TextTokenizer):
    trained.encode("go to the red ball")[:] = 0
    assert trained.decode(trained.encode("go to the red ball")) == "go to the red ball"


def test_remembered_encoding_equals_the_plain_one(tokenizers: list[TextTokenizer]):
    for tokenizer in tokenizers:
        for text in (
            "go to the red ball",
            "x" * MAX_CACHED_CHARACTERS,
            "x y" * MAX_CACHED_CHARACTERS,
        ):
            for _ in range(2):
                assert tokenizer.encode(text).tolist() == tokenizer._encode(text).tolist()


def test_repeated_missions_are_remembered(trained: TextTokenizer):
    mission = "go to the red ball"
    assert trained._encode_repeated(mission) is trained._encode_repeated(mission)
    first = trained.encode(mission)
    first[:] = 0  # a copy: what is remembered stays
    assert trained.encode(mission).tolist() == trained._encode(mission).tolist()


def test_one_long_line_teaches_as_much_as_many_short_ones():
    words = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in "nrst"]
    text = " ".join(words * 6000)
    assert len(text) > 2_000_000
    tokenizer = TextTokenizer.train([text], num_pieces=400)
    assert tokenizer.num_pieces == 400
    sample = " ".join(words)
    assert len(sample) / len(tokenizer.encode(sample)) > 2
