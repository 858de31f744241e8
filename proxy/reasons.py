"""Why a target was picked or left out, in words. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from proxy.moment import Came
from proxy.routing import Reason

TIMED: Final = frozenset({Reason.LATER, Reason.BACKING_OFF, Reason.EJECTED, Reason.REFUSED})
"""Those that time mends."""

WON: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.STRATEGY: "the best by the model's strategy",
        Reason.PRIORITY: "the lowest priority number",
        Reason.ORIGIN: "another origin than the one that has just failed",
        Reason.SLOW_START: "the others start slowly, and were left out by lot",
    }
)
"""Why the one that was picked was, by what told of the others. The first that holds."""

WHY: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.LATER: "its key had no room, and may be asked again in {wait}",
        Reason.FULL: "it has as many requests in flight as it may have",
        Reason.DRAINED: "it is drained: an operator wants no requests to go there",
        Reason.BACKING_OFF: "it is backing off for another {wait}: the provider asked for it",
        Reason.EJECTED: "it failed too often: its circuit is open for another {wait}",
        Reason.REFUSED: "its key was refused, or may not use its model; it is tried again in {wait}",
        Reason.HALF_OPEN: "its circuit is half open, and this request is not its probe",
        Reason.SLOW_START: "it starts slowly, with {share} of its requests: the lot left it out",
        Reason.PROBE: "another one was to be probed",
        Reason.ORIGIN: "its origin has just failed in this request",
        Reason.PRIORITY: "its priority is {figure}, and one with a lower number was there",
        Reason.DRAW: "the draw fell on another (its weight is {figure})",
    }
)
"""Why one was left out. `wait` is until when, in seconds; `share` and `figure` are what decided it."""

BY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "weighted": "another was drawn by weight",
        "ordered": "it comes later in the file",
        "least_busy": "it has {figure} requests in flight for its weight, and another has fewer",
        "least_latency": "it would take {figure} s (latency times load), and another less",
    }
)
"""The same where the model's strategy decided."""

CAME: Final[Mapping[Came, str]] = MappingProxyType(
    {
        Came.UNSAYABLE: "what is asked cannot be said to it",
        Came.FULL: "its key's limits had no room",
        Came.CROWDED: "its key has as many requests at one time as it may have",
        Came.NOTHING: "picked, and not asked",
    }
)
"""What became of one that was picked and not tried."""
