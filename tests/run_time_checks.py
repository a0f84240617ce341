"""The checker that jaxtyping's hook applies to every function of the package (see conftest.py).

A function is checked in its first calls of each test: loops call a function thousands of times, and
the further checks, which say the same, took a third of the time of all tests.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

# Checked calls of a function in a test: a flow of a few steps is checked whole.
MOST = 10
# Checked definitions, in a test, of a function that another function defines: each definition
# compiles the checks anew, which takes a millisecond, and a step of a flow makes several.
MOST_DEFINED = 3

# As in PEP 484 an int will do where a float is asked for.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))

_tests = 0  # that have begun
_spared: list[Any] = []  # functions that are not checked for the rest of this test
_defined: Counter[CodeType] = Counter()  # definitions of nested functions in this test


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """jaxtyping makes a function that checks the arguments, and one that checks them and the
    result; of the latter only the result is left to check.

    The sizes that the arguments have bound are still known then.
    """
    if function.__annotations__.get("return", Any) is not Any:
        function.__annotations__ = {"return": function.__annotations__["return"]}
        return _check(function)
    check = _check(function)
    calls = test = 0

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls, test
        calls, test = (calls + 1 if test == _tests else 1), _tests
        if calls == MOST:
            # jaxtyping looks for this attribute of the function itself at each call
            original = sys._getframe(1).f_locals.get("fn")
            if original is not None:
                original.__no_type_check__ = True
                _spared.append(original)
        return check(*args, **kwargs)

    return counted


def spare_nested() -> None:
    """Let the import hook leave nested functions alone after `MOST_DEFINED` definitions."""
    whole = jaxtyping.jaxtyped

    def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            code = getattr(function, "__code__", None)
            if code is not None and "<locals>" in function.__qualname__:
                _defined[code] += 1
                if _defined[code] > MOST_DEFINED:
                    return function
            return whole(function, typechecker=typechecker)

        return decorate

    jaxtyping.jaxtyped = jaxtyped


def begin_anew() -> None:
    """Check all functions again: a test begins."""
    global _tests
    _tests += 1
    for function in _spared:
        function.__no_type_check__ = False
    _spared.clear()
    _defined.clear()
