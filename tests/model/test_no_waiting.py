"""A step that would wait for a GPU's values fails on tensors that have none."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.model.gato import Gato
from mugato.tokens.packing import pack
from mugato.tokens.sequence import encode
from tests.agents import random_episode, tiny_config, tiny_tokenizer


@pytest.fixture
def batch_and_model(monkeypatch: pytest.MonkeyPatch):
    space = spaces.Dict(image=spaces.Box(0, 255, (32, 32, 3), np.uint8), pose=spaces.Discrete(4))
    episode, spec = random_episode(space, spaces.Discrete(3), 6, 0)
    tokenizer = tiny_tokenizer()
    batch = pack([encode(episode, spec, tokenizer)], length=64)
    # "meta" knows no autocast, whose flag is asked for.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device=None: False)
    config = dataclasses.replace(tiny_config(tokenizer.vocab), sequence_model="rotary")
    return batch, Gato(config).train()


def test_forward_and_backward_wait_for_nothing(batch_and_model):
    batch, model = batch_and_model
    scored = int(batch.targets.loss_mask.sum())
    model, batch = model.to("meta"), batch.to("meta")
    losses = model(batch)
    assert losses.values.shape == (scored,)
    losses.mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert all(p.grad is not None for p in model.parameters())


def test_waiting_is_noticed(batch_and_model):
    batch, _ = batch_and_model
    with pytest.raises((RuntimeError, NotImplementedError)):
        batch.to("meta").targets.loss_mask.flatten().nonzero()


def test_places_are_where_the_loss_counts(batch_and_model):
    targets = batch_and_model[0].targets
    assert targets.places.tolist() == np.flatnonzero(targets.loss_mask.numpy()).tolist()
    assert len(targets.places) > 3
