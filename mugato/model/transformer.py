"""A pre-norm GEGLU transformer with rotary positions (Reed et al. 2022, App. C.1).

The contract of every sequence model: `init_state(batch_size, max_length)` and
`forward(x, positions, segments, state) -> (y, state)`. Without a state one call trains on whole
rows; with one it reads some more tokens of running episodes. The model itself remembers nothing.
"""

import dataclasses
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.model.attention import attend
from mugato.model.config import GatoConfig

# Tokens of each row that a state has room for at first: attention over a long and nearly empty
# state would cost as much as over a full one.
FIRST_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class KeyValueState:
    """Keys and values of the last `max_length` tokens of each row, in a ring.

    The ring grows with the rows until it holds `max_length` tokens; then it goes round.

    Attributes:
        keys, values: of each layer, (B, H, M, head_size): one place more than the ring, the last
            takes the padding.
        positions: (B, M): position of the token in each place; -1 where there is none.
    """

    keys: tuple[Float[Tensor, "B H M head"], ...]
    values: tuple[Float[Tensor, "B H M head"], ...]
    positions: Int[Tensor, "B M"]
    max_length: int

    def select(self, rows: Int[Tensor, " rows"]) -> "KeyValueState":
        """The state of some rows only."""
        return KeyValueState(
            keys=tuple(k[rows] for k in self.keys),
            values=tuple(v[rows] for v in self.values),
            positions=self.positions[rows],
            max_length=self.max_length,
        )

    def with_room(self, num_tokens: int) -> "KeyValueState":
        """The same tokens, with room for so many or for `max_length` of each row."""
        length = self.positions.shape[1] - 1
        wanted = length
        while wanted < min(num_tokens, self.max_length):
            wanted = min(2 * wanted, self.max_length)
        if wanted == length:
            return self
        # What the padding left in the last place is of no use any more.
        padding = (0, 0, 0, wanted - length)
        return KeyValueState(
            keys=tuple(F.pad(k, padding) for k in self.keys),
            values=tuple(F.pad(v, padding) for v in self.values),
            positions=F.pad(self.positions, (0, wanted - length), value=-1),
            max_length=self.max_length,
        )


