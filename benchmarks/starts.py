"""From the start to ready: ours with a store beside it and with its own, and what others take to import.

Interleaved, with bytecode compiled: one turn of each goes first and is not counted.
"""

import os
import subprocess
import time
from functools import partial
from pathlib import Path

import startup
from rounds import Series
from sections import Rig, Say, Scale

_PEER = "import litellm.proxy.proxy_server"


def starts(rig: Rig, scale: Scale, say: Say) -> list[Series]:
    """Seconds of each turn; a turn is a round."""
    say(f"{scale.turns} turns of each")
    times = startup.measure(scale.turns, rig.store.url, partial(_imported, rig.found.litellm))
    found = {
        "import fastapi, uvicorn, redis": times.libraries,
        "ours to ready, store beside it": times.external,
        "ours to ready, embedded store": times.embedded,
        "import LiteLLM's proxy": times.beside,
    }
    series = Series("start to ready", "seconds")
    series.rounds = [
        {name: {"seconds": seconds[turn], "failed": 0.0} for name, seconds in found.items()}
        for turn in range(scale.turns)
    ]
    return [series]


def _imported(environment: Path) -> float:
    began = time.perf_counter()
    environ = {
        **startup.compiling(os.environ),
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    subprocess.run([environment / "bin" / "python", "-c", _PEER], check=True, env=environ)
    return time.perf_counter() - began
