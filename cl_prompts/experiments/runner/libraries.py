"""What libraries say that users can do nothing about."""

from __future__ import annotations

import warnings


def quieten_libraries() -> None:
    """Silence warnings of dependencies that users of a command can do nothing about."""
    for message in ("no QP solver", ".*wandb.*", "No loggers specified"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