class Transformer(nn.Module):
    """Blocks of attention and GEGLU feed-forward, each behind a LayerNorm."""

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)

    def init_state(self, batch_size: int, max_length: int) -> KeyValueState:
        """An empty state for rows that will be read from their first token.

        To see the whole context at every token, `max_length` must be at least the context's length
        plus the number of tokens read at once. Under autocast keys and values have its dtype.
        """
        c, device = self.config, self.norm.weight.device
        half = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if half else self.norm.weight.dtype
        length = min(FIRST_LENGTH, max_length)
        shape = (batch_size, c.num_heads, length + 1, c.head_size)

        def empty() -> tuple[Tensor, ...]:
            layers = range(c.num_layers)
            return tuple(torch.zeros(shape, device=device, dtype=dtype) for _ in layers)

        return KeyValueState(
            keys=empty(),
            values=empty(),
            positions=torch.full((batch_size, length + 1), -1, device=device),
            max_length=max_length,
        )

    def forward(
        self,
        x: Float[Tensor, "B L width"],
        positions: Int[Tensor, "B L"],
        segments: Int[Tensor, "B L"],
        state: KeyValueState | None = None,
    ) -> tuple[Float[Tensor, "B L width"], KeyValueState | None]:
        """Read tokens at `positions` of their segments; segment 0 is padding.

        With a state, every row is one running sequence and at most `max_length` tokens are read at
        once, so that no place of the ring is written twice.
        """
        angles = rotary_angles(positions, self.config.head_size)
        if state is None:
            mask = _mask(positions, positions, self.config.context_length)
            mask &= segments[:, None, :, None] == segments[:, None, None, :]
            for block in self.blocks:
                x = block(x, angles, mask)
            return self.norm(x), None
        state, places, mask = self._advance(state, positions, segments)
        for block, keys, values in zip(self.blocks, state.keys, state.values, strict=True):
            x = block(x, angles, mask, cache=(keys, values, places))
        return self.norm(x), state

    def _advance(
        self, state: KeyValueState, positions: Tensor, segments: Tensor
    ) -> tuple[KeyValueState, Tensor, Tensor]:
        """Give the new tokens their places in a fresh copy of the ring."""
        if positions.shape[1] > state.max_length:
            raise ValueError(
                f"{positions.shape[1]} tokens at once, the state holds {state.max_length}"
            )
        state = state.with_room(int(positions.max()) + 1)
        length = state.positions.shape[1] - 1
        places = torch.where(segments > 0, positions % length, length)
        held = state.positions.scatter(1, places, positions)
        held[:, length] = -1
        state = dataclasses.replace(state, positions=held)
        return state, places, _mask(positions, held, self.config.context_length)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), with stochastic depth on each."""

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.head_size
        self.num_heads = config.num_heads
        self.stochastic_depth = config.stochastic_depth
        self.norm_1 = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, config.width, bias=False)
        self.norm_2 = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)
        for linear, fan_in in ((self.qkv, config.width), (self.out, inner)):
            nn.init.normal_(linear.weight, std=fan_in**-0.5)
        with torch.no_grad():
            self.out.weight /= (2 * config.num_layers) ** 0.5

    def forward(
        self,
        x: Float[Tensor, "B L width"],
        angles: tuple[Tensor, Tensor],
        mask: Bool[Tensor, "B 1 L K"],
        cache: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "B L width"]:
        x = x + self._drop(self._attention(self.norm_1(x), angles, mask, cache))
        return x + self._drop(self.feed_forward(self.norm_2(x)))

    def _attention(self, x: Tensor, angles: tuple, mask: Tensor, cache: tuple | None) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b l (qkv h d) -> qkv b h l d", qkv=3, h=self.num_heads)
        q, k = rotate(q, angles), rotate(k, angles)
        if cache is not None:
            keys, values, places = cache
            index = places[:, None, :, None].expand(-1, k.shape[1], -1, k.shape[3])
            k = keys.scatter_(2, index, k.to(keys.dtype)).to(q.dtype)
            v = values.scatter_(2, index, v.to(values.dtype)).to(q.dtype)
        return self.out(rearrange(attend(q, k, v, mask), "b h l d -> b l (h d)"))

    def _drop(self, y: Tensor) -> Tensor:
        y = self.dropout(y)
        if not self.training or self.stochastic_depth == 0:
            return y
        keep = torch.rand(len(y), 1, 1, device=y.device) >= self.stochastic_depth
        return y * keep / (1 - self.stochastic_depth)


class FeedForward(nn.Module):
    """GEGLU; `hidden_size` counts the gate and the value together."""

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        half = config.hidden_size // 2
        self.up = nn.Linear(config.width, config.hidden_size, bias=False)
        self.down = nn.Linear(half, config.width, bias=False)
        nn.init.normal_(self.up.weight, std=config.width**-0.5)
        nn.init.normal_(self.down.weight, std=(half * 2 * config.num_layers) ** -0.5)

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.gelu(gate) * value)


def rotary_angles(
    positions: Int[Tensor, "B L"], head_size: int, base: float = 10_000.0
) -> tuple[Float[Tensor, "B 1 L half"], Float[Tensor, "B 1 L half"]]:
    """Cosine and sine of each position's angles."""
    half = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, None, :, None].float() * base ** (-half / head_size)
    return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "B H L head"], angles: tuple[Tensor, Tensor]
) -> Float[Tensor, "B H L head"]:
    """Turn each pair (x_i, x_{i + head/2}) by its angle; the dtype of x is kept."""
    cos, sin = (a.to(x.dtype) for a in angles)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def _mask(
    query_positions: Int[Tensor, "B Q"], key_positions: Int[Tensor, "B K"], context_length: int
) -> Bool[Tensor, "B 1 Q K"]:
    """True where a query may look: at itself and the past, as far back as the context reaches."""
    distance = query_positions[:, None, :, None] - key_positions[:, None, None, :]
    seen = (distance >= 0) & (distance < context_length)
    return seen & (key_positions >= 0)[:, None, None, :]
