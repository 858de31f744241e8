"""Draws the charts of a run: `chart.py FILE FOLDER`, with matplotlib; prints the names of the files.

Run by `page.py` in an environment of its own. Text and axes are of a grey that reads on white and on black,
for a picture is not told which of them its page is.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]  # not a dependency of the product
from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]  # as above
from rounds import Series

_INK = "#6e7f91"
_COLOURS = {
    "direct": "#8b949e",
    "nginx": "#2da44e",
    "ours": "#0969da",
    "ours, all off": "#54aeff",
    "LiteLLM": "#cf222e",
    "LiteLLM, granian": "#fa7970",
    "Portkey": "#bf8700",
}


def main() -> None:
    """The command line."""
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "performance",
            "font.family": "sans-serif",
            "font.size": 11,
            **dict.fromkeys(
                ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
            ),
        }
    )
    document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = Path(sys.argv[2])
    for name, section, draw in (("rate", "saturation", _rates), ("latency", "open", _latencies)):
        series = [Series(**one) for one in document["sections"].get(section, []) if one["rounds"]]
        if series:
            _save(draw(series), folder / f"performance-{name}.svg")
            print(f"performance-{name}.svg")


def _axes(title: str) -> tuple[Any, Any]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(axis="y", color="#8b949e", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0.0)
    return figure, axes


def _rates(series: list[Series]) -> Any:
    figure, axes = _axes("Requests a second flat out, one core (median, min to max)")
    places = [one.level.split()[0] for one in series]
    for side, colour in _COLOURS.items():
        at = [place for place, one in enumerate(series) if one.has(side)]
        if not at:
            continue
        middle = [series[place].median(side, "rate") for place in at]
        ends = [series[place].values(side, "rate") for place in at]
        spread = [
            [mid - min(end) for mid, end in zip(middle, ends, strict=True)],
            [max(end) - mid for mid, end in zip(middle, ends, strict=True)],
        ]
        axes.errorbar(at, middle, yerr=spread, marker="o", capsize=3, color=colour, label=side)
    axes.set_xticks(range(len(places)), places)
    axes.set_xlabel("connections")
    _legend(axes)
    return figure


def _latencies(series: list[Series]) -> Any:
    figure, axes = _axes("Latency at a fixed rate, ms: p50 to p99.9, p99 marked")
    for place, one in enumerate(series):
        sides = [side for side in _COLOURS if one.has(side)]
        for number, side in enumerate(sides):
            at = place + (number - (len(sides) - 1) / 2) * 0.12
            low, mid, high = (one.median(side, name) / 1000 for name in ("p50_us", "p99_us", "p999_us"))
            axes.plot([at, at], [low, high], color=_COLOURS[side], linewidth=4, solid_capstyle="butt")
            axes.plot([at], [mid], marker="_", markersize=11, markeredgewidth=2, color=_COLOURS[side])
    for side, colour in _COLOURS.items():
        if any(one.has(side) for one in series):
            axes.plot([], [], color=colour, linewidth=4, label=side)
    axes.set_xticks(range(len(series)), [one.level for one in series])
    _legend(axes)
    return figure


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, transparent=True, metadata={"Date": None})
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
