"""Reading and preparing images: against PyTorch's DataLoader, our own training, plain Pillow."""

import atexit
import dataclasses
import itertools
import multiprocessing
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.timing import Case, Prepared, num_cores

NUM_PHOTOS = 2048  # JPEG files
REPEATS = 4  # times that each of them is prepared: as many images as Flickr8k has
WIDTH, HEIGHT = 500, 375  # as Flickr serves them
BATCH = 64
AT_ONCE = 16  # batches
TRAIN_BATCH = 16  # of the quick start


def cases() -> list[Case]:
  """One step: sixteen batches; one batch; all files prepared."""
  # Workers deliver in pairs: of single batches half would cost nothing.
  return [
    Case("input_dataloader", partial(_stream, AT_ONCE), _dataloader, steps=3),
    Case("input_training", partial(_stream, 1), _training, steps=5),
    Case("input_prepare", _prepare, _pillow, steps=1),
  ]


def make_photos(folder: Path, count: int) -> list[Path]:
  """JPEG files of some 130 kB with structure at every scale, as photos have it."""
  rng = np.random.default_rng(0)
  paths = []
  for number in range(count):
    layers = [
      np.asarray(
        Image.fromarray(rng.integers(0, 256, (side * 3 // 4, side, 3), np.uint8)).resize(
          (WIDTH, HEIGHT), Image.Resampling.BICUBIC
        ),
        np.float32,
      )
      for side in (4, 16, 64, 250, 500)
    ]
    shares = (0.3, 0.2, 0.2, 0.15, 0.15)
    mixed = sum(share * layer for share, layer in zip(shares, layers, strict=True))
    paths.append(folder / f"{number:05d}.jpg")
    Image.fromarray(mixed.astype(np.uint8)).save(paths[-1], quality=95)
  return paths


def _folder() -> Path:
  """A folder of this process that goes when it ends."""
  folder = tempfile.mkdtemp(prefix="jaxt2i-benchmark-")
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  return Path(folder)


def _photos() -> list[Path]:
  """The files, made once for all processes of a user."""
  folder = Path(tempfile.gettempdir()) / f"jaxt2i-benchmark-photos-{NUM_PHOTOS}"
  paths = sorted(folder.glob("*.jpg"))
  if len(paths) == NUM_PHOTOS:
    return paths
  making = Path(tempfile.mkdtemp(dir=folder.parent))
  make_photos(making, NUM_PHOTOS)
  try:
    making.rename(folder)
  except OSError:  # another process was first
    shutil.rmtree(making)
  return sorted(folder.glob("*.jpg"))


def _prepared_into(out: Path, paths: list[Path], sizes: tuple[int, ...]) -> None:
  from jaxt2i.data import preparing, processes
  from jaxt2i.data.files import FileBlob
  from jaxt2i.data.listing import Entry, Listing

  entries = [
    Entry(f"{number:05d}", FileBlob(str(path)), (f"photo {path.stem}",))
    for number, path in enumerate(paths)
  ]
  options = preparing.Options(sizes)
  preparing.prepare(
    Listing.of(entries), out, options, info={}, run=partial(processes.run, workers=num_cores())
  )


def _stream(count: int) -> Prepared:
  """Batches as training gets them, from prepared data."""
  from jaxt2i.data import splits
  from jaxt2i.data.prepared import PreparedSource
  from jaxt2i.data.stream import train_stream
  from jaxt2i.data.transforms import image_row

  out = _folder() / "data"
  _prepared_into(out, _photos(), (64,))
  splits.make(out, "image")
  source = PreparedSource(out, "train", image_size=64, protocol="image")
  batches = train_stream(source, image_row, batch_size=BATCH, seed=0, start_step=0)
  return Prepared(lambda: [next(batches) for _ in range(count)], 0)


class JpegFiles:
  """Squares of 64 pixels from JPEG files: what a PyTorch user writes as a Dataset."""

  def __init__(self, paths: list[Path]):
    self._paths = paths

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> Any:
    import torch

    return torch.from_numpy(_plain_square(self._paths[index], 64))


def _plain_square(path: Path, size: int) -> np.ndarray:
  """Pillow's decode and resize, and the black bars."""
  with Image.open(path) as image:
    photo = image.convert("RGB")
  scale = size / max(photo.size)
  size_in_square = (round(photo.width * scale), round(photo.height * scale))
  photo = photo.resize(size_in_square, Image.Resampling.LANCZOS)
  square = Image.new("RGB", (size, size))
  square.paste(photo, ((size - photo.width) // 2, (size - photo.height) // 2))
  return np.array(square)


def _dataloader() -> Prepared:
  from torch.utils.data import DataLoader

  loader: Any = DataLoader(
    JpegFiles(_photos()),  # type: ignore[arg-type]  # it has what a Dataset needs
    batch_size=BATCH,
    shuffle=True,
    drop_last=True,
    num_workers=2,
    persistent_workers=True,
  )
  batches = itertools.chain.from_iterable(itertools.repeat(loader))
  return Prepared(lambda: [next(batches) for _ in range(AT_ONCE)], 0)


def _training() -> Prepared:
  """As many images as a batch has, through the quick start's training step."""
  from benchmarks.jax_train import prepare
  from configs import vqvae
  from jaxt2i import config as config_lib
  from jaxt2i import modules
  from jaxt2i.tasks.tokenizer import TokenizerTask

  config = vqvae.get_config("ema,openmoji").to_dict()
  size = config["data"]["image_size"]
  model = modules.tokenizer(config["model"], size)
  task = config_lib.build(TokenizerTask, config["loss"], "config.loss", model=model)
  image = np.random.default_rng(0).integers(0, 256, (TRAIN_BATCH, size, size, 3)).astype(np.uint8)
  training = prepare(task, config, {"image": image})

  def step() -> None:
    for _ in range(BATCH // TRAIN_BATCH):
      training.step()

  return dataclasses.replace(training, step=step, num_parameters=0)


def _prepare() -> Prepared:
  """All files, to a finished folder at 256 and 64 pixels; processes are started anew."""
  paths, numbers, folder = _photos() * REPEATS, itertools.count(), _folder()

  def step() -> None:
    out = folder / str(next(numbers))
    _prepared_into(out, paths, (256, 64))
    shutil.rmtree(out)

  return Prepared(step, 0)


def _pillow() -> Prepared:
  """All files as squares of 256 and 64 pixels by Pillow, and nothing done with them."""
  paths = _photos() * REPEATS
  pool = multiprocessing.get_context("spawn").Pool(num_cores())
  return Prepared(lambda: sum(pool.imap_unordered(_plain_squares, paths, chunksize=64)), 0)


def _plain_squares(path: Path) -> int:
  square = _plain_square(path, 256)
  small = Image.fromarray(square).resize((64, 64), Image.Resampling.BOX)
  return len(square) + len(np.array(small))
