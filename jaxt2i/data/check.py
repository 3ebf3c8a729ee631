"""Is prepared data sound? Every file, image, caption and split is looked at; nothing is changed."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxt2i.data import prepared, shards, split_files, splits
from jaxt2i.data.shards import Facts

_LONG_CAPTION = 1000  # characters; no text encoder here reads so far
_NUM_NAMED = 5
# UTF-8 that was read as Latin-1 or Windows-1252, or what decoders leave where they gave up.
_GARBLED = re.compile(
  "\N{REPLACEMENT CHARACTER}|Ã[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|Â[\u00a0-\u00bf]|â€"
)


@dataclasses.dataclass(frozen=True)
class Finding:
  """One thing that is not as it could be.

  Attributes:
    level: "error": training would not be sound; "warning": worth a look; "note": good to know.
    what: in words.
    count: how often; None where counting means nothing.
    names: all of them, for JSON; the text shows the first.
  """

  level: Literal["error", "warning", "note"]
  what: str
  count: int | None
  names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
  """What was counted, and what was found."""

  counts: Mapping[str, Any]
  findings: tuple[Finding, ...]

  @property
  def sound(self) -> bool:
    """Whether training on the data would mean something."""
    return not any(finding.level == "error" for finding in self.findings)

  def lines(self) -> Iterator[str]:
    """The report as text."""
    width = max(map(len, self.counts))
    for name, value in self.counts.items():
      yield f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value}"
    for finding in self.findings:
      count = "" if finding.count is None else f"{finding.count:,} "
      named = ", ".join(finding.names[:_NUM_NAMED])
      more = len(finding.names) - _NUM_NAMED
      tail = f" and {more:,} more" if more > 0 else ""
      yield f"{finding.level}: {count}{finding.what}" + (f": {named}{tail}" if named else "")
    yield "sound: training on it is fine" if self.sound else "NOT SOUND: see the errors above"

  def json(self) -> dict[str, Any]:
    """The report as JSON-able values."""
    findings = [dataclasses.asdict(finding) for finding in self.findings]
    return {"sound": self.sound, "counts": dict(self.counts), "findings": findings}


def check(directory: Path, *, max_bad: float = 0.01) -> Report:
  """Looks at prepared data.

  Args:
    directory: of the data.
    max_bad: share of the source's images that may have been unreadable.

  Raises:
    UserError: there is none, or what describes it is damaged.
  """
  manifest = prepared.read_manifest(directory)
  counts: dict[str, Any] = {
    "images": manifest["images"],
    "captions": manifest["captions"],
    "image sizes": " ".join(map(str, manifest["image_sizes"])),
  }
  damaged = [*_files(directory, manifest)]
  findings = [*damaged, *_left_out(manifest, max_bad)]
  if damaged:  # then there is nothing in them to look at
    return Report(counts, tuple(findings))
  facts = prepared.read_facts(directory)
  if not facts:
    return Report(counts, (*findings, Finding("error", "there are no images to train on", None)))
  groups = splits.near_duplicates(directory, facts)
  findings += _duplicates(facts, groups)
  findings += _captions(directory, manifest)
  known = split_files.protocols(directory)
  if not known:
    findings.append(Finding("error", "there are no splits: make them by jaxt2i data split", None))
  for protocol in known:
    stored = split_files.describe(directory, protocol)
    for name, entry in stored["splits"].items():
      counts[f"{protocol}: {name}"] = f"{entry['images']:,} images, {entry['captions']:,} captions"
    findings += _splits(directory, stored, facts, groups)
  order = {"error": 0, "warning": 1, "note": 2}
  return Report(counts, tuple(sorted(findings, key=lambda finding: order[finding.level])))


def _found(
  level: Literal["error", "warning", "note"], what: str, names: Iterable[str]
) -> Iterator[Finding]:
  """A finding with names, or nothing where nothing was found."""
  found = tuple(names)
  if found:
    yield Finding(level, what, len(found), found)


def _files(directory: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
  damaged = []
  for part in manifest["shards"]:
    for name, entry in part["files"].items():
      try:
        intact = shards.sha256_of(directory / name) == entry["sha256"]
      except OSError:
        intact = False
      if not intact:
        damaged.append(name)
  yield from _found("error", "files are damaged or missing; prepare anew", damaged)


def _left_out(manifest: Mapping[str, Any], max_bad: float) -> Iterator[Finding]:
  left_out = manifest["left_out"]
  bad = [f"{one['image_id']} ({one['why']})" for one in left_out.get("bad", ())]
  too_many = len(bad) > max_bad * (manifest["images"] + len(bad))
  yield from _found("error" if too_many else "warning", "unreadable images left out", bad)
  missing = left_out.get("missing", {})
  captions = sum(missing.values())
  yield from _found(
    "warning", f"photos are named by {captions:,} captions but absent; left out", missing
  )
  yield from _found(
    "warning", "images without a caption; left out", left_out.get("uncaptioned", ())
  )
  yield from _found("warning", "files were not read", left_out.get("refused", ()))
  for why, count in left_out.get("captions_dropped", {}).items():
    yield Finding("warning", f"captions or files left out: {why}", count)


def _duplicates(facts: Sequence[Facts], groups: np.ndarray) -> Iterator[Finding]:
  same: dict[str, list[str]] = defaultdict(list)
  near: dict[int, list[str]] = defaultdict(list)
  for row, image in enumerate(facts):
    same[image.sha256].append(image.image_id)
    near[int(groups[row])].append(image.image_id)
  exact = [" = ".join(ids) for ids in same.values() if len(ids) > 1]
  yield from _found("warning", "groups of images that are equal byte for byte", exact)
  alike = [" ≈ ".join(ids) for ids in near.values() if len(ids) > 1]
  yield from _found("warning", "groups of images that are nearly equal (those included)", alike)


def _captions(directory: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
  lacking, long, garbled = [], [], []
  for record in prepared.Rows(directory, min(manifest["image_sizes"])):
    if not record.captions or not all(caption.strip() for caption in record.captions):
      lacking.append(record.image_id)
    for caption in record.captions:
      if len(caption) > _LONG_CAPTION:
        long.append(f"{record.image_id} ({len(caption):,} characters)")
      if _GARBLED.search(caption):
        garbled.append(f"{record.image_id} ({caption[:60]!r})")
  yield from _found("error", "images have no caption, or an empty one", lacking)
  yield from _found("warning", f"captions of more than {_LONG_CAPTION:,} characters", long)
  yield from _found("warning", "captions that were probably read in a wrong encoding", garbled)


def _splits(
  directory: Path, stored: Mapping[str, Any], facts: Sequence[Facts], groups: np.ndarray
) -> Iterator[Finding]:
  """What is wrong with the splits of one protocol."""
  protocol = stored["protocol"]
  for why, count in stored["left_out"].items():
    yield Finding("warning", f"images are in no split of {protocol!r}: {why}", count)
  if stored["note"]:
    yield Finding("note", f"protocol {protocol!r}: {stored['note']}", None)
  selections = {
    name: split_files.load(directory, protocol, name) for name in sorted(stored["splits"])
  }
  expected = ("train", "val") if protocol == prepared.COMPOSITIONAL else ("train", "val", "test")
  for name in dict.fromkeys((*expected, *selections)):
    if name not in selections or not len(selections[name]):
      needed = name in ("train", "val")  # no training goes without
      level: Literal["error", "warning"] = "error" if needed else "warning"
      yield Finding(level, f"no images are in the split {name!r} of {protocol!r}", None)
  if any(selection.captions is not None for selection in selections.values()):
    # They share images on purpose, but not what is said of one.
    rows = prepared.Rows(directory, min(prepared.read_manifest(directory)["image_sizes"]))
    said = {
      name: [
        (f"{groups[row]}#{splits.same_words(caption)}", facts[row].image_id)
        for row, caption in selection.pairs(rows)
      ]
      for name, selection in selections.items()
    }
    yield from _found("error", f"captions are in two splits of {protocol!r}", _across(said))
    return
  same, alike = (
    {
      name: [(key(row), facts[row].image_id) for row in map(int, selection.rows)]
      for name, selection in selections.items()
    }
    for key in (lambda row: facts[row].sha256, lambda row: str(groups[row]))
  )
  yield from _found("error", f"images are in two splits of {protocol!r}", _across(same))
  # Drawings and scenes resemble each other by design; among photos, resemblance is a leak.
  level = "warning" if protocol == prepared.COMPOSITIONAL else "error"
  what = f"groups of near-duplicates are in two splits of {protocol!r}"
  yield from _found(level, what, _across(alike))


def _across(splits_: Mapping[str, Sequence[tuple[str, str]]]) -> list[str]:
  """What lies in more than one split; each has (key, image) pairs, and equal keys are one thing."""
  found: dict[str, dict[str, str]] = defaultdict(dict)
  for name, members in splits_.items():
    for key, image in members:
      found[key].setdefault(name, image)
  return [
    " / ".join(f"{image} in {name}" for name, image in places.items())
    for places in found.values()
    if len(places) > 1
  ]
