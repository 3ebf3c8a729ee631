"""Formats of image-text data on disk: `make("flickr8k", src="photos").listing()`."""

import dataclasses
from typing import Any

from jaxt2i.data.formats.captions import CaptionFolder, Flickr8k, Flickr30k
from jaxt2i.data.formats.classes import Classes
from jaxt2i.data.formats.coco import Coco, Karpathy
from jaxt2i.data.formats.houses import Houses
from jaxt2i.data.formats.huggingface import HuggingFace
from jaxt2i.data.formats.imagefolder import ImageFolder
from jaxt2i.data.formats.tfds import Tfds
from jaxt2i.data.formats.webdataset import Img2dataset, WebDataset
from jaxt2i.data.listing import Format
from jaxt2i.errors import UserError, suggest

FORMATS: dict[str, type] = {
  "captions": CaptionFolder,
  "classes": Classes,
  "coco": Coco,
  "flickr30k": Flickr30k,
  "flickr8k": Flickr8k,
  "houses": Houses,
  "huggingface": HuggingFace,
  "imagefolder": ImageFolder,
  "img2dataset": Img2dataset,
  "karpathy": Karpathy,
  "tfds": Tfds,
  "webdataset": WebDataset,
}


def make(name: str, **options: Any) -> Format:
  """The format of that name with these options.

  Raises:
    UserError: an unknown name, or an option that is missing or that this format does not have or
      cannot use.
  """
  if name not in FORMATS:
    raise UserError(f"format {name!r} is unknown; {suggest(name, FORMATS)}")
  fields = dataclasses.fields(FORMATS[name])
  names = [field.name for field in fields]
  for option in options:
    if option not in names:
      raise UserError(f"format {name!r} has no option {option!r}; it has {', '.join(names)}")
  for field in fields:
    if field.name not in options and field.default is dataclasses.MISSING:
      raise UserError(f"format {name!r} needs {field.name}")
  return FORMATS[name](**options)


__all__ = ["FORMATS", "Format", "make"]
