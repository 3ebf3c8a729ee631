"""What the training step asks of a task."""

from typing import Any, Protocol, runtime_checkable

from flax import struct

from jaxt2i.types import Batch, Key, Variables


class LossOutput(struct.PyTreeNode):
  """What a task's loss returns."""

  loss: Any  # [] differentiated
  metrics: Any  # {name: metrics.Metric}; adds across batches and devices
  updates: Any  # {collection: new value}, of collections that are not trained by gradient
  image: Any = None  # [B, H, W, 3] reconstruction, of tasks that make one; for an adversary


@runtime_checkable
class Task(Protocol):
  """Something to learn: a frozen, hashable dataclass without arrays."""

  def init(self, key: Key, batch: Batch) -> Variables:
    """Fresh variables for batches shaped like this one."""
    ...

  def loss(self, variables: Variables, batch: Batch, key: Key, *, train: bool) -> LossOutput:
    """The loss of a batch."""
    ...
