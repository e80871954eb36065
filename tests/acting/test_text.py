"""Options scored by likelihood: against the logits of one full pass each."""

import numpy as np
import pytest
import torch
from PIL import Image

from mugato.acting.text import answer, caption, continue_text, score_options, stream
from mugato.agent import Agent, Sampling
from mugato.cli.generate import GenerateConfig, generate
from mugato.episode import Episode
from mugato.spec import Leaf, Spec
from mugato.tokens.packing import pack
from mugato.tokens.sequence import encode
from tests.agents import tiny_agent

MOVE = Leaf(kind="discrete", dtype="int64", low=(0.0,), high=(3.0,))
IMAGE = Leaf(kind="image", shape=(16, 16, 3), dtype="uint8")
TEXT = Leaf(kind="text", dtype="str")
QUESTIONS = Spec(observation={"image": IMAGE, "question": TEXT}, action={"answer": TEXT})
OPTIONS = ["red ball", "key", "go to the green box"]


def asked():
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return {"image": picture, "question": "go to what?"}


@torch.no_grad()
def test_scores_are_mean_log_likelihoods():
    agent = tiny_agent({"questions": QUESTIONS})
    observation = asked()
    scores = score_options(agent, observation, OPTIONS * 4, task="questions")
    assert scores[:3] == pytest.approx(scores[3:6], abs=1e-5)  # whatever is scored beside them
    for option, score in zip(OPTIONS, scores, strict=False):
        episode = Episode(
            observations={
                "image": observation["image"][None],
                "question": np.array([observation["question"]], dtype=object),
            },
            actions={"answer": np.array([option], dtype=object)},
        )
        tokens = encode(episode, QUESTIONS, agent.tokenizer)
        count = len(agent.tokenizer.text.encode(option)) + 1  # and its end
        batch = pack([tokens], length=len(tokens))
        hidden = agent.model.hidden(batch.inputs)[0][0]
        every = range(agent.tokenizer.vocab.size)
        logs = torch.log_softmax(agent.model.logits(hidden, every), dim=-1)
        ids = batch.inputs.ids[0, -count:]
        expected = logs[-count - 1 : -1].gather(1, ids[:, None]).mean()
        assert score == pytest.approx(float(expected), abs=1e-4)


def test_options_need_a_task_that_answers_in_words():
    agent = tiny_agent({"questions": QUESTIONS, "walk": Spec(observation=IMAGE, action=MOVE)})
    with pytest.raises(ValueError, match=r"options are one text or more in a list, got \[\]"):
        score_options(agent, asked(), [], task="questions")
    with pytest.raises(ValueError, match=r"walk does not answer .* its action is \['discrete'\]"):
        score_options(agent, asked()["image"], ["a"], task="walk")
    with pytest.raises(ValueError, match="observation 'image': shape"):
        wrong = {**asked(), "image": np.zeros((8, 8, 3), np.uint8)}
        score_options(agent, wrong, ["a"], task="questions")


def test_a_picture_finds_the_source_whatever_its_options(tmp_path, capsys):
    name = "easy-vqa?size_px=16"
    tiny_agent({name: QUESTIONS}).save_pretrained(tmp_path)
    path = tmp_path / "picture.png"
    Image.fromarray(asked()["image"]).save(path)
    shown = []
    for task in (None, "easy-vqa", name):
        generate(config=GenerateConfig(agent=tmp_path, image=path, question="what?", task=task))
        shown.append(capsys.readouterr().out)
    assert len(set(shown)) == 1
    with pytest.raises(ValueError, match=r"whose way of answering is used, --task: \[\]"):
        generate(config=GenerateConfig(agent=tmp_path, image=path))


