"""Here so that pytest puts this folder on the path, and tests of every room can import `fakes`.

The cluster tests stand on the harness of the process tests, whose folder pytest would only add for itself;
the tests of dashboards and of benchmarks on the scripts that make them.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).with_name("process")))
sys.path.append(str(Path(__file__).parents[1] / "deploy" / "grafana"))
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
