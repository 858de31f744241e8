"""A place at a target, taken for one attempt. Pure."""

from collections.abc import Mapping

import msgspec

from proxy.health import UNTOUCHED, Epochs
from proxy.targets import Target

NO_PROBE: Mapping[str, str] = {}
"""The tokens of an attempt that is no probe."""


class Turn(msgspec.Struct, eq=False):
    """To be ended once. `began` is monotonic, in seconds.

    `probe` are the tokens, by name, of what it is the probe of, until it is reported. `asking`: others wait
    to hear whether its key had a free place. `told`: something was reported of it already. `epochs`: when the
    names of its target had last been reset; of those that were reset since, it says nothing any more.
    """

    target: Target
    began: float
    probe: Mapping[str, str] = NO_PROBE
    asking: bool = False
    told: bool = False
    epochs: Epochs = UNTOUCHED


def places(target: Target) -> int:
    """How many requests the key of `target` may have at one time; 0 for any number."""
    return (target.limits.concurrency if target.limits is not None else None) or 0
