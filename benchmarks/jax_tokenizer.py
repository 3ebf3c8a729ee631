"""jaxt2i's tokenizer, trained by the step that `jaxt2i.main` runs."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from configs import vqvae
from jaxt2i import config as config_lib
from jaxt2i import experiment, optim
from jaxt2i.errors import UsageError
from jaxt2i.sharding import make_mesh, replicated
from jaxt2i.state import TrainState
from jaxt2i.step import make_train_step

# configs/vqvae.py, with as many codes as the peer.
CHANGES: Mapping[str, Mapping[str, Any]] = {
  "ema": {"model.quantizer.codebook_size": 1024},
  "fsq": {},
}


def make_config(quantizer: str, changes: Mapping[str, Any]) -> dict[str, Any]:
  """The run's config: configs/vqvae.py, random flips, `CHANGES`, then `changes`.

  Raises:
    UsageError: a change of what the config does not have, or to another type.
  """
  config = vqvae.get_config(f"{quantizer},conv,prepared").lock()
  for name, value in {"augment.flip": True, **CHANGES[quantizer], **changes}.items():
    try:
      config.update_from_flattened_dict({name: value})
    except (KeyError, TypeError) as error:
      raise UsageError(
        f"{name} is {value!r}: must be an option of configs/vqvae.py, of the type it has there."
      ) from error
  return config.to_dict()


class JaxTokenizer:
  """A `Learner`; `config` is that of a run."""

  def __init__(self, config: Mapping[str, Any]):
    self._config = config
    self.batch_size, self.seed = config["batch_size"], config["seed"]
    self._experiment = experiment.make(config)
    task: Any = self._experiment.task
    self._model = task.model
    self.codebook_size = self._model.quantizer.codebook_size
    variables = jax.eval_shape(self._variables)
    self.num_parameters = sum(x.size for x in jax.tree.leaves(variables["params"]))
    self._encode = jax.jit(lambda v, x: self._model.apply(v, x, method="encode"))
    self._decode = jax.jit(lambda v, x: self._model.apply(v, x, method="decode"))

  def _variables(self) -> Any:
    key = jax.random.key(self.seed)
    return self._experiment.task.init(key, self._experiment.example())

  def start(self, num_steps: int) -> None:
    """Fresh weights, and the schedule of the config for so many steps."""
    section = self._config["optimizer"]
    optimizer = config_lib.build(optim.Optimizer, section, "config.optimizer").build(num_steps)
    mesh = make_mesh(self.batch_size)
    self._step = make_train_step(
      self._experiment.task,
      optimizer,
      ema_decay=self._config["ema_decay"],
      seed=self.seed,
      mesh=mesh,
    )
    create = jax.jit(lambda: TrainState.create(self._variables(), optimizer))
    fresh = lambda: jax.device_put(create(), replicated(mesh))
    size = self._config["data"]["image_size"]
    black = np.zeros((self.batch_size, size, size, 3), np.uint8)
    self._state = fresh()
    self.step(black)  # compiles
    self._state = fresh()

  def step(self, images: np.ndarray) -> None:
    """One step of the training."""
    weight = np.ones(len(images), np.float32)
    self._state, _ = self._step(self._state, {"image": images, "weight": weight})

  def wait(self) -> None:
    """Until all steps are done."""
    jax.block_until_ready(self._state)

  def reconstruct(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images to tokens to images."""
    variables = self._state.ema_variables
    tokens = self._encode(variables, images)
    return np.asarray(self._decode(variables, tokens)), np.asarray(tokens)
