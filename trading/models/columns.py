"""The columns of trading: money, prices and quantities are exact, and closed sets are written out."""

from typing import Any

from django.db import models


def choices_of(values: type) -> list[tuple[str, str]]:
    """Return an enum's members as a column's choices."""
    return [(value, value) for value in values]  # type: ignore[attr-defined]


def price(**options: Any) -> "models.DecimalField[Any, Any]":
    """Return a column for a price."""
    return models.DecimalField(max_digits=24, decimal_places=10, **options)


def quantity(**options: Any) -> "models.DecimalField[Any, Any]":
    """Return a column for a quantity in lots or units."""
    return models.DecimalField(max_digits=20, decimal_places=8, **options)


def money(**options: Any) -> "models.DecimalField[Any, Any]":
    """Return a column for an amount."""
    return models.DecimalField(max_digits=24, decimal_places=8, **options)
