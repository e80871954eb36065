"""Episodes to look at: the agent acts, the environment draws, a small mp4 is written."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mugato.acting.batch_policy import InferenceConfig
from mugato.acting.policy import Policy
from mugato.data.pictures import write_gif
from mugato.evaluation.config import EvaluationConfig, find_tasks, load_agent, make_plan
from mugato.evaluation.multinet_v2 import maze_task
from mugato.system.errors import describe
from mugato.system.files import write_whole
from mugato.tasks.domains.mazes import PREFIX, maze_file
from mugato.tasks.environment import opened
from mugato.tasks.rollout import run_episode
from mugato.tasks.task import ActionFunction, Task

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
    frames: list[UInt8[np.ndarray, "_ _ 3"]]
    texts: tuple[str, ...]


def render_video(
    agent: str | Path,
    task: str,
    *,
    seed: int,
    path: Path,
    inference: InferenceConfig = InferenceConfig(),
) -> Film:
    """Let the agent in a folder play one episode; write the film and return it.

    Raises:
        ValueError: no agent, a task that it does not know, a path that is neither an mp4's nor a
            gif's, or an environment that cannot be drawn here, saying why.
    """
    if path.suffix not in (".mp4", ".gif"):
        raise ValueError(f"films are written as .mp4 or .gif, not as {path.name!r}")
    known = load_agent(agent, inference.device)
    if task.startswith(PREFIX):  # a maze's file, played by what the agent knows of mazes
        played = maze_file(Path(task.removeprefix(PREFIX)))
        return _filmed(agent, replace(played, name=maze_task(known)), seed, path, inference)
    known.spec(task)
    os.environ.update(rendering_variables())
    tasks, problems = find_tasks(make_plan(agent, EvaluationConfig(tasks=[task])))
    if not tasks:
        raise ValueError(problems.get(task, f"{task!r} is not played but asked or read"))
    return _filmed(agent, tasks[0], seed, path, inference)


def _filmed(
    agent: str | Path, task: Task, seed: int, path: Path, inference: InferenceConfig
) -> Film:
    film = film_episode(agent, task, seed=seed, inference=inference)
    write = write_mp4 if path.suffix == ".mp4" else write_film_as_gif
    write(film, path)
    return film


def film_episode(
    agent: str | Path, task: Task, *, seed: int, inference: InferenceConfig = InferenceConfig()
) -> Film:
    """Play one episode and keep what it looks like.

    Raises:
        ValueError: whatever the environment raises, naming task and seed.
    """
    seeded = replace(inference, seed=inference.seed + seed)
    policy = Policy(load_agent(agent, inference.device), task=task.name, inference=seeded)
    with opened(lambda: _make_env(task)) as env:
        camera = _Camera(env)

        def begin(env: gymnasium.Env) -> ActionFunction:
            _prepare_mujoco(env)
            camera.shoot()
            return policy.select_action

        limit = task.max_episode_steps
        try:
            played = run_episode(
                env, begin, seed=seed, max_episode_steps=limit, on_step=camera.on_step
            )
        except Exception as error:  # environments raise what they like
            reason = describe(error, expected=(ValueError,))
            raise ValueError(f"{task.name}, seed {seed}: {reason}") from error
    return Film(
        seed=seed,
        episode_return=camera.episode_return,
        length=len(played),
        frames=camera.frames,
        texts=tuple(_texts(played.observations[0])),
    )


def video_name(task: str) -> str:
    """Return a file name for a task's film.

    >>> video_name("ALE/Pong-v5")
    'ALE-Pong-v5.mp4'
    """
    return f"{task.replace('/', '-').replace(':', '-')}.mp4"


def write_mp4(film: Film, path: Path) -> None:
    """Write the film, whole or not at all; short ones slowly, and with a rest at the end.

    Raises:
        ImportError: naming what to install.
        OSError: if it cannot be written, for instance when the disk is full.
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise ImportError(f"{error}; install it with: pip install 'mugato[report]'") from error
    frames, fps = _paced(film)
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
        _check(beside, len(frames))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, write)


