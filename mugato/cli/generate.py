"""`mugato generate`: text, captions and answers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import tyro


def generate(
    prompt: Annotated[str, tyro.conf.Positional] = "",
    *,
    agent: Path = Path("runs/demo"),
    image: Path | None = None,
    question: str | None = None,
    task: str | None = None,
    max_tokens: int = 200,
    temperature: float | None = None,
    top_p: float = 0.95,
    seed: int = 0,
) -> None:
    """Continue a text; with --image, caption the picture, or answer a --question about it.

    Args:
        prompt: text to continue; empty starts a new document.
        agent: folder of the run.
        image: a picture file.
        question: asked about the picture.
        task: source whose way of answering is used; emoji for captions, easy-vqa for questions. The
            options that it was trained with need not be named.
        max_tokens: of continued text.
        temperature: 0 takes the likeliest token every time, as captions and answers do if it is
            not given; text is then drawn at 0.8.
        top_p: sample among the likeliest tokens that hold this much probability.
        seed: of the sampling.
    """
    from mugato.acting import text as generation
    from mugato.acting.sampling import Sampling
    from mugato.agent import Agent
    from mugato.data.pictures import read_picture
    from mugato.data.registry import named_like

    if temperature is None:
        temperature = 0.8 if image is None else 0.0
    sampling, loaded = Sampling(temperature=temperature, top_p=top_p), Agent.from_pretrained(agent)
    if image is None:
        if question is not None:
            raise ValueError("--question needs --image")
        # As it is: rich would break lines, and make pictures of what stands between colons.
        print(prompt, end="", flush=True)
        _print(
            generation.continue_text(
                loaded, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed
            )
        )
        return
    name = task or ("emoji" if question is None else "easy-vqa")
    name = named_like(name, loaded.tasks) or name
    leaves = loaded.spec(name).observation_leaves
    if "image" not in leaves:
        raise ValueError(f"{name} is not about a picture: it observes {sorted(leaves)}")
    size_px = leaves["image"].shape[0]
    picture = read_picture(image.read_bytes(), size_px=size_px)
    asked = {} if question is None else {"question": question}
    _print(
        generation.stream(
            loaded, {"image": picture, **asked}, task=name, sampling=sampling, seed=seed
        )
    )


def _print(pieces: Iterable[str]) -> None:
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
