"""The checker that jaxtyping's hook applies to every function of the package (see conftest.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

# As in PEP 484 an int will do where a float is asked for.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """jaxtyping makes a function that checks the arguments, and one that checks them and the result; of the latter only the result is left to check.

    The sizes that the arguments have bound are still known then.
    """
    if function.__annotations__.get("return", Any) is not Any:
        function.__annotations__ = {"return": function.__annotations__["return"]}
    return _check(function)
