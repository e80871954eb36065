"""The paper's presets say what the paper says, in every field; ours train what they name."""

import dataclasses

import pytest

from mugato.cli.train import Selection, selected_config
from mugato.data.config import DatasetConfig
from mugato.data.formats.multinet.downloads import FIND
from mugato.model.loss import LossConfig
from mugato.tasks.registry import TASKS
from mugato.training.config import TokenizerConfig
from mugato.training.optimizer import OptimizerConfig
from mugato.training.presets import DEMO_DATASETS, PRESETS, multinet, preset
from tests.data.formats.multinet_files import write_bfcl, write_piqa

# App. C.1, Table 5: layers, width, heads, size of keys and values, hidden size.
SIZES = {
    "small": (8, 768, 24, 32, 3072),
    "baseline": (12, 1536, 12, 128, 6144),
    "large": (24, 2048, 16, 128, 8192),
}
# App. C.1, D, E and §2.3; None and 0 where the paper has no such thing.
MODEL = {
    "context_length": 1024, "memory_length": 0, "bias": True, "output_projection": False,
    "patch_px": 16, "num_residual_blocks": 1, "patch_groups": 32, "patch_levels": 128,
    "dropout": 0.1, "stochastic_depth": 0.1, "sequence_model": "transformer-xl",
}  # fmt: skip
OPTIMIZER = {
    "lr": 1e-4, "start_lr": 1e-7, "warmup_steps": 15_000, "final_fraction": 0.1,
    "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1, "muon_lr_factor": 0.0,
    "average_share": 0.0,
}  # fmt: skip
TRAINING = {
    "batch_rows": 512, "steps": 1_000_000, "max_tokens": None, "max_seconds": None,
    "prompt_share": 0.25, "acting_prompt_share": 0.0, "history_dropout": 0.0, "balance": 0.0,
    "corrections": 0, "loss": LossConfig(observation_weight=0.0, label_smoothing=0.0),
    "tokenizer": TokenizerConfig(text_pieces=None, text_file=None, max_patches=None),
    "lora_rank": 0, "held_out": 0.0,
}  # fmt: skip


def fields(config, names) -> dict:
    return {name: getattr(config, name) for name in names}


@pytest.mark.parametrize("name", SIZES)
def test_a_preset_of_the_papers_is_what_the_paper_says(name: str):
    config = preset(name)
    model = config.model
    sizes = (model.num_layers, model.width, model.num_heads, model.head_size, model.hidden_size)
    assert sizes == SIZES[name]
    assert fields(model, MODEL) == MODEL
    vocab = model.vocab
    assert (vocab.num_text, vocab.num_continuous, vocab.num_discrete) == (32_000, 1024, 1024)
    assert vocab.discrete_overlaps_text and vocab.continuous == range(32_000, 33_024)
    assert fields(config.optimizer, OPTIMIZER) == OPTIMIZER
    assert fields(config, TRAINING) == TRAINING
    assert all(d == DatasetConfig(name=d.name) for d in config.datasets)


def test_all_that_is_asked_of_training_stands_in_that_comparison():
    """A field that is new must be said to be the paper's, or none of it."""
    ours = {"muon_momentum", "muon_iterations", "max_norm"}  # the paper is silent on clipping
    assert {f.name for f in dataclasses.fields(OptimizerConfig)} == {*OPTIMIZER, *ours}
    machine = {
        "run", "init_from", "datasets", "mixing", "model", "optimizer", "correction_share",
        "microbatches",
        "processes", "workers", "precision", "compile", "checkpoint_activations", "seed",
        "log_every", "save_every", "evaluate_every", "play_episodes", "shards", "profile",
        "tracker", "device",
    }  # fmt: skip
    assert {f.name for f in dataclasses.fields(preset("small"))} == {*TRAINING, *machine}


@pytest.mark.parametrize(
    ("name", "count"), [("babyai", 90), ("metaworld", 50), ("generalist", 255)]
)
def test_presets_of_whole_domains_have_all_of_them(name, count):
    config = preset(name)
    assert len(config.datasets) == count
    total = sum(dataset.weight for dataset in config.datasets)
    played = sum(dataset.weight for dataset in config.datasets if dataset.name in TASKS)
    assert played / total == pytest.approx(0.62, abs=0.01) or count < 255
    with pytest.raises(ValueError, match="did you mean babyai"):
        preset("babyi")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_what_there_is(name: str):
    sources = {"shakespeare", "factbook", "emoji", "easy-vqa"}
    sources |= {f"multinet:multinet/{name}" for name in FIND}
    assert {dataset.name for dataset in preset(name).datasets} <= {*TASKS, *sources}


def test_what_is_shipped_knows_all_that_the_demo_does_and_thirty_tasks_more():
    shipped = {dataset.name for dataset in preset("mugato-small").datasets}
    assert shipped >= {dataset.name for dataset in DEMO_DATASETS}
    assert len(shipped & set(TASKS)) >= 40


def test_multinet_trains_one_agent_on_all_that_lies_in_a_folder(tmp_path):
    write_piqa(tmp_path)
    write_bfcl(tmp_path)
    ours = preset("multinet")
    assert [dataset.name for dataset in ours.datasets][:2] == [
        "multinet:multinet/overcooked_ai", "multinet:multinet/piqa"
    ]  # fmt: skip
    assert multinet(tmp_path).datasets[1].name == f"multinet:{tmp_path}/piqa"
    sources = (f"multinet:{tmp_path}?size_px=32",)
    chosen = selected_config(Selection(preset="multinet", sources=sources), None)
    names = [f"multinet:{tmp_path}/{name}?size_px=32" for name in ("piqa", "bfcl")]
    assert [dataset.name for dataset in chosen.datasets] == names
    assert dataclasses.replace(chosen, datasets=ours.datasets) == ours
