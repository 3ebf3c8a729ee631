"""The TFDS builder `openmoji`."""

import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from jaxt2i.data.openmoji import OpenMoji
from jaxt2i.data.records import Record

_DESCRIPTION = """\
The emoji drawings of OpenMoji that have a name, as square images, with captions in several
languages. They come from pip packages: nothing is downloaded.

Splits: `train`; `validation`, one drawing in ten; and `test`, whose combinations (woman, cook and
dark skin tone; blue and square) training shows in parts but never as a whole.
"""
_CITATION = """\
@misc{openmoji,
  title        = {OpenMoji: the open-source emoji and icon project},
  howpublished = {https://openmoji.org}
}
"""
_SPLITS = {"train": "train", "val": "validation", "compositional": "test"}
_PARTS = ("role", "gender", "tone", "object", "colour")


@dataclasses.dataclass(eq=False)
class OpenMojiConfig(tfds.core.BuilderConfig):
  """Which drawings, and how: the options of `jaxt2i.data.openmoji.OpenMoji`.

  Other values than the defaults need a name of their own, under which the data is kept.
  """

  subset: str = "all"
  image_size: int = 64
  background: str = "white"
  languages: tuple[str, ...] = ("en", "es", "fr", "pt")


class OpenMojiBuilder(tfds.core.GeneratorBasedBuilder):
  """OpenMoji: `openmoji/all`, `openmoji/concepts`, `openmoji/basics`, or an OpenMojiConfig."""

  name = "openmoji"
  # TFDS looks for this file by a package that it does not install (importlib_resources).
  code_path = Path(__file__)
  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012  TFDS wants a plain dict
  BUILDER_CONFIGS = [  # noqa: RUF012  and a plain list
    OpenMojiConfig(name="all", description="About 3,800 drawings.", subset="all"),
    OpenMojiConfig(name="concepts", description="One drawing a concept.", subset="concepts"),
    OpenMojiConfig(name="basics", description="The oldest of those.", subset="basics"),
  ]

  def _info(self) -> tfds.core.DatasetInfo:
    size = self.builder_config.image_size
    text = tfds.features.Text
    return tfds.core.DatasetInfo(
      builder=self,
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
          "captions": tfds.features.Sequence(text()),
          "image_id": text(doc="code points in hexadecimal"),
          "emoji": text(),
          **{part: text(doc="part of the name, empty if it has none") for part in _PARTS},
        }
      ),
      homepage="https://openmoji.org",
      citation=_CITATION,
      license=OpenMoji.attribution,
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
    config = self.builder_config
    dataset = OpenMoji(
      image_size=config.image_size,
      background=config.background,
      languages=tuple(config.languages),
      subset=config.subset,
    )
    splits = dataset.splits()
    return {_SPLITS[split]: self._generate_examples(rows) for split, rows in splits.items()}

  def _generate_examples(
    self, records: Iterable[Record]
  ) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for record in records:
      # TFDS encodes arrays with TensorFlow alone, but takes files as they are.
      png = io.BytesIO()
      Image.fromarray(record.image).save(png, "PNG")
      yield (
        record.image_id,
        {
          "image": png.getvalue(),
          "captions": list(record.captions),
          "image_id": record.image_id,
          "emoji": record.attributes["emoji"],
          **{part: record.attributes.get(part, "") for part in _PARTS},
        },
      )
