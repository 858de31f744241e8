"""The JavaScript examples of the API reference against `serve`, with the official SDK for Node.

Run `python tests/process/js_examples.py` where `node` and `npm` are: the SDK is installed once into
`$XDG_CACHE_HOME/apex-proxy-js` (`~/.cache` without it). Exit status 1 when an example fails or says
something else.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness import KEY, Mock, Serve, configured

EXAMPLES = Path(__file__).parent / "js"
EXPECTED = """\
chat: Hello from mock. You said: Hello!
stream: Hello from mock. You said: Tell me a story
fetch: Hello from mock. You said: Tell me a joke
embedding: 1536 numbers, number
error: NotFoundError 404 model_not_found
"""


NEEDED = ("node", "npm")


def installed() -> Path:
    """The folder with the examples and the SDK they need."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "apex-proxy-js"
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "example.mjs"):
        shutil.copy(EXAMPLES / name, cache / name)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefer-offline"]
    subprocess.run(command, cwd=cache, check=True, timeout=300)
    return cache


def run() -> str:
    """What the examples print."""
    folder = installed()
    with Mock() as mock, Serve(configured(mock)) as proxy:
        environ = os.environ | {"BASE_URL": proxy.url, "API_KEY": KEY}
        done = subprocess.run(
            ["node", "example.mjs"],
            cwd=folder,
            env=environ,
            check=True,
            timeout=60,
            stdout=subprocess.PIPE,
            text=True,
        )
    return done.stdout


def main() -> int:
    """Print the examples' output and a verdict; 1 if it is not what it should be."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        print(f"The JavaScript examples need node and npm; not found: {', '.join(missing)}.", file=sys.stderr)
        return 1
    said = run()
    print(said, end="")
    print(verdict(said))
    return 0 if said == EXPECTED else 1


def verdict(said: str) -> str:
    """Whether that is what the examples should say, and if not, what they should."""
    count = len(EXPECTED.splitlines())
    if said == EXPECTED:
        return f"All {count} examples said what they should."
    return f"FAILED: the {count} examples should have said:\n{EXPECTED}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
