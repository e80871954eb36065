"""The references that JAT published (Gallouédec et al. 2024), beside our own measured ones.

Only for tasks whose return means the same there and here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SCORES = "jat_scores.json"


@dataclass(frozen=True, kw_only=True)
class JatReference:
    """Mean returns of JAT's expert and of random actions."""

    expert: float
    random: float


def jat_reference(name: str | None) -> JatReference | None:
    """The reference of a task by JAT's name; None where there is none, or none that compares.

    >>> jat_reference("babyai-go-to-local")
    JatReference(expert=0.925005, random=0.162485)
    >>> jat_reference("metaworld-reach") is None
    True
    """
    return None if name is None else _references().get(name)


@cache
def _references() -> Mapping[str, JatReference]:
    data = json.loads(files("mugato.evaluation").joinpath(SCORES).read_text("utf-8"))
    return {
        name: JatReference(expert=expert, random=random)
        for name, (expert, random) in data["scores"].items()
    }
