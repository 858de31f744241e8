"""What a request is expected to cost, learned from what requests did cost. Pure.

Limits on tokens are charged before anybody knows how many there will be. The expectation is the prompt,
from the body's size and the bytes a token of that upstream model has taken so far, plus the output. Both
are learned from the usage that providers report, so no tokenizer has to be known or downloaded. What was
wrong about it is corrected when the request is settled; a good expectation only keeps the bucket calm.
"""

import dataclasses
import enum

from proxy.wire.model import Usage

FIRST_BYTES_PER_TOKEN = 4.0
FIRST_OUTPUT = 256.0
_RATIO_STEP = 0.05
_RATIO_BOUNDS = (1.0, 64.0)
_QUANTILE = 0.9
_QUANTILE_STEP = 0.05
_OUTPUT_BOUNDS = (1.0, 1_000_000.0)
MODELS = 4096
"""The most upstream models remembered; directly addressed ones are named by clients."""


class OutputPolicy(enum.StrEnum):
    """How much output is charged ahead.

    `P90`: what nine of ten replies of that model stayed under, at most the client's own cap.
    `MAX_TOKENS`: the client's cap where it gave one, as OpenAI and Azure count at arrival.
    `NONE`: nothing, as Anthropic counts output tokens.
    """

    P90 = "p90"
    MAX_TOKENS = "max_tokens"
    NONE = "none"


@dataclasses.dataclass(slots=True)
class _Learned:
    bytes_per_token: float = FIRST_BYTES_PER_TOKEN
    output: float = FIRST_OUTPUT


_UNKNOWN = _Learned()
"""What is expected of a model that nobody has asked yet; never written to."""


class Estimator:
    """Expectations per upstream model."""

    def __init__(self) -> None:
        self._models: dict[str, _Learned] = {}

    def prompt(self, model: str, size: int) -> int:
        """Tokens that the prompt of a request to `model` is expected to take. `size` is its body in bytes."""
        return 1 + round(size / self._models.get(model, _UNKNOWN).bytes_per_token)

    def parts(self, model: str, size: int, cap: int | None, policy: OutputPolicy) -> tuple[int, int]:
        """The prompt, and the output charged ahead. `cap` is the client's own bound on output tokens."""
        return self.prompt(model, size), _output(self._models.get(model, _UNKNOWN), cap, policy)

    def learn(self, model: str, size: int, usage: Usage) -> None:
        """A request of `size` bytes to `model` has taken `usage`."""
        if usage.input <= 0:
            return
        known = self._models.get(model)
        if known is None:
            if len(self._models) >= MODELS:
                return
            known = self._models[model] = _Learned()
        ratio = min(max(size / usage.input, _RATIO_BOUNDS[0]), _RATIO_BOUNDS[1])
        known.bytes_per_token += _RATIO_STEP * (ratio - known.bytes_per_token)
        # A running quantile in one number: up by q for each reply above it, down by 1 - q for each below.
        step = _QUANTILE if usage.output > known.output else _QUANTILE - 1.0
        moved = known.output * (1.0 + _QUANTILE_STEP * step)
        known.output = min(max(moved, _OUTPUT_BOUNDS[0]), _OUTPUT_BOUNDS[1])


def _output(known: _Learned, cap: int | None, policy: OutputPolicy) -> int:
    if policy is OutputPolicy.NONE:
        return 0
    likely = round(known.output)
    if cap is None:
        return likely
    return cap if policy is OutputPolicy.MAX_TOKENS else min(cap, likely)
