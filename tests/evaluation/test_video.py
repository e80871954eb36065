"""Films: short, small, of the same episode that is scored; honest where nothing can be drawn."""

import numpy as np
import pytest
from imageio_ffmpeg import count_frames_and_secs, read_frames
from PIL import Image

from mugato.evaluation import video as videos
from mugato.evaluation.config import load_agent
from mugato.evaluation.episodes import EpisodeRequest, PlayedEpisode, play_episodes
from mugato.evaluation.video import (
    Film,
    film_episode,
    render_video,
    rendering_variables,
    write_film_as_gif,
    write_mp4,
)
from mugato.spec import spec_of
from mugato.tasks.registry import TASKS
from tests.agents import tiny_agent
from tests.evaluation.environments import Guess, guess_task


@pytest.fixture
def folder(tmp_path):
    cart_pole = TASKS["cartpole"].make_env()
    specs = {
        "cartpole": spec_of(cart_pole.observation_space, cart_pole.action_space),
        "guess": spec_of(Guess.observation_space, Guess.action_space),
    }
    tiny_agent(specs, seed=3).save_pretrained(tmp_path)
    return tmp_path


def test_the_video_shows_the_episode_of_its_seed(folder, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")  # no need to probe for CartPole
    path = folder / "cartpole.mp4"
    returned = render_video(folder, "cartpole", seed=2_000_001, path=path).episode_return
    request = EpisodeRequest(task=TASKS["cartpole"], seed=2_000_001)
    [played] = play_episodes(load_agent(str(folder), "cpu"), [request])
    assert isinstance(played, PlayedEpisode) and returned == played.episode_return
    meta = next(read_frames(str(path)))
    assert meta["size"] == (288, 192) and meta["codec"] == "h264"
    assert path.stat().st_size < 100_000
    frames, seconds = count_frames_and_secs(str(path))
    assert frames >= played.length + 1 and seconds > 3


def test_what_cannot_be_played_is_refused_before_anything_is_written(folder, tmp_path):
    path = tmp_path / "films" / "x.mp4"
    with pytest.raises(ValueError, match="there is no agent in"):
        render_video(tmp_path / "nowhere", "cartpole", seed=0, path=path)
    with pytest.raises(ValueError, match=r"knows no task 'cartpol'; did you mean cartpole\?"):
        render_video(folder, "cartpol", seed=0, path=path)
    with pytest.raises(ValueError, match=r"as \.mp4 or \.gif, not as 'x\.avi'"):
        render_video(folder, "cartpole", seed=0, path=path.with_suffix(".avi"))
    assert not path.parent.exists() and not (tmp_path / "nowhere").exists()


def test_films_keep_evenly_spread_frames_and_the_last_one(folder, monkeypatch):
    monkeypatch.setattr(videos, "MAX_FRAMES", 4)
    film = film_episode(str(folder), guess_task(), seed=3_000_000)
    assert 1 <= len(film.frames) <= 5
    assert film.frames[0].shape == (41, 57, 3)


def test_a_gif_shows_each_frame_of_the_film_and_rests_on_the_last(tmp_path):
    shades = [40, 120, 200]
    frames = [np.full((96, 96, 3), shade, np.uint8) for shade in shades]
    write_film_as_gif(
        Film(seed=0, episode_return=0.0, length=2, frames=frames, texts=()), tmp_path / "x.gif"
    )
    with Image.open(tmp_path / "x.gif") as film:
        seen, shown_ms = [], 0
        for i in range(film.n_frames):
            film.seek(i)
            assert film.size == (192, 192)
            seen.append(film.convert("RGB").getpixel((9, 9))[0])
            shown_ms += film.info["duration"]
    assert seen == pytest.approx(shades, abs=2) and shown_ms == 250 * (3 + 4)


def test_pictures_of_other_sizes_are_brought_to_the_firsts(tmp_path):
    frames = [np.zeros((side, 40, 3), np.uint8) for side in (40, 41, 60)]
    film = Film(seed=0, episode_return=0.0, length=2, frames=frames, texts=())
    write_mp4(film, tmp_path / "x.mp4")
    assert next(read_frames(str(tmp_path / "x.mp4")))["size"] == (192, 192)


def test_odd_sizes_become_even(tmp_path):
    frames = [np.zeros((41, 57, 3), np.uint8)] * 3
    film = Film(seed=0, episode_return=0.0, length=2, frames=frames, texts=())
    write_mp4(film, tmp_path / "x.mp4")
    assert next(read_frames(str(tmp_path / "x.mp4")))["size"] == (266, 192)
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def test_where_no_backend_works_it_says_so(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(videos, "GL_BACKENDS", ())
    assert rendering_variables()["MUJOCO_GL"] == videos.NO_GL
    monkeypatch.setenv("MUJOCO_GL", videos.NO_GL)
    env = TASKS["pointmaze-umaze"].make_env(render_mode="rgb_array")
    with pytest.raises(ValueError, match="neither EGL nor OSMesa works here"):
        videos._prepare_mujoco(env)
    env.close()


def test_what_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    assert rendering_variables() == {}
