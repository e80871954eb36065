"""Episodes to look at: the agent acts, the environment draws, a small mp4 is written."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import UInt8

from mugato.acting.policy import Policy
from mugato.evaluation.config import find_task
from mugato.evaluation.episodes import InferenceConfig, load_agent, named_failures
from mugato.system.files import write_whole
from mugato.tasks.conform import conform
from mugato.tasks.task import Task

MAX_FRAMES = 200
HEIGHT_PX = 192
RENDER_PX = 256  # MuJoCo draws this many: without a GPU each pixel costs time
MIN_FPS, MAX_FPS = 4, 30
SHORTEST_S = 4.0  # short episodes are slowed down to last this long
LAST_FRAME_S = 1.0
PROBE_TIMEOUT_S = 60
# What MuJoCo can draw with where there is no screen.
GL_BACKENDS = ("egl", "osmesa")
NO_GL = "disable"
GL_INSTALL = "apt-get install libegl1 libgl1-mesa-dri, or libosmesa6"
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
with mujoco.Renderer(model, 8, 8) as renderer:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer.update_scene(data)
    renderer.render()
"""


@dataclass(frozen=True, kw_only=True)
class Film:
    """One episode as frames.

    Attributes:
        frames: at most `MAX_FRAMES`, spread evenly over the episode.
        texts: what the first observation said in words (missions).
    """

    seed: int
    episode_return: float
    length: int
    frames: list[UInt8[np.ndarray, "h w 3"]]
    texts: tuple[str, ...]


def render_video(
    agent: str | Path,
    task: str,
    *,
    seed: int,
    path: Path,
    inference: InferenceConfig = InferenceConfig(),
) -> float:
    """Let the agent in a folder play one episode; write the mp4 and return the episode's return.

    Raises:
        ValueError: no agent, a task that it does not know, a path that is no mp4's, or an
            environment that cannot be drawn here, saying why.
    """
    if path.suffix != ".mp4":
        raise ValueError(f"videos are mp4 files: {path} does not end in .mp4")
    load_agent(agent, inference.device).spec(task)
    os.environ.update(rendering_variables())
    film = film_episode(agent, find_task(task), seed=seed, inference=inference)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(film, path)
    return film.episode_return


def film_episode(
    agent: str | Path, task: Task, *, seed: int, inference: InferenceConfig = InferenceConfig()
) -> Film:
    """Play one episode and keep what it looks like."""
    policy = Policy(
        load_agent(agent, inference.device),
        task=task.name,
        sampling=inference.sampling,
        seed=inference.seed + seed,
        precision=inference.precision,
    )
    frames = _Frames()
    with closing(_make_env(task)) as env, named_failures(task.name, seed):
        observation, _ = env.reset(seed=seed)
        _prepare_mujoco(env)
        texts = tuple(_texts(observation))
        frames.add(env)
        episode_return, length, over = 0.0, 0, False
        while not over:
            action = conform(
                env.action_space, policy.select_action(observation), "the agent's action"
            )
            observation, reward, terminated, truncated, _ = env.step(action)
            episode_return += float(reward)
            length += 1
            over = bool(terminated or truncated or length == task.max_episode_steps)
            frames.add(env, last=over)
    return Film(
        seed=seed, episode_return=episode_return, length=length, frames=frames.kept, texts=texts
    )


def write_mp4(film: Film, path: Path) -> None:
    """Write the film, whole or not at all; short ones slowly, and with a rest at the end.

    Raises:
        ImportError: naming what to install.
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise ImportError(f"{error}; install it with: pip install 'mugato[report]'") from error
    fps = min(MAX_FPS, max(MIN_FPS, round(len(film.frames) / SHORTEST_S)))
    frames = [_resized(frame) for frame in film.frames]
    frames += [frames[-1]] * round(fps * LAST_FRAME_S)
    height, width, _ = frames[0].shape

    def write(beside: Path) -> None:
        writer = write_frames(
            str(beside),
            (width, height),
            fps=fps,
            codec="libx264",
            quality=None,  # type: ignore[arg-type]  # the rate follows -crf
            macro_block_size=2,
            output_params=["-crf", "27", "-preset", "fast", "-movflags", "+faststart", "-f", "mp4"],
        )
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()

    write_whole(path, write)


def rendering_variables() -> dict[str, str]:
    """What to set before environments are imported, so that they draw without a screen.

    What the user has set stays as it is.
    """
    variables = {} if "SDL_VIDEODRIVER" in os.environ else {"SDL_VIDEODRIVER": "dummy"}
    chosen = "MUJOCO_GL" in os.environ or not sys.platform.startswith("linux")
    if chosen or importlib.util.find_spec("mujoco") is None:
        return variables
    for backend in GL_BACKENDS:
        candidate = {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        if _can_draw(candidate):
            return {**variables, **candidate}
    # To try all the same would end the process, not just raise an error.
    return {**variables, "MUJOCO_GL": NO_GL}


def _can_draw(variables: dict[str, str]) -> bool:
    """Try in another process: a failed context cannot be undone, and may crash."""
    try:
        subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
        )
    except (subprocess.SubprocessError, OSError):
        return False
    return True


class _Frames:
    """Every n-th frame; n doubles whenever there are too many."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []
        self._every, self._seen = 1, 0

    def add(self, env: gymnasium.Env, *, last: bool = False) -> None:
        if self._seen % self._every == 0 or last:
            self.kept.append(_frame(env))
        self._seen += 1
        if len(self.kept) > MAX_FRAMES:
            self.kept, self._every = self.kept[::2], 2 * self._every


def _make_env(task: Task) -> gymnasium.Env:
    try:
        return task.make_env(render_mode="rgb_array")
    except TypeError as error:
        raise ValueError(f"{task.name} draws nothing: {error}") from error


def _frame(env: gymnasium.Env) -> UInt8[np.ndarray, "h w 3"]:
    """One picture of the environment.

    Raises:
        ValueError: if it draws none.
    """
    frame: Any = env.render()
    frame = frame[-1] if isinstance(frame, list) and frame else frame
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"the environment draws no picture: render() gave {type(frame).__name__}")
    return np.asarray(frame, np.uint8)


def _prepare_mujoco(env: gymnasium.Env) -> None:
    """Have MuJoCo draw small pictures without shadows and reflections: ten times faster.

    Raises:
        ValueError: if it cannot draw at all.
    """
    for holder in (env.unwrapped, getattr(env.unwrapped, "point_env", None)):
        renderer = getattr(holder, "mujoco_renderer", None)
        if renderer is None:
            continue
        if os.environ.get("MUJOCO_GL") == NO_GL:
            raise ValueError(
                f"MuJoCo cannot draw: neither EGL nor OSMesa works here ({GL_INSTALL})"
            )
        renderer.width = renderer.height = RENDER_PX
        renderer.model.light_castshadow[:] = 0
        renderer.model.mat_reflectance[:] = 0
        renderer.model.vis.quality.offsamples = 0


def _resized(frame: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """To the video's height, both sides even, as the codec wants them."""
    from PIL import Image

    height, width, _ = frame.shape
    size = (max(2, 2 * round(width * HEIGHT_PX / height / 2)), HEIGHT_PX)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def _texts(observation: Any) -> Iterator[str]:
    match observation:
        case str():
            yield observation
        case dict():
            for key in sorted(observation):
                yield from _texts(observation[key])
        case tuple() | list():
            for child in observation:
                yield from _texts(child)
