"""The provider that the benchmarks put behind every side: the scripted mock without its record of requests.

It runs as a process of its own, on another core than what is measured. `python origin.py PORT`.
"""

import sys

import samples
import uvloop

import mockprovider


async def main(port: int) -> None:
    """Serve until a signal ends it."""
    script = mockprovider.load(samples.mock_script())
    await mockprovider.run(
        mockprovider.MockProvider("origin", script, record=False), port=port, announce=print
    )


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
