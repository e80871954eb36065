"""Text tokenizers of other libraries, against these libraries."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mugato.acting.policy import Policy
from mugato.agent import Agent
from mugato.data.config import DatasetConfig
from mugato.model.gato import Gato
from mugato.spec import spec_of
from mugato.tokens.other_text import OtherTextTokenizer
from mugato.tokens.tokenizer import Tokenizer
from mugato.tokens.vocab import Vocab
from mugato.training.presets import own
from mugato.training.setup import make_tokenizer
from tests.agents import TEXTS, tiny_agent

hf = pytest.importorskip("tokenizers")
END = "<|endoftext|>"
HARD = [
    "",
    " ",
    "go to  the red\n\tball ",
    f"a{END}b",
    "e\u0301 \ufb01 \u2581 \U0001f680 \u0634\u0645",
]


def bytewise(*, specials=("<pad>", END), prefix_space=False, normalizer=None):
    """Train a byte-level BPE, as GPT-2 has, the end of text last."""
    made = hf.Tokenizer(hf.models.BPE())
    level = hf.pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    made.pre_tokenizer, made.decoder = level, hf.decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    trainer = hf.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(specials[:1]),
        initial_alphabet=level.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 20, trainer)
    made.add_special_tokens(list(specials[1:]))
    return made


THEIRS = bytewise()
OURS = OtherTextTokenizer.of(THEIRS, end=END)


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_come_back(text):
    assert OURS.decode(OURS.encode(text)) == text
    assert OURS.end_of_text not in OURS.encode(text)


@given(st.text())
@settings(max_examples=50)
def test_any_text_comes_back_and_its_ids_are_the_librarys(text):
    assert OURS.decode(OURS.encode(text)) == text
    if "<" not in text:
        assert OURS.encode(text).tolist() == THEIRS.encode(text, add_special_tokens=False).ids


def test_its_ids_end_and_errors_are_those_of_the_interface():
    assert OURS.num_pieces == THEIRS.get_vocab_size() and OURS.end_of_text == OURS.num_pieces - 1
    assert OURS.written_ids == range(OURS.num_pieces)
    assert OURS.decode([THEIRS.token_to_id("<pad>"), OURS.end_of_text]) == ""
    with pytest.raises(ValueError, match=rf"outside 0..{OURS.num_pieces - 1}"):
        OURS.decode([OURS.num_pieces])
    with pytest.raises(ValueError, match="surrogate"):
        OURS.encode("\ud800")


def test_a_copy_in_another_process_is_equal():
    OURS.encode("to be")
    copy = pickle.loads(pickle.dumps(OURS))
    assert copy == OURS and copy.encode("go to").tolist() == OURS.encode("go to").tolist()


def test_one_of_transformers_is_taken_over_with_its_end():
    transformers = pytest.importorskip("transformers")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=THEIRS, eos_token=END)
    assert OtherTextTokenizer.of(fast).encode("go to").tolist() == OURS.encode("go to").tolist()
    assert OtherTextTokenizer.of(fast).end == END


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalizer": hf.normalizers.Lowercase()}, "does not give text back exactly"),
        ({"normalizer": hf.normalizers.NFKC()}, "does not give text back exactly"),
        ({"prefix_space": True}, "does not give text back exactly"),
        ({"specials": ("<a>", "<b>")}, r"which special piece ends a text.*\['<a>', '<b>'\]"),
    ],
)
def test_those_that_change_text_or_end_none_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        OtherTextTokenizer.of(bytewise(**changes))


def test_words_without_bytes_and_other_objects_are_refused():
    words = hf.Tokenizer(hf.models.WordLevel({"go": 0, "[UNK]": 1, END: 2}, unk_token="[UNK]"))
    words.add_special_tokens([END])
    with pytest.raises(ValueError, match="does not give text back exactly"):
        OtherTextTokenizer.of(words)
    with pytest.raises(ValueError, match=r"one of tokenizers, tiktoken, .* not a dict"):
        OtherTextTokenizer.of({})


def agent_of(text):
    agent = tiny_agent({"talk": spec_of(spaces.Discrete(2), spaces.Text(20))})
    vocab = Vocab(num_text=text.num_pieces)
    return replace(
        agent,
        model=Gato(replace(agent.model.config, vocab=vocab)).eval(),
        tokenizer=Tokenizer(text=text, vocab=vocab),
    )


READ = """
import sys
from mugato import Agent, Policy
text = Agent.from_pretrained("agent").tokenizer.text
policy = Policy.from_pretrained("agent", task="talk")
print(text.encode("go to the red ball").tolist(), repr(policy.select_action(1)))
"""


def test_it_travels_with_the_agent_and_writes_actions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    agent = agent_of(OURS)
    agent.save_pretrained("agent")
    assert Agent.from_pretrained("agent").tokenizer == agent.tokenizer
    names = {path.name for path in (tmp_path / "agent").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}
    said = repr(Policy(agent, task="talk").select_action(1))
    ran = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == f"{OURS.encode('go to the red ball').tolist()} {said}"


def test_a_damaged_file_is_named(tmp_path):
    agent_of(OURS).save_pretrained(tmp_path)
    file, config = tmp_path / "tokenizer.json", tmp_path / "config.json"
    whole = file.read_text()
    file.write_text(whole[:-20])
    with pytest.raises(ValueError, match=r"tokenizer.json: not a tokenizer of `tokenizers`"):
        Agent.from_pretrained(tmp_path)
    file.write_text(whole + "\n")
    with pytest.raises(ValueError, match=r"is not the file that .* was written with"):
        Agent.from_pretrained(tmp_path)
    file.write_text(whole)
    told = json.loads(config.read_text())
    told["tokenizer"]["text"]["library"] = "pickle"
    config.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"config.json: tokenizer.text"):
        Agent.from_pretrained(tmp_path)


def test_a_run_takes_one_from_a_file(tmp_path):
    (tmp_path / "tokenizer.json").write_text(THEIRS.to_str())
    config = own([DatasetConfig(name="shakespeare")])
    tokenizer = replace(config.tokenizer, text_file=tmp_path / "tokenizer.json")
    made = make_tokenizer(tokenizer, config.model, {})
    assert made.text == OURS and made.vocab.num_text == OURS.num_pieces


def test_tiktokens_ids_are_its_own():
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([i]): i for i in range(256)} | {b"go": 256, b" t": 257, b" to": 258}
    encoding = tiktoken.Encoding(
        "small",
        pat_str=r"'(?i:[sdmt])|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+|\s+(?!\S)|\s+|.",
        mergeable_ranks=ranks,
        special_tokens={END: 300},
    )
    ours = OtherTextTokenizer.of(encoding)
    for text in HARD:
        assert ours.encode(text).tolist() == encoding.encode_ordinary(text)
        assert ours.decode(ours.encode(text)) == text
    assert (ours.num_pieces, ours.end_of_text) == (301, 300)
    assert ours.decode(np.arange(256, 301)) == "go t to"  # 259 to 299 mean nothing
    agent = agent_of(ours)
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert agent.tokenizer.text_ids == range(301)
