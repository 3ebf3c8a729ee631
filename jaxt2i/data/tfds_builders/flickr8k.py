"""The TFDS builder `flickr8k`."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxt2i.data.formats import captions
from jaxt2i.data.formats.columns import reason
from jaxt2i.data.listing import Entry
from jaxt2i.errors import UserError

_DESCRIPTION = """\
8,091 photographs of people and animals in everyday scenes, each with five English captions.

Splits: `train`, `validation` and `test` (6,000, 1,000 and 1,000 photographs) by the official
lists, and `unlisted` with the photographs that are in none of them. Where there are no lists,
everything is in `train`. Captions stand as the authors published them.
"""
_CITATION = """\
@article{hodosh2013framing,
  title   = {Framing Image Description as a Ranking Task: Data, Models and Evaluation Metrics},
  author  = {Hodosh, Micah and Young, Peter and Hockenmaier, Julia},
  journal = {Journal of Artificial Intelligence Research},
  volume  = {47},
  pages   = {853--899},
  year    = {2013}
}
"""
_HOMEPAGE = "http://hockenmaier.cs.illinois.edu/Framing_Image_Description/KCCA.html"
_MANUAL = """\
Needed only where nothing can be downloaded: pass a folder as DownloadConfig(manual_dir=...) that
holds Flickr8k_Dataset.zip and Flickr8k_text.zip as they are or unpacked, or a folder of images
with captions.txt (Kaggle's version).
"""
_SPLITS = {"train": "train", "val": "validation", "test": "test", "": "unlisted"}


class Flickr8k(tfds.core.GeneratorBasedBuilder):
  """Flickr8k, downloaded, or read from `DownloadConfig(manual_dir=...)` if that is given.

  Archives are read in place: nothing is unpacked.
  """

  name = "flickr8k"
  # TFDS looks for this file by a package that it does not install (importlib_resources).
  code_path = Path(__file__)
  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012  TFDS wants a plain dict
  MANUAL_DOWNLOAD_INSTRUCTIONS = _MANUAL
  # The copy that users of the set download; links to the authors' own are broken.
  BASE_URL = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
  FILES = ("Flickr8k_Dataset.zip", "Flickr8k_text.zip")

  _manual_dir = ""

  def download_and_prepare(self, *, download_config: Any = None, **options: Any) -> None:
    """As in TFDS. UserError if `download_config.manual_dir` is given but no folder."""
    manual = getattr(download_config, "manual_dir", None)
    self._manual_dir = os.path.expanduser(os.fspath(manual)) if manual else ""
    if manual and not os.path.isdir(self._manual_dir):
      raise UserError(
        f"manual_dir {self._manual_dir!r} does not exist or is no folder; it should hold "
        f"{' and '.join(self.FILES)}, or leave it out to download them"
      )
    super().download_and_prepare(download_config=download_config, **options)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(None, None, 3), doc="as published, undecoded"),
          "captions": tfds.features.Sequence(tfds.features.Text()),
          "image_id": tfds.features.Text(doc="name of the file"),
        }
      ),
      homepage=_HOMEPAGE,
      citation=_CITATION,
      license=captions.Flickr8k.terms,
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
    folder = self._manual_dir or self._download(dl_manager)
    entries = captions.Flickr8k(folder).listing().entries
    by_split: dict[str, list[Entry]] = {split: [] for split in _SPLITS}
    for entry in entries:
      by_split[entry.split].append(entry)
    if len(by_split[""]) == len(entries):
      return {"train": self._generate_examples(entries)}
    return {
      _SPLITS[split]: self._generate_examples(rows) for split, rows in by_split.items() if rows
    }

  def _generate_examples(self, entries: Iterable[Entry]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for entry in entries:
      try:
        image = entry.blob.read()
      except OSError as error:
        raise UserError(
          f"cannot read {entry.image_id} ({error}); fetch its archive again"
        ) from error
      yield (
        entry.image_id,
        {"image": image, "captions": list(entry.captions), "image_id": entry.image_id},
      )

  def _download(self, dl_manager: tfds.download.DownloadManager) -> str:
    """A folder with the two archives under their own names.

    Raises:
      UserError: one of them cannot be downloaded.
    """
    try:
      paths = dl_manager.download({name: f"{self.BASE_URL}/{name}" for name in self.FILES})
    except (OSError, tfds.download.DownloadError) as error:
      raise UserError(
        f"cannot download {' and '.join(self.FILES)} from {self.BASE_URL} ({reason(error)}); fetch "
        "them elsewhere and pass DownloadConfig(manual_dir=FOLDER)"
      ) from error
    # TFDS keeps downloads under names of its own, among what broken downloads left behind.
    folder = Path(dl_manager.download_dir, self.name, "archives")
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
      link = folder / name
      link.unlink(missing_ok=True)
      link.symlink_to(Path(path).resolve())
    return str(folder)
