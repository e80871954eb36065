"""The loop: learns, resumes to the bit, and does not care how many processes there are."""

import dataclasses
import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from mugato.agent import Agent
from mugato.data.config import DatasetConfig
from mugato.data.mixture import Mixture
from mugato.training.checkpoint import STATE
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.loop import Watch
from mugato.training.loop import run_training as run_loop
from mugato.training.metrics import StepResult
from mugato.training.optimizer import OptimizerConfig
from mugato.training.run import Events, run_in_processes
from mugato.training.run_folder import changes
from mugato.training.run_info import read_config, read_metrics
from tests.agents import tiny_agent
from tests.data.test_mixture import TOKENIZER, control_source, make_windows, text_source

pytestmark = pytest.mark.filterwarnings("ignore")


def dataset(name: str) -> DatasetConfig:
    return DatasetConfig(name=name)


def make_config(run: Path, **changes) -> TrainConfig:
    return TrainConfig(
        run=run, datasets=tuple(map(dataset, ("short", "long", "text"))), steps=6, batch_rows=4,
        microbatches=2, optimizer=OptimizerConfig(lr=3e-3, warmup_steps=2), log_every=1,
        precision="fp32", **changes,
    )  # fmt: skip


def prepare(config: TrainConfig) -> tuple[Agent, Mixture]:
    sources = [control_source("short", 2, 5), control_source("long", 6, 50), text_source()]
    specs = {source.name: source.spec for source in sources}
    agent = tiny_agent(specs, seed=config.seed, dropout=0.1)
    mixture = Mixture(
        make_windows(sources), weights=dict.fromkeys(specs, 1.0), num_rows=config.batch_rows,
        row_length=64, num_microbatches=config.microbatches, seed=config.seed,
    )  # fmt: skip
    return agent, mixture


def run_training(
    config: TrainConfig, context: DistributedContext = DistributedContext(), resume: bool = False
) -> Agent:
    agent, mixture = prepare(config)
    run_loop(config, agent, mixture, context, resume=resume)
    return agent


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_metrics(run)]


@pytest.mark.parametrize("workers", [(0, 0), pytest.param((1, 2), marks=pytest.mark.thorough)])
def test_a_stopped_run_resumes_to_the_bit(workers, tmp_path):
    whole = run_training(make_config(tmp_path / "whole"))
    config = make_config(tmp_path / "stopped", save_every=3, workers=workers[0])
    stop_after(config, 3)
    resumed = run_training(dataclasses.replace(config, workers=workers[1]), resume=True)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("faster", [True, False])
def test_the_stopwatch_decides_once_for_the_whole_run(faster, tmp_path, monkeypatch):
    """By it alone two processes, or a run and its end, could multiply differently."""
    monkeypatch.setattr("mugato.model.precision.bf16_is_faster", lambda *what: faster)
    config = dataclasses.replace(make_config(tmp_path / "run", save_every=3), precision="auto")
    stop_after(config, 3)
    decided = "bf16" if faster else "fp32"
    assert read_config(config.run).precision == decided
    monkeypatch.setattr("mugato.model.precision.bf16_is_faster", lambda *what: not faster)
    assert changes(read_config(config.run), config) == []
    agent = run_training(config, resume=True)
    assert read_config(config.run).precision == decided
    whole = run_training(dataclasses.replace(make_config(tmp_path / "w"), precision=decided))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, agent.model.state_dict()[name]), name


def stop_after(config: TrainConfig, steps: int) -> None:
    """Run, and interrupt as Ctrl-C does once `steps` are done."""
    import signal

    agent, mixture = prepare(config)

    def press(report):
        if report.step == steps:
            os.kill(os.getpid(), signal.SIGINT)

    progress = run_loop(config, agent, mixture, DistributedContext(), watch=Watch(on_report=press))
    assert progress.step == steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting(DistributedContext):
    """A process that counts, whenever it asks its peers, the steps' results that are kept."""

    kept: list[int] = dataclasses.field(default_factory=list)

    def any(self, flag: bool) -> bool:
        self.kept.append(sum(type(thing) is StepResult for thing in gc.get_objects()))
        return super().any(flag)


@pytest.mark.thorough
@pytest.mark.parametrize("rank", [0, 1])
def test_no_process_keeps_more_than_the_last_steps_result(rank, tmp_path):
    peers = Counting(rank=rank)
    config = make_config(tmp_path)
    agent, mixture = prepare(config)
    run_loop(config, agent, mixture, peers)
    assert len(peers.kept) > 6 and max(peers.kept) <= 1


@pytest.mark.thorough
def test_training_lowers_the_loss(tmp_path):
    config = dataclasses.replace(make_config(tmp_path), steps=30)
    run_training(config)
    history = losses(tmp_path)
    assert sum(history[-5:]) < 0.8 * sum(history[:5])


def test_the_agent_in_the_run_folder_is_the_trained_one(tmp_path):
    agent = run_training(make_config(tmp_path))
    loaded = Agent.from_pretrained(tmp_path)
    assert loaded.tasks == agent.tasks and loaded.tokenizer == agent.tokenizer
    for name, value in agent.model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[name])


def test_resuming_nothing_or_a_corrupt_state_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        run_training(make_config(tmp_path), resume=True)
    (tmp_path / STATE).write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match="is corrupt"):
        run_training(make_config(tmp_path), resume=True)


