"""What all sections share: frozen, strict, unknown keys refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """One part of the configuration; immutable, unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def _exact(value: object) -> object:
    """Money is written as text or a whole number: a YAML float has already lost digits."""
    if isinstance(value, float):
        raise ValueError(f"write {value!r} in quotes: a decimal in YAML without quotes is a binary float")
    return value


Money = Annotated[Decimal, BeforeValidator(_exact)]
"""A Decimal written in quotes (or as a whole number)."""
