"""`mugato generate`: text, captions and answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

if TYPE_CHECKING:
    from mugato.agent import Agent, Sampling


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """What to generate, and how.

    Attributes:
        agent: folder of the run, or the name of an agent that comes with the package.
        image: a picture file.
        question: asked about the picture.
        task: source whose way of answering is used. If not given emoji for captions, easy-vqa for
            questions, or the only one that fits. Options of its name may be left out.
        max_tokens: of continued text.
        temperature: 0 takes the likeliest token every time, as captions and answers do if it is
            not given; text is then drawn at 0.8.
        top_p: sample among the likeliest tokens that hold this much probability.
        seed: of the sampling.
        device: where the agent computes: cpu, cuda, cuda:1, mps or auto.
    """

    agent: Path = Path("runs/demo")
    image: Path | None = None
    question: str | None = None
    task: str | None = None
    max_tokens: int = 200
    temperature: float | None = None
    top_p: float = 0.95
    seed: int = 0
    device: str = "cpu"

    def sampling(self) -> "Sampling":
        """Return how tokens are chosen."""
        from mugato.agent import Sampling

        default = 0.8 if self.image is None else 0.0
        temperature = default if self.temperature is None else self.temperature
        return Sampling(temperature=temperature, top_p=self.top_p)


def generate(
    prompt: Annotated[str, tyro.conf.Positional] = "",
    *,
    config: Annotated[GenerateConfig, tyro.conf.arg(name="")] = GenerateConfig(),
) -> None:
    """Continue a text; with --image, caption the picture, or answer a --question.

    Args:
        prompt: text to continue; empty starts a new document.
    """
    from mugato.acting.text import continue_text
    from mugato.agent import Agent

    if config.image is not None and prompt:
        raise ValueError(f"a picture is captioned or asked about, with --question; got {prompt!r}")
    if config.question is not None and not config.question.strip():
        raise ValueError("--question is empty")
    if config.max_tokens < 1:
        raise ValueError(f"--max-tokens must be at least 1, got {config.max_tokens}")
    sampling = config.sampling()
    agent = Agent.from_pretrained(config.agent, device=config.device)
    if config.image is not None:
        _print(_answer(agent, config, config.image, sampling))
        return
    if config.question is not None:
        raise ValueError("--question needs --image")
    # As it is: rich would break lines, and make pictures of what stands between colons.
    print(prompt, end="", flush=True)
    options = {"max_tokens": config.max_tokens, "seed": config.seed}
    _print(continue_text(agent, prompt, sampling=sampling, **options))


def _answer(
    agent: "Agent", config: GenerateConfig, image: Path, sampling: "Sampling"
) -> Iterator[str]:
    """Caption a picture, or answer a question about it."""
    from mugato.acting.text import stream
    from mugato.data.pictures import read_picture
    from mugato.data.registry import named_like

    wanted = {"image"} if config.question is None else {"image", "question"}
    fitting = [n for n in agent.tasks if {*agent.spec(n).observation_leaves} == wanted]
    usual = "emoji" if config.question is None else "easy-vqa"
    name = config.task or named_like(usual, fitting) or (fitting[0] if len(fitting) == 1 else "")
    if not name:
        raise ValueError(f"name the source whose way of answering is used, --task: {fitting}")
    name = named_like(name, agent.tasks) or name
    leaves = agent.spec(name).observation_leaves
    if "image" not in leaves:
        raise ValueError(f"{name} is not about a picture: it observes {sorted(leaves)}")
    if not image.is_file():
        raise ValueError(f"there is no picture {image}")
    size_px = leaves["image"].shape[0]
    asked = {} if config.question is None else {"question": config.question}
    observation = {"image": read_picture(image.read_bytes(), str(image), size_px=size_px), **asked}
    return stream(agent, observation, task=name, sampling=sampling, seed=config.seed)


def _print(pieces: Iterable[str]) -> None:
    said = False
    for piece in pieces:
        print(piece, end="", flush=True)
        said = said or bool(piece.strip())
    print()
    if not said:
        hint = "the agent had nothing to say; another --seed or a --temperature may help"
        Console(stderr=True).print(hint, style="dim")