def test_parts_that_cannot_be_dealt_out_are_refused():
    with pytest.raises(ValueError, match="microbatches=3 cannot be dealt to 2 processes"):
        DistributedContext(world_size=2).own_microbatches(3)


def test_a_state_of_an_older_version_is_one_clear_error(tmp_path):
    run_training(make_config(tmp_path))
    path = tmp_path / STATE
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        progress = json.loads(file.metadata()["progress"])
    progress["parts"] = [{"next": 7, "waiting": []}] * 2
    safetensors.torch.save_file(tensors, path, metadata={"progress": json.dumps(progress)})
    with pytest.raises(ValueError, match="is of another version of mugato"):
        run_training(make_config(tmp_path), resume=True)


def test_settings_of_the_data_are_checked(tmp_path):
    with pytest.raises(ValueError, match="prompt_share must be between 0 and 1, got 25"):
        make_config(tmp_path, prompt_share=25.0)
    with pytest.raises(ValueError, match="workers must be at least 0, got -1"):
        make_config(tmp_path, workers=-1)
    slow = OptimizerConfig(warmup_steps=15_000)
    with pytest.raises(ValueError, match=r"about 1,000 steps in all, and .*warmup_steps is 15,000"):
        dataclasses.replace(make_config(tmp_path), steps=1000, optimizer=slow)
    with pytest.raises(ValueError, match="about 390 steps"):
        TrainConfig(datasets=(dataset("text"),), max_tokens=3_200_000, optimizer=slow)
    with pytest.raises(ValueError, match="nothing to train on"):
        TrainConfig(run=tmp_path)
    with pytest.raises(ValueError, match="two data sets have the same name"):
        TrainConfig(run=tmp_path, datasets=(dataset("text"), dataset("text")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": -1.0}, "text: weight must be a number from 0 on, got -1.0"),
        ({"history": 0}, "text: history must be at least 1 timestep, got 0"),
        ({"prompt_share": 2.0}, "text: prompt_share must be between 0 and 1, got 2.0"),
    ],
)
def test_settings_of_a_data_set_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        DatasetConfig(name="text", **changes)


@pytest.mark.thorough
def test_two_processes_compute_what_one_does(tmp_path):
    run_training(make_config(tmp_path / "one"))
    reports = []
    run_in_processes(2, distributed, (str(tmp_path / "two"),), Events(reports.append, print))
    assert [report.step for report in reports] == [*range(1, 7)]
    assert_the_same(tmp_path)


@pytest.mark.slow
def test_a_process_of_torchruns_that_is_killed_is_started_again_and_goes_on(tmp_path):
    (tmp_path / "play.txt").write_text("to be or not to be, that is the question. " * 500)
    run = tmp_path / "run"
    sizes = {"width": 32, "num-layers": 2, "num-heads": 2, "head-size": 16, "hidden-size": 64}
    options = [f"--model.{name}={value}" for name, value in sizes.items()]
    options += ["--optimizer.muon-lr-factor=0", "--optimizer.average-share=0", "--shards=2"]
    options += ["--steps=120", "--optimizer.warmup-steps=5", "--save-every=10", "--log-every=5"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node=2", "--max-restarts=1", "-m", "--", "mugato", "train"]
    told = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    with subprocess.Popen(
        [
            *torchrun,
            "--sources",
            f"text:{tmp_path}/play.txt",
            "--run",
            str(run),
            "--no-tune",
            *options,
        ],
        env={**os.environ, **told, "PYTHONPATH": str(Path.cwd()), "CUDA_VISIBLE_DEVICES": ""},
    ) as process:
        while not (run / STATE).exists() or read_metrics(run)[-1]["step"] < 20:
            assert process.poll() is None
            time.sleep(0.2)
        os.kill(_workers_of(process.pid)[-1], signal.SIGKILL)
        assert process.wait(timeout=300) == 0
    assert [record["step"] for record in read_metrics(run)] == [*range(5, 121, 5)]


def _workers_of(parent: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


@pytest.mark.slow
def test_two_processes_of_torchrun_compute_what_one_does(tmp_path):
    run_training(make_config(tmp_path / "one"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    (tmp_path / "start.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
        "from tests.training.test_training import distributed\n"
        f"distributed({str(tmp_path / 'two')!r})\n"
    )
    # torchrun looks its own machine up by name, which not every network can answer.
    where = ["--standalone", "--nproc_per_node=2", "--local-addr=127.0.0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *where, str(tmp_path / "start.py")],
        env=environment, timeout=300, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert_the_same(tmp_path)


def assert_the_same(folder: Path) -> None:
    assert losses(folder / "two") == pytest.approx(losses(folder / "one"), rel=1e-4)
    one, two = (read_metrics(folder / name)[-1]["tokens"] for name in ("one", "two"))
    assert one == two
    weights = [Agent.from_pretrained(folder / name).model.state_dict() for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-5, msg=name)


def distributed(run: str, events: Events | None = None) -> None:
    """Do what each of two processes does in the tests above."""
    torch.set_num_threads(1)
    with distributed_context() as context:
        assert context.world_size == 2
        config = make_config(Path(run))
        tell = events.tell if events and context.is_main else lambda report: None
        run_loop(config, *prepare(config), context, watch=Watch(on_report=tell))


def test_vocab_of_test_tokenizer_is_used():
    assert TOKENIZER.vocab.num_text == TOKENIZER.text.num_pieces
