"""The model against naive references, and the faults of others."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional as F

from mugato.agent import Agent
from mugato.model.config import GatoConfig
from mugato.model.embedding import PatchPositionEncoding, ResidualEmbedding
from mugato.model.gato import Gato
from mugato.model.loss import LossConfig, linear_cross_entropy
from mugato.model.transformer import Transformer
from mugato.tokens.batch import _PatchTable
from mugato.tokens.images import ImageTokenizer
from mugato.tokens.packing import pack
from mugato.tokens.sequence import sequence
from mugato.tokens.timesteps import text_timesteps
from tests.agents import tiny_config
from tests.tokens.test_sequence import TOKENIZER, encode


def make_model(seed=0, **changes):
    torch.manual_seed(seed)
    return Gato(tiny_config(TOKENIZER.vocab, **changes)).eval()


def make_batch(length=256, timesteps=(2, 3, 4)):
    return pack([encode(timesteps=n, seed=n) for n in timesteps], length=length)


def replaced(batch, **changes):
    return replace(batch.inputs, **changes)


@pytest.mark.parametrize("num_text", [8192, 32_000])
def test_initial_loss_is_that_of_a_uniform_guess(num_text):
    # With ids of more pieces than this tokenizer has: in a tiny table the continuous rows, which
    # begin larger, would make up half.
    vocab = replace(TOKENIZER.vocab, num_text=num_text)
    torch.manual_seed(0)
    model, batch = Gato(tiny_config(vocab, width=256, head_size=64)), make_batch()
    expected = math.log(vocab.size)
    assert model(batch).mean().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("kind", ["text", "discrete", "continuous"])
def test_the_first_loss_is_a_uniform_guess_whatever_was_read_before(kind):
    torch.manual_seed(0)
    config = GatoConfig.micro()
    ids = torch.tensor(list(getattr(config.vocab, kind)))
    drawn = ids[torch.randint(len(ids), (8, 64))].tolist()
    sequences = [sequence(text_timesteps(row), config.vocab) for row in drawn]
    losses = Gato(config)(pack(sequences, length=64)).values
    assert losses.mean().item() == pytest.approx(math.log(config.vocab.size), rel=0.04)
    tied = Gato(replace(config, output_projection=False))
    if kind == "continuous":  # the fault: what was read is expected again
        assert tied(pack(sequences, length=64)).values.mean() > 18


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_chunked_loss_and_gradients_equal_the_naive_ones(smoothing):
    torch.manual_seed(0)
    x, table = torch.randn(600, 16), torch.randn(70, 16)
    targets, weights = torch.randint(0, 70, (600,)), torch.rand(600)
    results = []
    for function in (
        lambda x, t, y: linear_cross_entropy(x, t, y, label_smoothing=smoothing),
        lambda x, t, y: F.cross_entropy(x @ t.T, y, reduction="none", label_smoothing=smoothing),
    ):
        a, b = x.clone().requires_grad_(), table.clone().requires_grad_()
        losses = function(a, b, targets)
        (losses * weights).sum().backward()
        results.append((losses.detach(), a.grad, b.grad))
    for fast, naive in zip(*results, strict=True):
        torch.testing.assert_close(fast, naive, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_under_bf16_confident_targets_keep_loss_and_gradient(device, smoothing):
    """1 - p runs from 1e-1 to 1e-5, where fp64 is the truth and bf16 has no number next to 1."""
    torch.manual_seed(0)
    targets = torch.randint(0, 900, (512,), device=device)
    table = F.normalize(torch.randn(900, 64, device=device))
    scale = torch.linspace(9, 22, len(targets), device=device)[:, None]
    x = scale * table[targets] + 0.1 * torch.randn(len(targets), 64, device=device)
    x, table = x.bfloat16().float(), table.bfloat16().float()  # what is rounded anyway
    results = []
    for dtype in (torch.bfloat16, torch.float64):
        a, b = x.to(dtype).requires_grad_(), table.to(dtype).requires_grad_()
        if dtype == torch.float64:
            losses = F.cross_entropy(a @ b.T, targets, reduction="none", label_smoothing=smoothing)
        else:
            with torch.autocast(device, dtype=dtype):
                losses = linear_cross_entropy(a, b, targets, label_smoothing=smoothing)
        losses.sum().backward()
        results.append((losses.detach().double(), a.grad.double(), b.grad.double()))
    bf16, true = results
    assert smoothing or (true[0].min() < 1e-5 and true[0].max() > 1e-1)
    assert (bf16[0] > 0).all()
    for ours, expected in zip(bf16, true, strict=True):
        assert F.cosine_similarity(ours.flatten(), expected.flatten(), dim=0) > 0.999


def test_under_bf16_a_toy_becomes_as_certain_as_it_does_in_fp32():
    torch.manual_seed(0)
    x, targets = torch.eye(8).repeat(8, 1), torch.arange(8).repeat(8)
    table = (0.1 * torch.randn(300, 8)).requires_grad_()
    optimizer = torch.optim.Adam([table], lr=0.5, betas=(0.9, 0.95))
    for _ in range(300):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = linear_cross_entropy(x, table, targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    left = -torch.expm1(-F.cross_entropy(x @ table.T, targets))
    assert left < 1e-5


def test_loss_is_taken_on_the_masked_targets_alone():
    model, batch = make_model(), make_batch()
    logits = F.linear(model.hidden(batch.inputs)[0], model.embedding.table.weight)
    everywhere = F.cross_entropy(
        logits.flatten(0, 1), batch.targets.ids.flatten(), reduction="none"
    )
    torch.testing.assert_close(
        model(batch).values, everywhere[batch.targets.loss_mask.flatten()], rtol=1e-4, atol=1e-5
    )


def test_observations_are_predicted_with_their_weight_when_asked_for():
    model, batch = make_model(), make_batch()
    logits = F.linear(model.hidden(batch.inputs)[0], model.embedding.table.weight)
    everywhere = F.cross_entropy(
        logits.flatten(0, 1), batch.targets.ids.flatten(), reduction="none"
    )
    observed = everywhere[batch.targets.observation_mask.flatten()]
    plain, asked = model(batch), model(batch, LossConfig(observation_weight=0.25))
    assert plain.observations == 0 and len(observed) > 0
    torch.testing.assert_close(asked.values, plain.values, rtol=1e-4, atol=1e-5)
    expected = plain.values.sum() + 0.25 * observed.sum()
    torch.testing.assert_close(asked.sum(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(asked.mean(), expected / len(plain.values), rtol=1e-4, atol=1e-4)


def test_observation_targets_are_ids_and_neither_patches_nor_separators():
    batch = make_batch()
    following = batch.targets.ids[batch.targets.observation_mask]
    assert (following != TOKENIZER.vocab.separator).all()
    next_is_patch = torch.cat(
        [batch.inputs.patch_index[:, 1:] >= 0, torch.zeros(len(batch.inputs.ids), 1)], 1
    )
    assert not (next_is_patch.bool() & batch.targets.observation_mask).any()
    assert not (batch.targets.loss_mask & batch.targets.observation_mask).any()


def test_a_seed_decides_everything():
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        model = Gato(tiny_config(TOKENIZER.vocab, dropout=0.1, stochastic_depth=0.2)).train()
        losses = model(make_batch())
        losses.mean().backward()
        results.append((losses.values, model.embedding.table.weight.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_a_table_of_new_patches_gives_up_looking_and_loses_nothing():
    generator = np.random.default_rng(0)
    photographs = generator.integers(0, 256, (600, 768), dtype=np.uint8)
    tiles = np.repeat(generator.integers(0, 256, (4, 768), dtype=np.uint8), 150, axis=0)
    for patches, num_rows in ((photographs, 768), (tiles, 4)):
        table = _PatchTable()
        rows = np.concatenate([table.add(part) for part in np.split(patches, 6)])
        assert len(table.stacked(fill=True)) == num_rows
        np.testing.assert_array_equal(table.stacked(fill=True)[rows], patches)
    table = _PatchTable()
    table.add(photographs)
    assert table.add(photographs[:1]) == 600  # not looked up any more


@torch.no_grad()
def test_memory_lets_a_running_row_see_beyond_the_context():
    x = torch.randn(1, 40, 32)
    positions = torch.arange(40)[None]
    segments = torch.ones_like(positions)
    outputs = {}
    for memory in (0, 16):
        torch.manual_seed(0)
        config = tiny_config(TOKENIZER.vocab, num_layers=1, context_length=8,
                             sequence_model="transformer-xl", memory_length=memory)  # fmt: skip
        model = Transformer(config).eval()
        for name, inputs in (("as it is", x), ("changed", x + 1.0 * (positions == 20)[..., None])):
            state, last = model.init_state(1, 8 + 1), []
            for i in range(40):
                cut = slice(i, i + 1)
                y, state = model(inputs[:, cut] * torch.linspace(1, 2, 32), positions[:, cut],
                                 segments[:, cut], state)  # fmt: skip
                last.append(y)
            outputs[memory, name] = torch.cat(last, 1)[0]
    for memory, max_distance in ((0, 8), (16, 24)):
        differs = (outputs[memory, "as it is"] - outputs[memory, "changed"]).abs().amax(1) > 1e-6
        changed = differs.nonzero().squeeze(1).tolist()
        assert changed == list(range(20, min(20 + max_distance, 40)))


def test_changing_the_future_leaves_the_past_unchanged():
    model, batch = make_model(), make_batch(timesteps=(4,))
    ids = batch.inputs.ids.clone()
    middle = int((batch.inputs.segments > 0).sum()) // 2
    ids[0, middle:] = (ids[0, middle:] + 1) % TOKENIZER.vocab.size
    before, after = (model.hidden(b)[0][0] for b in (batch.inputs, replaced(batch, ids=ids)))
    torch.testing.assert_close(before[:middle], after[:middle])
    assert not torch.allclose(before[middle:], after[middle:])


def test_changing_a_past_action_changes_what_follows():
    model, batch = make_model(), make_batch(timesteps=(2,))
    action = int(batch.targets.loss_mask[0].nonzero()[0]) + 1
    ids = batch.inputs.ids.clone()
    ids[0, action] = TOKENIZER.vocab.discrete[(int(ids[0, action]) + 1) % 3]
    before, after = (model.hidden(b)[0][0] for b in (batch.inputs, replaced(batch, ids=ids)))
    last = int((batch.inputs.segments > 0).sum()) - 1
    assert not torch.allclose(before[last], after[last])


def test_a_packed_segment_equals_that_segment_alone():
    model = make_model()
    sequences = [encode(timesteps=n, seed=n) for n in (1, 2, 3)]
    together = model(pack(sequences, length=256)).values
    alone = torch.cat([model(pack([s], length=256)).values for s in sequences])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_permuting_patches_changes_the_output():
    model, batch = make_model(), make_batch(timesteps=(1,))
    places = (batch.inputs.patch_index[0] >= 0).nonzero().squeeze(1)
    permuted = batch.inputs.patch_index.clone()
    permuted[0, places] = batch.inputs.patch_index[0, places.flip(0)]
    before, after = (
        model.hidden(b)[0] for b in (batch.inputs, replaced(batch, patch_index=permuted))
    )
    last = int((batch.inputs.segments > 0).sum()) - 1
    assert not torch.allclose(before[0, last], after[0, last], atol=1e-5)


def test_brightness_of_a_constant_patch_reaches_the_model():
    block = ResidualEmbedding(patch_px=16, channels=32, width=8)
    levels = torch.tensor([[10], [200]], dtype=torch.uint8).expand(2, 768)
    dark, bright = block(levels)
    assert not torch.allclose(dark, bright)


def test_patches_embedded_once_equal_patches_embedded_one_by_one():
    model, batch = make_model(), make_batch()
    is_patch = batch.inputs.patch_index >= 0
    each = model.patch_embedding(batch.inputs.patches[batch.inputs.patch_index[is_patch]])
    each = each + model.patch_positions(batch.inputs.intervals[is_patch])
    each = each + model.local_positions(batch.inputs.local_positions[is_patch])
    each = each * math.sqrt(model.config.width)
    torch.testing.assert_close(model.embed(batch.inputs)[is_patch], each, rtol=1e-4, atol=1e-6)


def test_patch_positions_are_drawn_in_training_and_the_rounded_mean_in_evaluation():
    encoding = PatchPositionEncoding(4)
    intervals = torch.tensor([[0, 32, 26, 51]]).expand(500, 4)
    encoding.train()
    torch.manual_seed(0)
    drawn = encoding(intervals)
    seen = {i for i in range(128) if (drawn - encoding.rows.weight[i]).shape}
    assert len(drawn.unique(dim=0)) > 100 and seen
    expected = encoding.rows.weight[16] + encoding.columns.weight[38]  # round(38.5) is even
    torch.testing.assert_close(encoding.eval()(intervals)[0], expected)


@pytest.mark.thorough
def test_overfits_one_batch():
    torch.manual_seed(0)
    model, batch = make_model(width=64).train(), make_batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(400):
        optimizer.zero_grad()
        loss = model(batch).mean()
        if loss.item() < 0.01:
            return
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {loss.item():.3f}")


def test_one_resnet_block_per_patch_unless_more_are_asked_for():
    one, three = make_model(), make_model(num_residual_blocks=3)
    convolutions = [m for m in one.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 2
    channels = one.config.patch_width
    block = 2 * (9 * channels**2 + channels) + 2 * 2 * channels
    assert three.num_parameters - one.num_parameters == 2 * block


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_residual_blocks": 0}, "num_residual_blocks must be at least 1"),
        ({"patch_groups": 0}, "patch_groups must be at least 1"),
        ({"patch_groups": 3}, "patch_width must be a multiple of 3 groups"),
        ({"patch_levels": 0}, "patch_levels must be at least 1"),
        ({"patch_levels": 1 << 15}, "patch_levels must be at most 32767"),
    ],
)
def test_patch_embeddings_that_cannot_be_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        GatoConfig(**changes)


def test_patch_positions_of_other_levels_are_the_papers_scaled():
    intervals = torch.from_numpy(ImageTokenizer(num_levels=1280).intervals((64, 80))).long()
    assert intervals[::5, :2].tolist() == [[0, 320], [320, 640], [640, 960], [960, 1280]]
    assert intervals[:5, 3].tolist() == [256, 512, 768, 1024, 1280]
    encoding = PatchPositionEncoding(4, 1280).eval()
    expected = encoding.rows.weight[1120] + encoding.columns.weight[1152]
    assert torch.equal(encoding(intervals)[-1], expected)


def test_an_agent_keeps_its_patch_embedding(tmp_path):
    changes = {"num_residual_blocks": 2, "patch_groups": 8, "patch_levels": 60}
    model = make_model(**changes)
    image = ImageTokenizer(num_levels=60)
    Agent(model=model, tokenizer=replace(TOKENIZER, image=image), tasks={}).save_pretrained(
        tmp_path
    )
    again = Agent.from_pretrained(tmp_path)
    assert again.model.config == model.config and again.tokenizer.image == image
    batch = make_batch()
    assert torch.equal(again.model(batch).values, model(batch).values)


def test_a_tokenizer_of_other_levels_than_the_models_is_refused():
    with pytest.raises(ValueError, match=r"placed in 128 levels, but .* patch_levels 60"):
        Agent(model=make_model(patch_levels=60), tokenizer=TOKENIZER, tasks={})


@torch.no_grad()
def test_streaming_equals_one_full_pass_within_the_context():
    model = make_model(context_length=256)
    s = encode(timesteps=4)
    batch = pack([s], length=len(s))
    full = model.hidden(batch.inputs)[0][0]
    state, outputs = model.init_state(1, 256 + 7), []
    for start in range(0, len(s), 7):
        cut = slice(start, start + 7)
        part = replaced(
            batch,
            **{
                name: getattr(batch.inputs, name)[:, cut]
                for name in vars(batch.inputs)
                if name != "patches"
            },
        )  # fmt: skip
        hidden, state = model.hidden(part, state)
        outputs.append(hidden[0])
    torch.testing.assert_close(torch.cat(outputs), full, rtol=1e-4, atol=1e-5)


def test_spaces_of_one_leaf_train(tmp_path):
    model = make_model().train()
    s = encode(spaces.MultiBinary(3), spaces.MultiDiscrete([3, 4]), timesteps=2)
    model(pack([s], length=64)).mean().backward()
    assert model.embedding.table.weight.grad is not None
