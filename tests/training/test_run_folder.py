"""A run's folder: nothing in it is lost unasked, one process writes it, a run goes on as it was."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mugato
from mugato.agent import Agent
from mugato.model.serialization import read_tensors, write_tensors
from mugato.system.files import UNFINISHED, locked
from mugato.training.checkpoint import STATE, read_progress
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext
from mugato.training.optimizer import OptimizerConfig
from mugato.training.presets import PRESETS
from mugato.training.run import as_restarted
from mugato.training.run_folder import changes, note_job
from mugato.training.run_info import TRAIN_CONFIG, read_config, read_metrics, save_config
from tests.test_library import SIZES

pytestmark = pytest.mark.filterwarnings("ignore")


def make_config(folder: Path, **changes) -> TrainConfig:
    """Train on a text: with all that `mugato.train` does, in about a second."""
    (folder / "play.txt").write_text("to be or not to be, that is the question. " * 50)
    text = mugato.DatasetConfig(name=f"text:{folder / 'play.txt'}")
    return TrainConfig(
        datasets=(text,), tokenizer=mugato.TokenizerConfig(text_pieces=300), batch_rows=2,
        model=dataclasses.replace(mugato.GatoConfig.micro(), **SIZES), log_every=1,
        precision="fp32", **{"run": folder / "run", "steps": 2, "processes": 1, **changes},
    )  # fmt: skip


def bytes_of(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """Return what a run of two steps was made with."""
    made = make_config(tmp_path)
    assert mugato.train(made).step == 2
    return made


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_comes_back_as_it_was_kept(name, tmp_path):
    config = dataclasses.replace(PRESETS[name](), run=tmp_path)
    save_config(config)
    assert read_config(tmp_path) == config


@settings(max_examples=50, deadline=None)
@given(
    lr=st.floats(0, 1e9),
    betas=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
    max_seconds=st.none() | st.floats(allow_nan=False),
    names=st.lists(st.text(), min_size=1, unique=True),
    steps=st.integers(1),
)
def test_every_number_and_name_survives_json(lr, betas, max_seconds, names, steps):
    config = TrainConfig(
        datasets=tuple(mugato.DatasetConfig(name=name) for name in names),
        optimizer=OptimizerConfig(lr=lr, betas=betas, warmup_steps=9), steps=steps,
        max_seconds=max_seconds,
    )  # fmt: skip
    text = json.dumps(dataclasses.asdict(config), default=str)
    assert TrainConfig.from_json(json.loads(text), "it") == config


def test_a_configuration_that_is_not_ours_is_one_line(tmp_path):
    for text in ("", "[]", "{", '{"datasets": [{"name": "a"}], "colour": 3}', '{"datasets": 3}'):
        (tmp_path / TRAIN_CONFIG).write_text(text)
        with pytest.raises(ValueError, match=TRAIN_CONFIG) as caught:
            read_config(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_folder_that_holds_a_run_is_left_alone_unless_one_says_what_to_do(config):
    before = bytes_of(config.run)
    message = f"{config.run} holds a run: --resume goes on with it, --overwrite begins anew"
    with pytest.raises(ValueError, match=message):
        mugato.train(config)
    with pytest.raises(ValueError, match="not both"):
        mugato.train(config, resume=True, overwrite=True)
    assert bytes_of(config.run) == before
    other = dataclasses.replace(config, seed=1, steps=1)
    assert mugato.train(other, overwrite=True).step == 1
    assert [report["step"] for report in read_metrics(config.run)] == [1]
    assert read_config(config.run) == other


def test_a_folder_in_which_nothing_was_saved_may_be_used(tmp_path):
    config = make_config(tmp_path)
    save_config(dataclasses.replace(config, seed=3))
    with pytest.raises(ValueError, match="nothing to resume"):
        mugato.train(config, resume=True)
    assert mugato.train(config).step == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_two_runs_in_one_folder_are_one_too_many(processes, tmp_path):
    config = make_config(tmp_path, processes=processes)
    with locked(config.run), pytest.raises(ValueError, match="another process is at work in"):
        mugato.train(config)
    assert not config.run.exists()


def test_what_is_changed_is_told_applied_and_kept(config):
    said, reports = [], []
    slower = dataclasses.replace(
        config, steps=3, workers=1, optimizer=dataclasses.replace(config.optimizer, lr=1e-3)
    )
    left = config.run / f".{STATE}.xyz{UNFINISHED}"
    left.write_text("of a killed process")
    mugato.train(slower, resume=True, on_status=said.append, on_report=reports.append)
    assert said[:3] == ["optimizer.lr 0.0001 → 0.001", "steps 2 → 3", "workers 0 → 1"]
    assert reports[0].lr == pytest.approx(1e-7 + 3 * 1e-3 / 15_000, rel=1e-2)
    assert read_config(config.run) == slower
    assert not [path for path in config.run.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"microbatches": 1}, "microbatches was 2, not 1; that takes a new run"),
        ({"batch_rows": 4, "seed": 9}, "batch_rows was 2, not 4; seed was 0, not 9; that"),
        ({"model": mugato.GatoConfig.micro()}, "model.width was 64, not 256; model.num_layers"),
        ({"datasets": (mugato.DatasetConfig(name="emoji"),)}, r"was trained on .*, not on .'emo"),
        ({}, r"nothing left to do in .*run: steps reached \(2 of 2\); raise --steps"),
        ({"steps": 9, "max_seconds": 0.01}, r"max-seconds reached \(\d+ s of 0 s\); raise --max-s"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(change, message, config):
    before = bytes_of(config.run)
    (config.run.parent / "play.txt").unlink()
    with pytest.raises(ValueError, match=message):
        mugato.train(dataclasses.replace(config, **change), resume=True)
    assert bytes_of(config.run) == before


def test_a_data_sets_own_settings_are_named(tmp_path):
    config = make_config(tmp_path)
    [dataset] = config.datasets
    heavier = dataclasses.replace(config, datasets=(dataclasses.replace(dataset, weight=2.0),))
    with pytest.raises(ValueError, match=r"datasets.*play\.txt\.weight was 1\.0, not 2\.0"):
        changes(config, heavier)


FULL = """
import pickle, resource, signal, sys
import mugato

