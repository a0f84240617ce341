"""How a check of `particleflow.testing` refuses a part with one broken clause."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest


def refused(check: Callable[..., None], part: Any, clause: str, **options: Any) -> None:
    """The message names the part, the clause, what came and a remedy."""
    with pytest.raises(AssertionError) as caught:
        check(part, **options)
    message = str(caught.value)
    assert re.search(f"breaks the contract of an? .*{clause}", message, re.S), message
    assert re.search(r", got .+: \S+", message, re.S), message
