"""The flags that say how actions are chosen, in the place of how the agent keeps it."""

from dataclasses import dataclass

from mugato.agent import GREEDY, Sampling


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """How actions are chosen; in each task as `mugato tune` found best if nothing is said.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest id every time.
        top_p: sample among the likeliest ids that together hold this much probability.
        greedy: take the likeliest id every time, as --temperature 0 does.
    """

    temperature: float | None = None
    top_p: float | None = None
    greedy: bool = False

    def sampling(self) -> Sampling | None:
        """Return what was said; None if nothing was. Raises ValueError as `Sampling`."""
        if self.greedy:
            return GREEDY
        if self.temperature is None and self.top_p is None:
            return None
        temperature = 1.0 if self.temperature is None else self.temperature
        return Sampling(temperature=temperature, top_p=1.0 if self.top_p is None else self.top_p)
