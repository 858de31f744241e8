"""The Lua of stored responses: each script with what all of them share before it."""

import importlib.resources
from collections.abc import Mapping

from ratelimit.store import Script

NAMES = ("save", "delete", "append", "read", "cancel")


def load_scripts() -> Mapping[str, Script]:
    """The scripts by name. Reads the package's files: call it once, at the start."""
    folder = importlib.resources.files("proxy") / "lua"
    shared = (folder / "responses.lua").read_text(encoding="utf-8")
    texts = {name: (folder / f"responses_{name}.lua").read_text(encoding="utf-8") for name in NAMES}
    return {name: Script.of(f"responses_{name}", shared + text) for name, text in texts.items()}
