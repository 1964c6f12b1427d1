"""A reader's options, as a spec gives them: apart from the spec's own module, which imports the readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from moso.config import build

if TYPE_CHECKING:
    from moso.datasets.spec import DatasetSpec

T = TypeVar("T")


def options_of(spec: DatasetSpec, schema: type[T]) -> T:
    """The reader's options in a spec.

    Args:
        spec: the data set.
        schema: the reader's `Options`.

    Raises:
        ConfigError: an option that the reader does not have, or one that breaks its rules.
    """
    return build(schema, spec.options, "options")
