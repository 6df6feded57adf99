"""What the pack adds to ComfyUI's start: the time of its imports beyond core's, by Python's own `-X importtime`.

Every round is a new process in which the real core is there first, with its own nodes, as when ComfyUI starts; then
core's `load_custom_node` loads the pack. The table shows medians.

    python benchmarks/startup.py [--json FILE] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import support
from support import ROOT

MARK = "=== core is there ==="
END = "=== the pack is loaded ==="
LIMIT_SECONDS = 0.05
SHOWN_MODULES = 8


@dataclass(frozen=True)
class Start:
    """One start of ComfyUI."""

    import_seconds: float
    """Of all modules that came with the pack, each without those that it imports in turn."""
    load_seconds: float
    """The whole of `load_custom_node` on the clock: imports, the nodes' schemas, core's look at pyproject.toml."""
    module_seconds: dict[str, float]


def load_the_pack(core: Path) -> None:
    """In a process of its own: core, a mark on stderr, the pack, and what that took as JSON on stdout."""
    sys.path.insert(0, str(core))
    with tempfile.TemporaryDirectory() as base:
        sys.argv = ["main.py", "--cpu", "--base-directory", base]
        import comfy.options
        import utils.install_util  # noqa: F401  (before core's `nodes` puts comfy/ in front, whose utils.py would hide it)

        comfy.options.enable_args_parsing()
        import comfy_config.config_parser  # noqa: F401  (core itself imports it with the first pack that it loads)
        import server  # noqa: F401

        import nodes

        asyncio.run(nodes.init_builtin_extra_nodes())
        print(MARK, file=sys.stderr, flush=True)
        began = time.perf_counter()
        loaded = asyncio.run(nodes.load_custom_node(str(ROOT)))
        seconds = time.perf_counter() - began
        print(END, file=sys.stderr, flush=True)
    if not loaded:
        sys.exit("ComfyUI could not load the pack; the reason is above.")
    print(json.dumps(seconds))


def start_once(core: Path) -> Start:
    """One round."""
    command = [sys.executable, "-X", "importtime", __file__, "--worker", str(core)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        sys.exit("\n".join(said[-20:]))
    timed = done.stderr.partition(MARK)[2].partition(END)[0]
    lines = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \| \s*(\S.*)$", timed, re.MULTILINE)
    package = str(ROOT).replace(".", "_x_") + "."  # the name that core gives it
    modules = {module.removeprefix(package): int(own) / 1e6 for own, module in lines}
    return Start(sum(modules.values()), json.loads(done.stdout.splitlines()[-1]), modules)


def print_table(starts: list[Start]) -> None:
    """The medians, and the modules that cost most."""
    print(f"\nLoading the pack, median of {len(starts)} starts")
    imports = [one.import_seconds for one in starts]
    spread = f"{1000 * min(imports):.1f} to {1000 * max(imports):.1f}"
    print(f"{'imports beyond core (-X importtime)':40} {1000 * statistics.median(imports):7.1f} ms   ({spread})")
    whole = statistics.median(one.load_seconds for one in starts)
    print(f"{'all of load_custom_node, on the clock':40} {1000 * whole:7.1f} ms")
    print(f"{'limit for the imports':40} {1000 * LIMIT_SECONDS:7.1f} ms\n")
    names = starts[-1].module_seconds
    medians = {name: statistics.median(one.module_seconds.get(name, 0.0) for one in starts) for name in names}
    for name in sorted(medians, key=medians.__getitem__, reverse=True)[:SHOWN_MODULES]:
        print(f"  {name:38} {1000 * medians[name]:7.1f} ms")
    print(f"  of {len(medians)} modules")


def main() -> None:
    """Measure, print the table, write the figures."""
    parser = support.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        load_the_pack(options.worker)
        return
    support.enter_environment()
    from environment import find_core

    core = find_core()
    starts = []
    for number in range(options.rounds):
        starts.append(start_once(core))
        print(f"round {number + 1}: {1000 * starts[-1].import_seconds:.1f} ms", flush=True)
    print_table(starts)
    figures = {
        "import_seconds_beyond_core": round(statistics.median(one.import_seconds for one in starts), 4),
        "load_seconds": round(statistics.median(one.load_seconds for one in starts), 4),
    }
    support.write_json(options.json, figures)


if __name__ == "__main__":
    main()
