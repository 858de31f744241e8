"""`helm template`, `helm lint --strict` and `helm package` by Helm's own library, where there is no `helm`.

Takes the same words in the same order: `template NAME CHART`, `lint CHART`, `package CHART`, then options.
With `--dry-run server --kube-apiserver URL`, `lookup` in a template asks that server; it changes nothing.
It runs in an environment of its own, which has the library: `make helm` makes it.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

INFO = 1  # the severities of a finding are 1 (told), 2 (a warning) and 3


def main() -> None:
    """Print what Helm makes of the chart, or say what is wrong with it and end with status 1."""
    helm = importlib.import_module("helm_python")
    asked = _asked()
    values = helm.values_from_yaml(asked.values.read_text("utf-8")) if asked.values else {}
    try:
        print({"template": _template, "lint": _lint, "package": _package}[asked.command](helm, asked, values))
    except helm.HelmError as error:
        sys.exit(f"Error: {error}")


def _template(helm: Any, asked: argparse.Namespace, values: dict[str, Any]) -> str:
    with helm.Chart.load(asked.chart) as chart:
        chart.validate_schema(values)
        place = {"name": asked.name, "namespace": asked.namespace}
        if asked.dry_run == "server":
            with helm.Config(kube_apiserver=asked.kube_apiserver, namespace=asked.namespace) as cluster:
                made = cluster.render(chart, values, **place)
        else:
            made = chart.render(values, **place)
    texts = {path: text.strip() for path, text in made.items() if path.endswith(".yaml")}
    return "\n".join(f"---\n# Source: {path}\n{text}" for path, text in sorted(texts.items()) if text)


def _lint(helm: Any, asked: argparse.Namespace, values: dict[str, Any]) -> str:
    report = helm.lint(asked.chart, values, strict=True)
    bad = [one for one in report["messages"] if one["severity"] > INFO]
    if report["errors"] or bad:
        sys.exit(json.dumps([*report["errors"], *bad]))
    return f"{report['total_charts_linted']} chart(s) linted, 0 chart(s) failed"


def _package(helm: Any, asked: argparse.Namespace, _values: dict[str, Any]) -> str:
    with helm.Chart.load(asked.chart) as chart:
        return str(chart.save(asked.destination))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    template = commands.add_parser("template")
    template.add_argument("name")
    template.add_argument("--dry-run", choices=["client", "server"], default="client")
    template.add_argument("--kube-apiserver")
    for command in (template, commands.add_parser("lint"), commands.add_parser("package")):
        command.add_argument("chart")
        command.add_argument("--values", type=Path)
        command.add_argument("--namespace", default="default")
        command.add_argument("--strict", action="store_true")
        command.add_argument("--destination", default=".")
    return parser.parse_args()


if __name__ == "__main__":
    main()