config = pickle.loads(bytes.fromhex(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def fill(report):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))

try:
    mugato.train(config, resume=True, on_report=fill)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/sys is nobody's to write")
def test_a_folder_that_cannot_be_written_is_named(config):
    elsewhere = dataclasses.replace(config, run=Path("/sys/agent"))
    with pytest.raises(OSError, match=r"^cannot write in /sys/agent: "):
        mugato.train(elsewhere)


@pytest.mark.thorough
def test_a_full_disk_is_one_line_and_the_state_stays(config):
    import pickle

    before = bytes_of(config.run)
    more = dataclasses.replace(config, steps=4)
    done = subprocess.run(
        [sys.executable, "-c", FULL, pickle.dumps(more).hex(), "100000"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    [line] = done.stdout.splitlines()
    assert line.startswith(f"could not write {config.run}/model.safetensors: ")
    assert "File too large" in line
    assert "Traceback" not in done.stderr, done.stderr
    after = bytes_of(config.run)
    assert after[STATE] == before[STATE]
    assert not [kept for kept in after if kept.startswith(".")]
    assert Agent.from_pretrained(config.run).tasks
    assert mugato.train(more, resume=True).step == 4


FULL_BOARD = """
import resource, signal, sys
from pathlib import Path
from mugato.training.metrics import MetricsWriter, StepReport

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
numbers = dict.fromkeys(("loss", "lr", "grad_norm", "tokens_per_s", "fill", "progress"), 1.0)
losses = {f"source-{i}": 1.0 for i in range(99)}
report = StepReport(step=1, losses=losses, tokens=1, seconds=1.0, skipped=0, **numbers)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
writer = MetricsWriter(Path(sys.argv[1]), from_step=0)
try:
    writer.write(report)
    writer.close()
except OSError as error:
    print(error)
"""


@pytest.mark.thorough
def test_a_full_disk_under_tensorboard_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_BOARD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == f"could not write {tmp_path}/tensorboard: File too large\n"
    assert "Traceback" not in done.stderr, done.stderr


def test_a_folder_that_vanishes_is_named(config):
    def vanish(report):  # at once: deleting file after file races with TensorBoard's thread
        config.run.rename(config.run.with_name("elsewhere"))

    # Whichever comes first: TensorBoard's own thread, or the next report.
    either = f"could not write {config.run}/(metrics.jsonl|tensorboard): No such file"
    with pytest.raises(OSError, match=either):
        mugato.train(dataclasses.replace(config, steps=9), resume=True, on_report=vanish)


def test_a_place_where_no_folder_can_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"cannot write in {tmp_path}/file/run: Not a directory"):
        mugato.train(make_config(tmp_path, run=tmp_path / "file" / "run"))


def test_what_torchrun_starts_again_goes_on_by_itself(tmp_path, monkeypatch):
    """From the beginning if nothing was saved; a folder of another job's is not touched."""
    alone = DistributedContext()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    note_job(tmp_path)
    assert as_restarted(tmp_path, False, False, alone) == (False, False)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert as_restarted(tmp_path, False, False, alone) == (False, True)
    (tmp_path / STATE).write_bytes(b"")
    assert as_restarted(tmp_path, False, True, alone) == (True, False)
    for other in ("yours", "none"):  # which torchrun says where nobody named the job
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", other)
        assert as_restarted(tmp_path, False, False, alone) == (False, False)


def test_a_run_that_was_stopped_before_its_first_step_goes_on(tmp_path):
    config = make_config(tmp_path)
    mugato.train(config)
    tensors, metadata = read_tensors(config.run / STATE)
    kept = {name: value for name, value in tensors.items() if not name.startswith("optimizer")}
    progress = {**json.loads(metadata["progress"]), "step": 0, "skipped": 0, "tokens": 0}
    write_tensors(config.run / STATE, kept, {"progress": json.dumps(progress)})
    mugato.train(config, resume=True)
    assert read_progress(config.run).step == config.steps


def test_a_tracker_that_is_not_there_is_told_before_anything_is_lost(tmp_path, monkeypatch):
    config = make_config(tmp_path)
    mugato.train(config)
    before = (config.run / STATE).read_bytes()
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match="wandb cannot be imported"):
        mugato.train(dataclasses.replace(config, tracker="wandb"), overwrite=True)
    assert (config.run / STATE).read_bytes() == before
