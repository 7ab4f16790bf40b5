"""The mailbox of a sweep on Ray keeps the order, and loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

from cl_prompts.experiments.sweeps.sweep_mailbox import Mailbox
from cl_prompts.experiments.sweeps.sweep_worker import Advanced, Noted


def test_messages_are_taken_once_in_order() -> None:
    mailbox = Mailbox()
    first, second = Noted("goes on"), Advanced(1, 10, None)
    mailbox.put(2, first)
    mailbox.put(1, second)
    assert mailbox.take() == [(2, first), (1, second)]
    assert mailbox.take() == []


def test_its_process_and_the_messages_load_no_torch() -> None:
    code = (
        "import sys, cl_prompts.experiments.sweeps.sweep_mailbox;"
        "import cl_prompts.experiments.sweeps.sweep_worker;"
        "print([name for name in ('torch', 'avalanche', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
