"""The checker that jaxtyping's hook applies to every function of the package (see conftest.py)."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

# As in PEP 484 an int will do where a float is asked for.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
