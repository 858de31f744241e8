"""The official SDKs before the proxy: `make conformance`.

    python tests/conformance/conformance.py [--only FEATURE] [--env current|previous] [--json FILE]

Every feature of every client API over every kind of provider, in environments with the SDKs' current major
version and the one before; then the examples of the API reference. Exit status 1 when a cell fails.
"""

import argparse
import collections
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "process"))  # its harness is ours too

import environments
import reference
import rig
import tables
from cells import ROWS
from tables import Result

WORKER = Path(__file__).with_name("worker.py")
EXAMPLES = "examples"
LONGEST = 20
"""Lines that are printed of one failure; the file of `--json` has them all."""


def chosen(wanted: str) -> tuple[str, ...]:
    """The rows whose name has one of the words in it, separated by commas; all for no word."""
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    return tuple(row for row in ROWS if not words or any(word in row for word in words))


def run(environment: str, rows: Sequence[str], stage: rig.Rig) -> Iterator[Result]:
    """The results of one environment as they come."""
    python = environments.python_of(environment)
    job: dict[str, object] = {"url": stage.root, "key": rig.KEY, "ports": dict(stage.ports)}
    job |= {"environment": environment, "rows": list(rows)}
    with subprocess.Popen(
        [str(python), "-W", "ignore", str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        with worker.stdin as given:
            json.dump(job, given)
        line = 0
        for told in map(json.loads, worker.stdout):
            if told.pop("event") == "begin":
                line = len(stage.proxy.err)
            else:
                log = rig.log_since(stage.proxy, line) if told["error"] else ()
                yield Result(environment, log=log, **told)
    if worker.returncode:
        raise SystemExit(f"the clients of {environment!r} ended with {worker.returncode}")


def played(environment: str, rows: Sequence[str], stage: rig.Rig) -> list[Result]:
    """The results of one environment, told block by block; failures at once."""
    print(f"{environment}: {environments.versions_of(environment)}", flush=True)
    results: list[Result] = []
    blocks: collections.Counter[tuple[str, str, bool]] = collections.Counter()
    for result in run(environment, rows, stage):
        if results and (results[-1].api, results[-1].kind) != (result.api, result.kind):
            _tell(results[-1], blocks)
        results.append(result)
        blocks[result.api, result.kind, not result.error] += 1
        if result.error:
            print(told(result), flush=True)
    if results:
        _tell(results[-1], blocks)
    return results


def _tell(last: Result, blocks: collections.Counter[tuple[str, str, bool]]) -> None:
    good, bad = (blocks[last.api, last.kind, held] for held in (True, False))
    failed = f", {bad} failed" if bad else ""
    print(f"  {last.api:>9} client over {last.kind + ':':10} {good} ok{failed}", flush=True)


def told(result: Result) -> str:
    """A failure with all that is known of it."""
    name = f"{result.row} / {result.api} client over {result.kind} / {result.environment}"
    lines = result.error.rstrip().splitlines()
    error = "\n    ".join(lines if len(lines) <= LONGEST else [*lines[:LONGEST], "..."])
    log = "".join(f"\n    proxy: {line}" for line in result.log)
    return f"  FAIL {name}\n    {error}{log}"


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for, print the tables; 1 if something failed, 2 if there is nothing like it."""
    parser = argparse.ArgumentParser(prog="conformance", description="The official SDKs before the proxy.")
    parser.add_argument(
        "--only", metavar="FEATURE", default="", help="rows with this in their name; a,b for two"
    )
    parser.add_argument("--env", choices=environments.NAMES, help="one environment instead of both")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all results there as well")
    options = parser.parse_args(arguments)
    rows = chosen(options.only)
    with_examples = not options.only or EXAMPLES in options.only
    if not rows and not with_examples:
        parser.error(f"no feature is like {options.only!r}; there are: {', '.join((*ROWS, EXAMPLES))}")
    names = [options.env] if options.env else list(environments.NAMES)
    for name in names:
        environments.python_of(name)
    began = time.monotonic()
    results, shown = _results(names, rows, with_examples=with_examples)
    seconds = time.monotonic() - began
    if results:
        print(f"\n{tables.matrix(results)}")
    if shown:
        print(f"\nexamples of the API reference over a provider of\n{tables.examples(shown)}")
    if options.json:
        everything = [asdict(result) for result in (*results, *shown)]
        options.json.write_text(
            json.dumps({"seconds": round(seconds, 1), "results": everything}, indent=1), "utf-8"
        )
    failed = sum(bool(result.error) for result in (*results, *shown))
    print(f"\n{len(results) + len(shown) - failed} checks ok, {failed} failed, {seconds:.0f} s")
    return 1 if failed else 0


def _results(
    names: Sequence[str], rows: Sequence[str], *, with_examples: bool
) -> tuple[list[Result], list[Result]]:
    results: list[Result] = []
    if rows:
        with rig.matrix() as stage:
            for name in names:
                results += played(name, rows, stage)
    shown: list[Result] = []
    if with_examples:
        print("examples of the API reference", flush=True)
        for result in reference.results(names[0]):
            shown.append(result)
            if result.error:
                print(told(result), flush=True)
    return results, shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
