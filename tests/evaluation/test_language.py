"""What the agent says to sources of all kinds, in batches as alone; users' own data too."""

import numpy as np
import pytest
from PIL import Image

from mugato.acting.batch_policy import InferenceConfig
from mugato.data.metrics import CaptionScores
from mugato.data.registry import open_held_out, open_source
from mugato.data.sources.easy_vqa import open_easy_vqa
from mugato.data.sources.emoji import open_emoji
from mugato.evaluation import language
from mugato.evaluation.language import AnswerResults, CaptionResults, score_source
from mugato.evaluation.text import TextScores
from mugato.system.workers import JobProgress
from tests.agents import tiny_agent

INFERENCE = InferenceConfig(precision="fp32")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    specs = {"easy-vqa": open_easy_vqa("test").spec, "emoji": open_emoji("test").spec}
    tiny_agent(specs).save_pretrained(folder)
    return folder


@pytest.mark.thorough
def test_batches_answer_as_single_questions_do(run, monkeypatch):
    test = open_easy_vqa("test")
    monkeypatch.setattr(language, "MAX_HELD_OUT", 10)
    monkeypatch.setattr(language, "ROWS", 4)
    together = score_source(run, "easy-vqa", INFERENCE)
    monkeypatch.setattr(language, "ROWS", 1)
    alone = score_source(run, "easy-vqa", INFERENCE)
    assert isinstance(together, AnswerResults) and isinstance(alone, AnswerResults)
    assert together.scores == alone.scores and alone.scores.questions == 10
    assert [s.given for s in together.samples] == [s.given for s in alone.samples]
    assert {s.expected for s in alone.samples} <= {answer for _, answer, _ in test.questions}
    assert all(s.question for s in alone.samples) and alone.split == "test"


@pytest.mark.thorough
def test_captions_of_seen_and_unseen_pictures_are_apart(run, monkeypatch):
    monkeypatch.setattr(language, "MAX_HELD_OUT", 6)
    monkeypatch.setattr(language, "MAX_SEEN", 6)
    seen = []
    progress = JobProgress(tell=lambda *now: seen.append(now))
    found = score_source(run, "emoji", INFERENCE, progress)
    assert isinstance(found, CaptionResults)
    for part in (found.seen, found.held_out):
        assert part.pictures == 6 and part.exact_match == 0.0
        assert 0 <= part.chrf < 50
    assert seen[-1] == (12, 12)
    held_out = [s for s in found.samples if s.label == "never seen"]
    names = {str(e.actions["caption"][0]) for e in open_emoji("test").episodes}
    assert held_out and all(sample.expected in names for sample in held_out)
    assert all(sample.image.dtype == np.uint8 for sample in found.samples)


@pytest.mark.thorough
def test_a_users_own_captions_and_texts_are_scored(tmp_path):
    for i in range(20):
        folder = tmp_path / "pictures" / ("validation" if i < 5 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (10 * i, 0, 0)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"red number {i}")
    prose = tmp_path / "prose.txt"
    prose.write_text("\n\n".join(f"go to the {i}th red ball and pick it up" for i in range(60)))
    captions, texts = f"images:{tmp_path / 'pictures'}?size_px=32", f"paragraphs:{prose}"
    specs = {name: open_source(name, "train").spec for name in (captions, texts)}
    tiny_agent(specs).save_pretrained(tmp_path / "run")
    named, text = (score_source(tmp_path / "run", name, INFERENCE) for name in (captions, texts))
    assert isinstance(named, CaptionResults) and named.split == "validation"
    assert (named.seen.pictures, named.held_out.pictures) == (15, 5)
    assert isinstance(text, TextScores) and len(text.continuations) == 3
    held_out, _ = open_held_out(texts)
    size = sum(len(held_out[i].actions["text"][0]) for i in range(len(held_out)))
    assert text.bytes == size and text.bits_per_byte > text.bz2_bits_per_byte > 0


def test_results_are_read_from_what_they_wrote():
    scores = CaptionScores(
        pictures=1, exact_match=1.0, bleu=2.0, chrf=3.0, signatures={"bleu": "b"}
    )
    found = CaptionResults(split="test", seen=scores, held_out=scores)
    assert CaptionResults.from_json(found.to_json()) == found


def test_a_source_without_a_held_out_split_is_an_error(tmp_path):
    (tmp_path / "only.txt").write_text("to be or not to be")
    with pytest.raises(ValueError, match="no document falls to split 'test'"):
        open_held_out(f"text:{tmp_path / 'only.txt'}")
