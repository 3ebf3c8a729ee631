"""Images that must have captions, as those that are drawn for, ranked or told the likelihood of."""

from jaxt2i.data.records import Record, Source
from jaxt2i.errors import UserError


def captioned(record: Record) -> Record:
  """The record; UserError if it has no first caption with something in it."""
  if not record.captions or not record.captions[0].strip():
    raise UserError(
      f"the image {record.image_id} has no caption, or an empty one: give it one, or leave it out "
      "(`jaxt2i data check` lists such images)."
    )
  return record


class Captioned:
  """A source all of whose images are `captioned`, which is found when one is read."""

  def __init__(self, source: Source):
    self._source = source
    self.fingerprint, self.attribution = source.fingerprint, source.attribution
    self.protocol, self.note = source.protocol, source.note

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
    return captioned(self._source[index])
