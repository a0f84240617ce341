"""Refusals of bad input, which carry the argument, what came and the remedy.

A message is a row of words in which the names of arguments stand apart. Python shows a name as
`` `dt` ``. The command line shows the same message with its flags: `error.said(flag)`.
This file imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Argument:
    """The name of an argument within a message, shown as `columns`."""

    name: str

    def __str__(self) -> str:
        return f"`{self.name}`"


@dataclass(frozen=True)
class Keyword(Argument):
    """An argument as it is passed, with or without a value: columns=['x', 'y'].

    The words in `before` and `after` belong to it. They are left out, or replaced, together with
    the argument where it cannot be passed.
    """

    value: Any = None
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        value = "" if self.value is None else repr(self.value)
        return f"{self.before}{self.name}={value}{self.after}"


# The words of a message, in which arguments stand apart.
Row = tuple[str | Argument, ...]
# A row, or text without arguments.
Words = str | Row


def row(words: Words) -> Row:
    """The words as a row."""
    return (words,) if isinstance(words, str) else words


class Sentence:
    """Words for users, in which the names of arguments are marked."""

    words: Row = ()

    def said(self, name: Callable[[Argument], str] = str) -> str:
        """The text; `name` turns each argument into words."""
        return "".join(word if isinstance(word, str) else name(word) for word in self.words)


class Refusal(Sentence, Exception):  # noqa: N818 - a base: only the classes below are raised
    """Bad input: "`y` must be (M, 2), got (500, 3): pass the same coordinates".

    Parameters
    ----------
    argument : str
        The argument that cannot be used.
    problem : str, or a tuple of str and Argument
        What is wrong. A str follows the argument's name; a tuple is the whole beginning.
    got : str
        What came, in words; empty where `problem` says it.
    remedy : str, or a tuple of str and Argument
        What to do instead. A remedy that begins with "; " is a question.
    """

    def __init__(self, argument: str, problem: Words, got: object = "", remedy: Words = "") -> None:
        self.argument, self.got, self.remedy = argument, str(got), row(remedy)
        self.problem = (Argument(argument), f" {problem}") if isinstance(problem, str) else problem
        came = (f", got {self.got}",) if self.got else ()
        asks = str(self.remedy[0]).startswith("; ")
        ends = (("" if asks else ": "), *self.remedy) if any(self.remedy) else ()
        self.words = (*self.problem, *came, *ends)
        super().__init__(self.said())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.problem, self.got, self.remedy), self.__dict__

    def within(self, place: str) -> Refusal:
        """The same refusal, with a place before it: "points.csv: `points` must be ..."."""
        return type(self)(self.argument, (place, *self.problem), self.got, self.remedy)

    def renamed(self, names: Mapping[str, str | Argument]) -> Refusal:
        """The same refusal with arguments renamed, or replaced by other words."""

        def other(word: str | Argument) -> str | Argument:
            if isinstance(word, str) or word.name not in names:
                return word
            new = names[word.name]
            if isinstance(word, Keyword):
                return replace(word, name=new.name) if isinstance(new, Argument) else word
            return new

        new = names.get(self.argument, self.argument)
        return type(self)(
            new.name if isinstance(new, Argument) else self.argument,
            tuple(other(word) for word in self.problem),
            self.got,
            tuple(other(word) for word in self.remedy),
        )


class RefusedValueError(Refusal, ValueError):
    """A value cannot be used."""


class RefusedTypeError(Refusal, TypeError):
    """A value has a type that cannot be used."""


class RefusedFileError(Refusal, FileNotFoundError):
    """A file does not exist."""


class Notice(Sentence, RuntimeWarning):
    """A warning in which the names of arguments are marked."""

    def __init__(self, *words: str | Argument) -> None:
        self.words = words
        super().__init__(self.said())
