"""Run the suites of docs/reliability.md in full and write their figures: python scripts/reliability.py [TESTS ...].

A suite is a file docs/reliability/SUITE.json: its title, what it is about, and rows that are written here: what was
tried, how often, and how often it came out right. A test says what it tries by the fixture `tried`, or has the mark
`situation`; other tests are not run. TESTS: as pytest takes them, default all; only the suites that they belong to are
written. `python docs/generate.py` then makes the page.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUITES = ROOT / "docs/reliability"


class Tally:
    """A plugin that adds up what the tests say they try; where one fails, nothing came out right."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict[str, int]]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what belongs to no suite."""
        kept = [
            item
            for item in items
            if item.get_closest_marker("situation") or "tried" in getattr(item, "fixturenames", ())
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add what one test tried."""
        if report.when != "call" or report.skipped:
            return
        for name, value in report.user_properties:
            if name == "tried":
                suite, what, count = json.loads(str(value))
                row = self.rows.setdefault(suite, {}).setdefault(what, {"tried": 0, "right": 0})
                row["tried"] += count
                row["right"] += count if report.passed else 0

    def write(self) -> None:
        """Write the rows of each suite that was run, in the order of what they are about."""
        for suite, rows in self.rows.items():
            path = SUITES / f"{suite}.json"
            listed: list[dict[str, Any]] = [{"what": what, **rows[what]} for what in sorted(rows)]
            entries = json.loads(path.read_text(encoding="utf-8")) | {"rows": listed}
            path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(tests: list[str]) -> int:
    """Returns the exit code of the tests."""
    tally = Tally()
    code = int(pytest.main([*(tests or [str(ROOT / "tests")]), "-m", "not gpu and not shared"], [tally]))
    tally.write()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
