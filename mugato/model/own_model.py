"""A sequence model of the user's own, by its name: "package.module:Class".

The class is a `SequenceModel` and is made with the `GatoConfig` alone. What it promises is tried on
a few vectors when it is made, so that a wrong one is refused before anything is learned. Like every
name in a config, it is imported where the agent is read: its module must be there, too, and code
that you would not run should not be named.
"""

import inspect
from typing import Any

import torch

from mugato.model.config import GatoConfig
from mugato.model.sequence_model import SequenceModel
from mugato.system.errors import describe
from mugato.system.names import import_name

CONTRACT = "mugato.model.sequence_model.SequenceModel"
STATE_METHODS = ("select", "reset", "copy_rows_from")
TRIED = 4  # tokens


def own_model(config: GatoConfig) -> SequenceModel:
    """Make the model of the class that `config.sequence_model` names.

    Raises:
        ValueError: if it cannot be imported, is not there, or does not keep the contract.
    """
    name = config.sequence_model
    kind = import_name(name, "a sequence model")
    if not (inspect.isclass(kind) and issubclass(kind, SequenceModel)):
        raise ValueError(f"sequence model {name!r} is not a class derived from {CONTRACT}")
    missing = [
        m for m in ("init_state", "forward") if getattr(kind, m) is getattr(SequenceModel, m)
    ]
    if missing:
        raise ValueError(
            f"sequence model {name!r} has no {' and no '.join(missing)}: see {CONTRACT}"
        )
    try:
        inspect.signature(kind).bind(config)
    except TypeError as error:
        raise ValueError(f"sequence model {name!r} must be made with a config: {error}") from None
    model = kind(config)
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ValueError(f"sequence model {name!r} has no parameters")
    if parameter.is_meta:  # shapes alone
        return model
    training = model.training
    if fault := _fault(model.eval(), config, parameter):
        raise ValueError(f"sequence model {name!r} {fault}: see {CONTRACT}")
    return model.train(training)


@torch.no_grad()
def _fault(model: SequenceModel, config: GatoConfig, like: torch.Tensor) -> str | None:
    """Say what is wrong with a model, if anything is: read a few vectors whole, and one by one."""
    x = torch.linspace(-1, 1, TRIED * config.width).view(1, TRIED, -1).to(like)
    positions = torch.arange(TRIED, device=like.device)[None]
    segments = torch.ones_like(positions)
    streamed: list[Any] = []
    try:
        whole, none = model(x, positions, segments)
        state = model.init_state(1, config.context_length + 1)
        if missing := [name for name in STATE_METHODS if not hasattr(state, name)]:
            return f"gives a state without {', '.join(missing)}"
        for i in range(TRIED):
            at = slice(i, i + 1)
            y, state = model(x[:, at], positions[:, at], segments[:, at], state)
            streamed.append(y)
    except Exception as error:  # whatever the user's own code raises
        return f"cannot be run ({describe(error, with_place=True)})"
    if not isinstance(whole, torch.Tensor) or whole.shape != x.shape:
        return f"must give vectors of shape {tuple(x.shape)}, not {_shape(whole)}"
    if none is not None:
        return "must give no state back where it was given none"
    if not torch.allclose(torch.cat(streamed, dim=1), whole, rtol=1e-3, atol=1e-4):
        return (
            "gives other vectors token by token than in one pass: it sees what comes later, or "
            "forgets what came before"
        )
    return None


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
