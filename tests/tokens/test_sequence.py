"""Order, targets and masks of the one sequence; `pack` and `pad` say the same."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.episode import Episode, validate
from mugato.model.gato import Gato
from mugato.spec import spec_of
from mugato.tokens.packing import pack, pad
from mugato.tokens.sequence import ACTION_POSITION, check_fits, sequence
from mugato.tokens.sequence import encode as encode_episode
from mugato.tokens.timesteps import tokenize
from tests.agents import random_episode, tiny_config, tiny_tokenizer
from tests.spaces_list import IMAGES, SPACES

TOKENIZER = tiny_tokenizer()
SCENE = spaces.Dict(
    view=spaces.Box(0, 255, (20, 40, 3), np.uint8),
    speed=spaces.Box(-9, 9, (2,)),
    gear=spaces.Discrete(4),
    mission=spaces.Text(20, min_length=1, charset="abc "),
)
ACTION = spaces.Dict(go=spaces.Discrete(3), steer=spaces.Box(-1, 1, (2,)))


def encode(observation_space=SCENE, action_space=ACTION, timesteps=3, seed=0):
    episode, spec = random_episode(observation_space, action_space, timesteps, seed)
    return sequence(tokenize(validate(episode, spec), spec, TOKENIZER), TOKENIZER.vocab)


def test_a_timestep_is_text_image_values_separator_action():
    s = encode(timesteps=1)
    vocab = TOKENIZER.vocab
    kinds = "".join(
        "i" if patch >= 0 else "t" if i in vocab.text else "c" if i in vocab.continuous
        else "|" if i == vocab.separator else "d"
        for i, patch in zip(s.ids.tolist(), s.patch_index.tolist(), strict=True)
    )  # fmt: skip
    assert kinds.lstrip("t") == "iiiiii" + "d" + "cc" + "|" + "d" + "cc"


def test_targets_are_the_next_tokens_of_the_same_window_and_only_actions_count():
    s = encode(timesteps=4)
    np.testing.assert_array_equal(s.targets[:-1], s.ids[1:])
    is_action = s.local_positions == ACTION_POSITION
    np.testing.assert_array_equal(s.loss_mask, np.append(is_action[1:], False))
    assert s.loss_mask.sum() == 4 * 3


def test_observation_positions_count_from_zero_in_each_timestep():
    s = encode(timesteps=3)
    for t in range(3):
        observed = (s.timesteps == t) & (s.local_positions != ACTION_POSITION)
        assert s.local_positions[observed].tolist() == list(range(observed.sum()))


@pytest.mark.parametrize("name", [*SPACES, *IMAGES])
def test_every_space_can_be_observed(name):
    space = {**SPACES, **IMAGES}[name]
    s = encode(space, spaces.Discrete(2), timesteps=2)
    assert (s.timesteps == 1).any() and s.loss_mask.sum() == 2


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_an_action_and_decodes_back(name):
    episode, spec = random_episode(spaces.Discrete(2), SPACES[name], 3)
    for path, leaf in spec.action_leaves.items():
        tokens, lengths = TOKENIZER.encode(leaf, episode.actions[path], is_action=True)
        for value, row, length in zip(episode.actions[path], tokens, lengths, strict=True):
            ids = row[:length, 0]
            again = TOKENIZER.decode(leaf, ids, is_action=True)
            if leaf.kind == "continuous":
                bound = 2e-3 * np.abs(np.asarray(value)).max() + 5e-3
                np.testing.assert_allclose(
                    again, value, atol=max(bound, 0.02 * np.abs(value).max())
                )
            else:
                np.testing.assert_array_equal(again, value)
            if leaf.kind != "text":
                assert all(i in TOKENIZER.legal_ids(leaf, k) for k, i in enumerate(ids.tolist()))


def test_a_leaf_longer_than_the_context_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"camera: one timestep takes 70 tokens.*holds 64.*shrink"):
        check_fits(np.array([3, 70]), context_length=64, name="camera")


def test_an_observation_longer_than_the_local_positions_is_refused():
    with pytest.raises(ValueError, match="601 tokens, but there are 512 local positions"):
        encode(spaces.Box(-1, 1, (600,)), spaces.Discrete(2))


def test_packed_and_padded_losses_are_equal():
    sequences = [encode(timesteps=n, seed=n) for n in (1, 3, 2)]
    torch.manual_seed(0)
    model = Gato(tiny_config(TOKENIZER.vocab, context_length=512)).eval()
    packed = pack(sequences, length=sum(map(len, sequences)))
    padded = pad(sequences)
    assert len(packed.inputs.ids) == 1 and len(padded.inputs.ids) == 3
    assert (padded.inputs.segments == 0).any()
    torch.testing.assert_close(
        model(packed).values.sort().values, model(padded).values.sort().values, rtol=1e-4, atol=1e-5
    )


def test_pad_gives_every_timestep_the_same_places():
    sequences = [encode(timesteps=n, seed=n) for n in (1, 3)]
    batch = pad(sequences)
    width = batch.inputs.ids.shape[1] // 3
    separators = (batch.inputs.ids == TOKENIZER.vocab.separator).nonzero()[:, 1] % width
    assert len(separators) == 4 and len(set(separators.tolist())) == 1


def test_identical_patches_are_stored_once():
    s = encode(spaces.Box(0, 0, (32, 32, 3), np.uint8), spaces.Discrete(2), timesteps=5)
    batch = pack([s, s], length=64)
    assert batch.inputs.patch_index.max() == 0 and (batch.inputs.patch_index >= 0).sum() == 40


def test_a_limited_history_cuts_the_sequence_into_segments():
    episode, spec = random_episode(SCENE, ACTION, 5)
    s = encode_episode(episode, spec, TOKENIZER, history=2)
    assert s.segments.tolist() == (s.timesteps // 2).tolist()
    starts = np.flatnonzero(np.diff(s.segments, prepend=-1))
    assert (s.positions[starts] == 0).all() and len(starts) == 3
    batch = pack([s, s], length=2 * len(s))
    assert len(batch.inputs.segments.unique()) == 6
    torch.manual_seed(0)
    model = Gato(tiny_config(TOKENIZER.vocab, context_length=512)).eval()
    alone = [encode_episode(episode.window(t, t + 2), spec, TOKENIZER) for t in (0, 2, 4)]
    torch.testing.assert_close(
        model(pack([s], length=len(s))).values,
        torch.cat([model(pack([a], length=len(a))).values for a in alone]),
        rtol=1e-4,
        atol=1e-5,
    )


def tokens_one_by_one(timesteps, vocab, history):
    """Return the fields of the sequence, written down token by token."""
    observed, acted = list(timesteps.observations.values()), list(timesteps.actions.values())
    patches = [p for leaf in observed if leaf.intervals is not None for p in leaf.tokens]
    patches = [row for patch in patches for row in patch]
    seen, rows = [], []  # rows: id, patch, interval, place, timestep, leaf, kind
    for t in range(len(timesteps)):
        place = 0
        for number, leaf in enumerate(observed):
            for i in range(leaf.lengths[t]):
                if leaf.intervals is None:
                    rows.append((leaf.tokens[t, i, 0], -1, [0] * 4, place, t, number, "id"))
                else:
                    before = observed[:number]
                    first = sum(x.tokens[..., 0].size for x in before if x.intervals is not None)
                    patch = first + t * leaf.tokens.shape[1] + i
                    rows.append((0, patch, leaf.intervals[i], place, t, number, "patch"))
                    seen.append((patch, leaf.tokens[t, i]))
                place += 1
        if observed:
            rows.append((vocab.separator, -1, [0] * 4, place, t, len(observed), "separator"))
        for number, leaf in enumerate(acted, start=len(observed) + bool(observed)):
            for i in range(leaf.lengths[t]):
                row = (leaf.tokens[t, i, 0], -1, [0] * 4, ACTION_POSITION, t, number, "action")
                rows.append(row)
    assert all((patches[patch] == pixels).all() for patch, pixels in seen)
    ids, patch_index, intervals, places, steps, leaf_index, kinds = zip(*rows, strict=True)
    segments = [t // (history or len(timesteps)) for t in steps]
    following = list(zip(kinds[1:], segments[:-1], segments[1:], strict=True))
    return {
        "ids": ids,
        "targets": [*ids[1:], 0],
        "loss_mask": [*(kind == "action" for kind, _, _ in following), False],
        "observation_mask": [*(kind == "id" and a == b for kind, a, b in following), False],
        "patch_index": patch_index,
        "patches": np.array(patches) if patches else np.zeros((0, 0)),
        "intervals": intervals,
        "local_positions": places,
        "timesteps": steps,
        "segments": segments,
        "positions": [i - segments.index(segment) for i, segment in enumerate(segments)],
        "leaf_index": leaf_index,
    }


@pytest.mark.parametrize("name", [*SPACES, *IMAGES])
@pytest.mark.parametrize("history", [None, 1, 2])
@pytest.mark.parametrize("timesteps", [1, 5])
def test_a_sequence_equals_its_tokens_written_down_one_by_one(name, history, timesteps):
    space = {**SPACES, **IMAGES}[name]
    for seed in range(3):  # the second and third meet layouts that are there already
        episode, spec = random_episode(space, ACTION, timesteps, seed)
        tokens = tokenize(episode, spec, TOKENIZER)
        fast = sequence(tokens, TOKENIZER.vocab, history=history, source=3)
        for key, value in tokens_one_by_one(tokens, TOKENIZER.vocab, history).items():
            np.testing.assert_array_equal(getattr(fast, key), value, err_msg=key)


def test_a_sequence_is_right_without_actions_and_with_two_cameras():
    cameras = spaces.Dict(left=IMAGES["wide"], right=SCENE["view"], speed=SCENE["speed"])
    episode, spec = random_episode(cameras, ACTION, 3)
    for actions in (episode.actions, {}):
        shown = dataclasses.replace(episode, actions=actions)
        tokens = tokenize(shown, spec, TOKENIZER)
        fast = sequence(tokens, TOKENIZER.vocab)
        for key, value in tokens_one_by_one(tokens, TOKENIZER.vocab, None).items():
            np.testing.assert_array_equal(getattr(fast, key), value, err_msg=key)


def corrected(action_space: spaces.Space, taught: dict, executed: dict):
    """Return an episode of positions in which something else was executed than is taught."""
    spec = spec_of(spaces.Discrete(9), action_space)
    steps = len(next(iter(taught.values())))
    episode = Episode(
        observations={"observation": np.arange(steps)},
        actions={path: np.asarray(values) for path, values in taught.items()},
        executed={path: np.asarray(values) for path, values in executed.items()},
    )
    return validate(episode, spec), spec


def read_and_taught(episode, spec, **options):
    """Return by timestep the action ids that are read, and those taught, None where not."""
    s = encode_episode(episode, spec, TOKENIZER, **options)
    places = np.flatnonzero(s.local_positions == ACTION_POSITION)
    taught = [
        int(i) if counts else None
        for i, counts in zip(s.targets[places - 1], s.loss_mask[places - 1], strict=True)
    ]
    assert s.loss_mask.sum() == sum(i is not None for i in taught)
    width = len(places) // len(episode)
    rows = [s.ids[places].tolist(), taught]
    return [[row[t : t + width] for t in range(0, len(row), width)] for row in rows]


def test_a_button_is_taught_as_the_experts_and_read_as_it_was_executed():
    expert, executed = [0, 1, 2, 0, 1], [0, 2, 2, 1, 0]
    episode, spec = corrected(spaces.Discrete(3), {"action": expert}, {"action": executed})
    start = TOKENIZER.vocab.discrete.start
    read, taught = read_and_taught(episode, spec)
    assert taught == [[start + a] for a in expert]
    assert read[:-1] == [[start + a] for a in executed[:-1]]  # nothing is taught after the last
    read, taught = read_and_taught(episode, spec, history=2)
    assert taught == [[start + a] for a in expert]
    assert [read[0], read[2]] == [[start + executed[0]], [start + executed[2]]]


def test_of_two_numbers_the_past_was_executed_and_the_last_ones_are_the_experts():
    space = spaces.Box(-1, 1, (2,))
    expert = np.array([[-0.5, 0.5], [0.25, 0.75], [0.0, -0.75]], np.float32)
    executed = np.array([[-0.25, 0.5], [0.5, -0.25], [0.5, 0.5]], np.float32)
    episode, spec = corrected(space, {"action": expert}, {"action": executed})
    first = TOKENIZER.vocab.continuous.start
    ids_expert, ids_executed = (
        (first + np.floor((values + 1) / 2 * 1024)).astype(int).tolist()
        for values in (expert, executed)
    )
    read, taught = read_and_taught(episode, spec)
    assert taught == ids_expert
    assert read == [*ids_executed[:2], ids_expert[2]]
    read, taught = read_and_taught(episode, spec, history=1)
    assert (read, taught) == (ids_expert, ids_expert)


def test_after_another_button_the_rest_of_the_action_is_not_taught_but_at_the_end():
    space = spaces.Tuple([spaces.MultiDiscrete([3, 3]), spaces.Box(-1, 1, (1,))])
    buttons, others = [[0, 1], [0, 1], [0, 1], [0, 1]], [[2, 1], [0, 0], [0, 1], [1, 1]]
    strength, weaker = np.full((4, 1), 0.5, np.float32), np.zeros((4, 1), np.float32)
    episode, spec = corrected(space, {"0": buttons, "1": strength}, {"0": others, "1": weaker})
    _, taught = read_and_taught(episode, spec)
    counts = [[i is not None for i in ids] for ids in taught]
    assert counts == [[True, False, False], [True, True, False], [True] * 3, [True] * 3]


def test_what_was_executed_survives_cutting_and_joining():
    episode, spec = corrected(spaces.Discrete(3), {"action": [0, 1, 2]}, {"action": [1, 1, 0]})
    plain = dataclasses.replace(episode, executed=None)
    joined = Episode.joined([plain.window(0, 2), episode.window(1, 3)])
    assert joined.executed is not None
    assert joined.executed["action"].tolist() == [0, 1, 1, 0]
    assert joined.actions["action"].tolist() == [0, 1, 1, 2]
    assert Episode.joined([plain, plain]).executed is None
    assert episode.as_executed.actions["action"].tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="executed action 'action' at timestep 1"):
        validate(dataclasses.replace(episode, executed={"action": np.array([0, 3, 0])}), spec)
