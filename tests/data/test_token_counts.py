from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from minari import create_dataset_from_buffers
from minari.data_collector import EpisodeBuffer

from mugato.data.minari_source import open_minari
from mugato.data.token_counts import count_tokens
from mugato.sequence import encode
from mugato.tokenizers.text import TextTokenizer
from mugato.tokenizers.tokenizer import Tokenizer


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_counted_tokens_are_those_of_the_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    buffers = [
        EpisodeBuffer(
            observations={
                "image": np.zeros((n + 1, 33, 40, 3), np.uint8),
                "words": [f"go to the {'red ' * t}ball" for t in range(n + 1)],
            },
            actions=(np.zeros((n, 2), np.float32), ["done"] * n),
            rewards=[0.0] * n,
            terminations=[False] * n,
            truncations=[False] * n,
        )
        for n in (3, 1, 4)
    ]
    create_dataset_from_buffers(
        "some-v0",
        buffers,
        observation_space=spaces.Dict(
            image=spaces.Box(0, 255, (33, 40, 3), np.uint8), words=spaces.Text(99)
        ),
        action_space=spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Text(9)]),
        jpeg_encoding=False,
    )
    source, tokenizer = open_minari("some"), Tokenizer(text=TextTokenizer.paper())
    sequences = [encode(episode, source.spec, tokenizer, source=0) for episode in source]
    assert count_tokens(source, tokenizer) == sum(map(len, sequences))
