"""Every strategy on a second device, see ``second_device.py``, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pretend import POSSIBLE

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not POSSIBLE, reason="this torch cannot pretend a device")
def test_a_second_device_gives_the_cpus_numbers() -> None:
    file = Path(__file__).with_name("second_device.py")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, str(file)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert int(passed[1]) >= 50
