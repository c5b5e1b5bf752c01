"""How tests are spread over the processes of pytest-xdist."""

from __future__ import annotations

import pytest

from testing.schedule import FAULTS, INSTALLATIONS, group

pytest_plugins = "pytester"

ADDOPTS = "-p testing.schedule -p no:django -p no:cacheprovider"


@pytest.mark.parametrize(
    ("nodeid", "name"),
    [
        ("tests/faults/test_redis.py::test_it", FAULTS),
        ("tests/browser/test_pages.py::test_it[dark]", INSTALLATIONS),
        ("tests/cases/test_pages.py::test_it", "tests/cases/test_pages.py"),
        ("tests/cases/test_pages.py::Class::test_it", "tests/cases/test_pages.py"),
    ],
)
def test_each_test_has_a_group(nodeid: str, name: str) -> None:
    assert group(nodeid) == name


def test_groups_stay_together_and_the_longest_come_first(pytester: pytest.Pytester) -> None:
    pytester.makeini(f"[pytest]\naddopts = {ADDOPTS}\nmarkers = slow")
    where = "import os, pathlib\ndef note(name):\n    with open('ran', 'a') as file:\n"
    where += "        file.write(f\"{os.environ['PYTEST_XDIST_WORKER']} {name}\\n\")\n"
    test = "\ndef test_{0}_{1}(): note('{0}')\n"
    pytester.makepyfile(
        **{
            f"test_{name}": "import pytest\n" + where + mark + "".join(test.format(name, number) for number in range(4))
            for name, mark in {"a": "", "b": "", "c": "pytestmark = pytest.mark.slow\n"}.items()
        }
    )
    result = pytester.runpytest_subprocess("-n", "2")
    assert result.parseoutcomes()["passed"] == 12
    ran = (pytester.path / "ran").read_text().splitlines()
    processes = {name: {line.split()[0] for line in ran if line.endswith(name)} for name in "abc"}
    assert all(len(process) == 1 for process in processes.values()), processes
    assert processes["a"] != processes["c"]  # the slow one and the first of the others begin
    [process] = processes["c"]
    assert next(line for line in ran if line.startswith(process)) == f"{process} c"


def test_an_installation_outside_its_group_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makeini(f"[pytest]\naddopts = {ADDOPTS}")
    pytester.makepyfile("import pytest\n@pytest.fixture\ndef stack(): pass\ndef test_it(stack): pass")
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*uses 'stack': add its file to GROUPS in testing/schedule.py."])