def write_film_as_gif(film: Film, path: Path) -> None:
    """Write the film as `write_mp4` does, in a form that any page shows.

    Raises:
        OSError: if it cannot be written, for instance when the disk is full.
    """
    frames, fps = _paced(film)
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = (Image.fromarray(frame).quantize() for frame in frames)
    write_gif(path, pictures, frame_ms=1000 // fps)


def _paced(film: Film) -> tuple[list[UInt8[np.ndarray, "h w 3"]], int]:
    """Return the frames of a film, with a rest at the end, and how many are shown in a second."""
    fps = min(MAX_FPS, max(MIN_FPS, round(len(film.frames) / SHORTEST_S)))
    height, width, _ = film.frames[0].shape  # an environment may draw in several sizes
    size = (max(2, 2 * round(width * HEIGHT_PX / height / 2)), HEIGHT_PX)
    frames = [_resized(frame, size) for frame in film.frames]
    return frames + [frames[-1]] * round(fps * LAST_FRAME_S), fps


def _check(path: Path, num_frames: int) -> None:
    """Count the frames of a film: the writer keeps to itself that the disk was full."""
    from imageio_ffmpeg import count_frames_and_secs

    try:
        kept, _ = count_frames_and_secs(str(path))
    except RuntimeError:
        kept = 0
    if kept != num_frames:
        raise OSError(f"only {kept} of {num_frames} frames were kept; is the disk full?")


def rendering_variables() -> dict[str, str]:
    """Return what to set before environments are imported, so that they draw without a screen.

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


class _Camera:
    """Keeps every n-th frame of an episode, and its last; n doubles whenever there are too many."""

    def __init__(self, env: gymnasium.Env) -> None:
        self.frames: list[np.ndarray] = []
        self.episode_return = 0.0  # added up as `play_episodes` does, to the last bit
        self._env, self._every, self._seen = env, 1, 0

    def on_step(self, reward: float, is_last: bool) -> None:
        self.episode_return += reward
        self.shoot(is_last=is_last)

    def shoot(self, *, is_last: bool = False) -> None:
        if self._seen % self._every == 0 or is_last:
            self.frames.append(_frame(self._env))
        self._seen += 1
        if len(self.frames) > MAX_FRAMES:
            self.frames, self._every = self.frames[::2], 2 * self._every


def _make_env(task: Task) -> gymnasium.Env:
    try:
        return task.make_env(render_mode="rgb_array")
    except TypeError as error:
        raise ValueError(f"{task.name} draws nothing: {error}") from error


def _frame(env: gymnasium.Env) -> UInt8[np.ndarray, "h w 3"]:
    """Return one picture of the environment.

    Raises:
        ValueError: if it draws none.
    """
    try:
        frame: Any = env.render()
    except NotImplementedError:
        raise ValueError("the environment draws no picture: it has no render()") from None
    frame = frame[-1] if isinstance(frame, list) and frame else frame
    if not isinstance(frame, np.ndarray):
        raise ValueError(f"the environment draws no picture: render() gave {type(frame).__name__}")
    return rgb_frame(frame)


def rgb_frame(frame: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture as `render()` gave it in 8 bits and three channels.

    Grey becomes three channels, alpha is left out; numbers with a fraction are of 0 to 1, or of 0
    to 255 where one is greater than 1.

    Raises:
        ValueError: for another shape, or values beyond 255.

    >>> rgb_frame(np.full((2, 2), 0.5))[0, 0]
    array([128, 128, 128], dtype=uint8)
    """
    grey = frame[..., None] if frame.ndim == 2 else frame
    if grey.ndim != 3 or grey.shape[2] not in (1, 3, 4) or grey.size == 0:
        raise ValueError(f"render() gave an array of shape {frame.shape}, which is no picture")
    color = np.broadcast_to(grey[..., :3], (*grey.shape[:2], 3))
    if color.dtype == np.uint8:
        return color
    low, high = float(color.min()), float(color.max())
    if not 0 <= low <= high <= 255:  # NaN is not
        raise ValueError(f"render() gave values from {low:g} to {high:g}, not pixels of 0 to 255")
    unit = color.dtype.kind in "fb" and high <= 1
    return np.rint(color.astype(np.float64) * (255 if unit else 1)).astype(np.uint8)


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


def _resized(frame: np.ndarray, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Bring a frame to the film's (width, height), both even, as the codec wants them."""
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
