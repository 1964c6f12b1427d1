"""What a trained model can be asked for: one file a task, and the `Model` facade over all of them.

Every outside edge (CLI, evaluation, registry, serving, notebooks) uses the facade and nothing below it.
"""

from moso.tasks.model import Model

__all__ = ["Model"]
