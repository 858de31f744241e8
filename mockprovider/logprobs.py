"""Log probabilities: made up, the same for each token, and shaped as chat and responses have them.

Rule: each piece of text is a token, said with the same certainty; what else could have been said is the token
with marks behind it, each less likely than the one before.
"""

from collections.abc import Iterable

_CERTAINTY = -0.125
_STEP = -2.0


def logprobs(pieces: Iterable[str], top: int) -> list[dict[str, object]]:
    """One entry a piece, each with the `top` most likely tokens."""
    return [
        {
            **_token(piece, _CERTAINTY),
            "top_logprobs": [_token(piece + "~" * place, _CERTAINTY + _STEP * place) for place in range(top)],
        }
        for piece in pieces
    ]


def _token(text: str, logprob: float) -> dict[str, object]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode(errors="replace"))}
