"""Contract tests for parts that can be chosen by name: what autoseg relies on, tried on small inputs.

Own parts and those of third parties run the same tests. Each takes the part or its name, in its table or as
`package.module:function`, and raises AssertionError that says which promise is broken; UnknownNameError for no such part.
"""

from autoseg.testing.augmentation import check_augmentation
from autoseg.testing.loss import check_loss
from autoseg.testing.metric import check_metric
from autoseg.testing.network import check_network
from autoseg.testing.reader import check_reader

__all__ = ["check_augmentation", "check_loss", "check_metric", "check_network", "check_reader"]