def test_a_text_is_shown_as_it_is(tmp_path, capsys):
    tiny_agent({"questions": QUESTIONS}).save_pretrained(tmp_path)
    prompt = "a long line \tthat holds a :cat: and [b]tags[/b], and " + "goes on and on, " * 10
    pieces = continue_text(Agent.from_pretrained(tmp_path), prompt, max_tokens=40)
    generate(prompt, config=GenerateConfig(agent=tmp_path, max_tokens=40))
    assert capsys.readouterr().out == f"{prompt}{''.join(pieces)}\n"


def test_a_wrong_kind_of_task_is_refused_by_name(tmp_path):
    walk = Leaf(kind="continuous", shape=(2,), dtype="float64", low=(0.0, 0.0), high=(1.0, 1.0))
    agent = tiny_agent({"questions": QUESTIONS, "walk": Spec(observation=walk, action=walk)})
    picture = asked()["image"]
    with pytest.raises(ValueError, match=r"questions observes \['image', 'question'\]"):
        caption(agent, [picture], task="questions")
    with pytest.raises(ValueError, match=r"walk observes \['observation'\]"):
        answer(agent, [picture], ["what?"], task="walk")
    with pytest.raises(ValueError, match="1 pictures, but 2 questions"):
        answer(agent, [picture], ["what?", "where?"], task="questions")
    agent.save_pretrained(tmp_path)
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    with pytest.raises(ValueError, match="walk is not about a picture"):
        generate(config=GenerateConfig(agent=tmp_path, image=path, task="walk"))


@pytest.mark.thorough
def test_answers_are_the_likeliest_or_drawn_by_seed(tmp_path, capsys):
    agent = tiny_agent({"questions": QUESTIONS})
    agent.save_pretrained(tmp_path)
    path = tmp_path / "picture.png"
    Image.fromarray(asked()["image"]).save(path)

    def shown(**options):
        asked = {"image": path, "question": "what?", "task": "questions"}
        generate(config=GenerateConfig(agent=tmp_path, **asked, **options))
        return capsys.readouterr().out

    picture, drawing = asked()["image"], Sampling(temperature=1.0, top_p=0.95)
    assert shown() == shown(temperature=0.0, seed=7)
    one, again, other = (shown(temperature=1.0, seed=seed) for seed in (3, 3, 4))
    assert one == again != other != shown()
    options = {"task": "questions", "sampling": drawing, "seed": 3}
    assert "".join(stream(agent, {"image": picture, "question": "what?"}, **options)) + "\n" == one
    assert answer(agent, [picture], ["what?"], **options)[0] + "\n" == one


def test_nothing_is_continued_by_no_tokens():
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0"):
        next(continue_text(tiny_agent({"questions": QUESTIONS}), "so", max_tokens=0))


def test_options_that_cannot_be_scored_are_refused():
    agent = tiny_agent({"questions": QUESTIONS})
    with pytest.raises(ValueError, match="options are one text or more in a list, got 'key'"):
        score_options(agent, asked(), "key", task="questions")
    with pytest.raises(ValueError, match="does not have the task's structure"):
        score_options(agent, {"image": asked()["image"]}, OPTIONS, task="questions")
    with pytest.raises(ValueError, match=r"longest option take .* tokens, but the context holds"):
        score_options(agent, asked(), ["key", "key " * 2000], task="questions")


@pytest.mark.thorough
def test_an_answer_streams_piece_by_piece():
    agent = tiny_agent({"questions": QUESTIONS, "walk": Spec(observation=IMAGE, action=MOVE)})
    picture, question = asked().values()
    numbers = set()
    for seed in range(5):
        options = {"task": "questions", "sampling": Sampling(), "seed": seed}
        pieces = list(stream(agent, asked(), **options))
        numbers.add(len(pieces))
        assert ["".join(pieces)] == answer(agent, [picture], [question], **options)
    assert max(numbers) > 1
    with pytest.raises(ValueError, match=r"walk does not answer with one text"):
        stream(agent, picture, task="walk")
    with pytest.raises(ValueError, match="does not have the task's structure"):
        stream(agent, {"image": picture}, task="questions")
