"""The whole road in some minutes: data, tokenizer, prior, pictures, numbers.

Each stage is a command that the user could type; it is shown before it runs. The number of steps
depends on the minutes asked for, never on the clock, so that everybody gets the same pictures.
"""

import dataclasses
import logging
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from jaxt2i import environment
from jaxt2i.errors import UserError

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a data set is learnt, and what is drawn at the end.

  Attributes:
    tokenizer, prior: arguments of the configs.
    tokenizer_options, prior_options: further flags of each training.
    tokenizer_steps, prior_steps: for each minute asked for, on two CPU cores.
    drawing: flags of drawing, in pictures and in numbers.
    prompts: what is drawn.
    split: what is evaluated.
    pictures: how many are drawn to measure.
    note: what a newcomer must know to read the pictures.
  """

  tokenizer: str
  prior: str
  tokenizer_options: tuple[str, ...]
  prior_options: tuple[str, ...]
  tokenizer_steps: int
  prior_steps: int
  drawing: tuple[str, ...]
  prompts: tuple[str, ...]
  split: str
  pictures: int
  note: str


OPENMOJI = Recipe(
  tokenizer="ema,openmoji",
  prior="openmoji",
  tokenizer_options=(),
  # So few minutes are enough for some 450 drawings with English captions.
  prior_options=("--config.data.subset=basics", "--config.data.languages=('en',)"),
  tokenizer_steps=120,
  prior_steps=150,
  drawing=(),
  prompts=(
    *("red heart", "rocket", "penguin", "red apple", "guitar", "fish", "house", "umbrella"),
    *("pizza", "sunflower", "whale", "sailboat"),
    # Held out, so never seen: an honest look at what cannot be recalled.
    *("cactus", "snowman", "key", "blue book"),
  ),
  split="val",
  pictures=100,
  note="Known captions are recalled from memory, not understood: compare train_nll with val_nll.",
)

# From this many minutes on there is time for all concepts, in four languages.
LONG = 30
OPENMOJI_LONG = dataclasses.replace(
  OPENMOJI,
  prior_options=("--config.data.subset=concepts",),
  prompts=(
    *("red heart", "rocket", "penguin", "red apple", "guitar", "fish", "house", "umbrella"),
    *("corazón rojo", "fusée", "pinguim", "maçã vermelha"),
    *("cactus", "snowman", "key", "blue book"),  # held out
  ),
)

SHAPES = Recipe(
  tokenizer="fsq,shapes",
  # What is drawn at once is fitted to the caption more than to itself: colours meet shapes that
  # they never wear in training more often than token after token.
  prior="masked,shapes",
  # Few codes must stand for parts that many shapes share: those of a red heart then occur in other
  # red things, and the prior can put one together. With 1,000 codes it seldom does.
  tokenizer_options=("--config.model.quantizer.levels=(5,5,5)",),
  prior_options=(),
  tokenizer_steps=100,
  prior_steps=600,
  drawing=("--guidance_scale=1.5", "--steps=32"),
  prompts=(
    "large red star left of small blue heart",
    "small yellow circle above large green square",
    "large black circle left of small purple cross",
    "small red triangle above small green star",
    # Every scene from here on has colours on shapes that never wear them in training.
    "large red heart left of small blue star",
    "small green circle above large purple triangle",
    "large yellow square left of small red cross",
    "small black cross above large green heart",
  ),
  split="compositional",
  pictures=200,
  note=(
    "The scenes of the split `compositional` have colour–shape pairs that never occurred in "
    "training: what is right there was put together from parts, not recalled."
  ),
)

DATA = ("openmoji", "shapes")


def recipe_for(data: str, minutes: float) -> Recipe:
  """The recipe for a data set and the time there is."""
  if data == "shapes":
    return SHAPES
  return OPENMOJI_LONG if minutes >= LONG else OPENMOJI


def quickstart(data: str, minutes: float, workdir: Path) -> None:
  """Trains, draws and evaluates; each stage goes on where an earlier start was stopped.

  Raises:
    UserError: a stage failed; it has said why.
  """
  recipe = recipe_for(data, minutes)
  tokenizer, prior = workdir / "tokenizer", workdir / "prior"
  configs = environment.configs_dir()
  train = [sys.executable, "-m", "jaxt2i.main"]
  command = [sys.executable, "-m", "jaxt2i.cli"]
  logger.info("jaxt2i quickstart: about %g minutes on two CPU cores", minutes)
  _run(
    "1/4 learning to turn images into tokens and back",
    [
      *train,
      f"--config={configs}/vqvae.py:{recipe.tokenizer}",
      f"--workdir={tokenizer}",
      *recipe.tokenizer_options,
      *_schedule(recipe.tokenizer_steps, minutes),
    ],
  )
  _run(
    "2/4 learning which tokens belong to which words",
    [
      *train,
      f"--config={configs}/prior.py:{recipe.prior}",
      f"--workdir={prior}",
      f"--config.tokenizer={tokenizer}",
      *recipe.prior_options,
      *_schedule(recipe.prior_steps, minutes),
    ],
  )
  prompts = [f"--prompt={prompt}" for prompt in recipe.prompts]
  pictures = workdir / "pictures"
  _run(
    "3/4 drawing",
    [
      *command,
      "generate",
      f"--workdir={prior}",
      f"--out={pictures}",
      "--n=2",
      *recipe.drawing,
      *prompts,
    ],
  )
  _run(
    "4/4 measuring",
    [
      *command,
      "evaluate",
      f"--workdir={prior}",
      f"--split={recipe.split}",
      f"--n={recipe.pictures}",
      *recipe.drawing,
    ],
  )
  logger.info("\n%s\n", recipe.note)
  logger.info("Pictures: %s", pictures / "grid.png")
  logger.info("Numbers:  %s", prior / "eval" / f"{recipe.split}.json")
  logger.info("Your own: jaxt2i generate --workdir %s --prompt '…'", prior)


def _schedule(steps_a_minute: int, minutes: float) -> list[str]:
  """Length of a stage as flags; a save and a look about every tenth and quarter of it."""
  steps = max(20, round(steps_a_minute * minutes / 20) * 20)
  tenth = max(20, steps // 10 // 20 * 20)
  return [
    f"--config.loop.num_steps={steps}",
    f"--config.loop.checkpoint_every={tenth}",
    f"--config.loop.eval_every={max(20, steps // 4)}",
  ]


def _run(title: str, command: list[str]) -> None:
  logger.info("\n== %s\n$ %s", title, shlex.join(command))
  start = time.monotonic()
  # Large pages must be asked for before Python starts; they make training up to a quarter faster
  # (glibc only; elsewhere the variable means nothing).
  environ = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ}
  code = subprocess.run(command, env=environ, check=False).returncode
  if code:
    raise UserError(
      f"quickstart stopped at {title!r} (exit code {code}, see above): mend it and start again; "
      "what is done is kept."
    )
  logger.info("   %.0f s", time.monotonic() - start)
