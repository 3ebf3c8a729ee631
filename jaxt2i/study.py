"""Many runs at one budget: trains, measures and tabulates what is not there yet."""

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxt2i import cost, experiment, main, modules
from jaxt2i.errors import UsageError, UserError, suggest
from jaxt2i.evaluation import MEASURING, evaluate
from jaxt2i.evaluation_request import Request
from jaxt2i.sampling import SamplingOptions

logger = logging.getLogger(__name__)

ROW, _PLAN = "row.json", "plan.json"
DRAWN, TEMPERATURE = 100, 0.8  # pictures that a study of priors draws, and how


@dataclasses.dataclass(frozen=True)
class Study:
  """What is to be compared.

  Attributes:
    tokenizer: a tokenizer's config.
    prior: config of the prior that learns its tokens; None: there is none.
    variants: by name, whole sections that replace those of what is studied.
    seeds: each variant is trained with each of them.
    minutes: of training what is studied, evaluation and compilation not counted; 0: the steps of
      its config, the same for all.
    of: what is studied, "tokenizer" (each variant gets a prior of its own) or "prior" (one
      tokenizer a seed serves all variants).
    judge: of a study of priors, the config of the dual encoder that ranks captions.
  """

  tokenizer: Mapping[str, Any]
  prior: Mapping[str, Any] | None
  variants: Mapping[str, Any]
  seeds: tuple[int, ...]
  minutes: float
  of: str = "tokenizer"
  judge: Mapping[str, Any] | None = None

  def __post_init__(self) -> None:
    if self.minutes < 0:
      raise UsageError(f"config.minutes is {self.minutes}: must be 0 or more.")
    if not self.variants or not self.seeds:
      raise UsageError("a study needs config.variants and config.seeds.")
    if (self.of == "prior") != (self.judge is not None) or (self.judge and self.prior is None):
      raise UsageError("config.judge and config.prior are needed for a study of priors.")
    for name, sections in self.variants.items():
      if not name or name != Path(name).name:
        raise UsageError(f"the variant {name!r} must be a name that a folder can have.")
      for section in sections:
        if section not in self.studied:
          known = suggest(section, list(self.studied))
          raise UsageError(f"config.variants.{name}.{section} is no section of a config; {known}")

  @property
  def studied(self) -> Mapping[str, Any]:
    """The config that variants change."""
    return self.prior if self.of == "prior" and self.prior is not None else self.tokenizer


def run(study: Study, out: Path, only: tuple[str, ...] = ()) -> list[dict[str, Any]]:
  """Runs all variants, or only some, with all seeds; returns the rows of all that is done.

  A run that has its row is skipped, one that was stopped goes on. Seeds are the outer loop: what
  is there after half the time compares all variants.

  Raises:
    UserError: a run failed, or `out` holds a study of something else.
  """
  unknown = [name for name in only if name not in study.variants]
  if unknown:
    raise UsageError(f"{unknown[0]!r} is no variant: there are {', '.join(study.variants)}.")
  _require_same(study, out)
  jobs = [(seed, name) for seed in study.seeds for name in only or study.variants]
  for number, (seed, name) in enumerate(jobs):
    folder = out / f"{name}-s{seed}"
    if not (folder / ROW).exists():
      logger.info("\n== %d/%d: %s, seed %d", number + 1, len(jobs), name, seed)
      row = _prior_row if study.of == "prior" else _tokenizer_row
      _write(folder / ROW, row(study, name, seed, folder))
      jax.clear_caches()  # programs of networks that are not needed again
  return list(_rows(study, out))


def _rows(study: Study, out: Path) -> Iterator[dict[str, Any]]:
  for name in study.variants:
    for seed in study.seeds:
      path = out / f"{name}-s{seed}" / ROW
      if path.exists():
        yield json.loads(path.read_text())


def _require_same(study: Study, out: Path) -> None:
  """UserError if any run in the folder, also one that was stopped, is not of this study."""
  for name in study.variants:
    for seed in study.seeds:
      plan = out / f"{name}-s{seed}" / _PLAN
      if plan.exists() and json.loads(plan.read_text())["config"] != _identity(study, name, seed):
        raise UserError(
          f"{plan.parent} was made by another version of this study's config: choose another "
          "--out, or delete that folder to run it again."
        )


def _identity(study: Study, name: str, seed: int) -> str:
  """Short hash of all that decides a run's numbers."""
  what = [study.tokenizer, study.prior, study.judge, study.variants[name], seed, study.minutes]
  what.append(MEASURING)
  return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _tokenizer_row(study: Study, name: str, seed: int, folder: Path) -> dict[str, Any]:
  """Trains and measures one tokenizer with one seed, and a prior on it."""
  config = {**study.tokenizer, **study.variants[name], "seed": seed}
  plan = _plan(config, study.minutes, _identity(study, name, seed), folder / _PLAN)
  config["loop"] = {**config["loop"], "num_steps": plan["num_steps"]}
  tokenizer = folder / "tokenizer"
  main.run(config, tokenizer)
  measured = evaluate(tokenizer, Request()).values
  scores = {key: value for key, value in measured.items() if isinstance(value, float)}
  if study.prior is not None:
    main.run({**study.prior, "tokenizer": str(tokenizer), "seed": seed}, folder / "prior")
    scores |= _prior_scores(folder / "prior", plan["tokens"])
  return {"variant": name, "seed": seed, **plan, **scores}


def _prior_row(study: Study, name: str, seed: int, folder: Path) -> dict[str, Any]:
  """Trains and measures one prior with one seed, on a tokenizer and by a judge that all share."""
  assert study.prior is not None
  assert study.judge is not None
  shared = folder.parent / "shared"
  tokenizer, judge, workdir = shared / f"tokenizer-s{seed}", shared / "judge", folder / "prior"
  main.run({**study.tokenizer, "seed": seed}, tokenizer)
  main.run(dict(study.judge), judge)
  changed = {"seed": seed, "tokenizer": str(tokenizer)}
  config = {**study.prior, **study.variants[name], **changed}
  plan = _plan(config, study.minutes, _identity(study, name, seed), folder / _PLAN)
  config["loop"] = {**config["loop"], "num_steps": plan["num_steps"]}
  main.run(config, workdir)
  options = SamplingOptions(temperature=TEMPERATURE)
  measured = evaluate(workdir, Request(n=DRAWN, options=options, judge=judge)).values
  wanted = ("recall", "everything", "copy_rate")
  scores = {
    key: x
    for key, x in measured.items()
    if key in wanted or (key.startswith("r_precision") and isinstance(x, float))
  }
  scores |= _prior_scores(workdir, plan["tokens"])
  return {"variant": name, "seed": seed, **plan, **scores}


def _prior_scores(workdir: Path, num_tokens: int) -> dict[str, float]:
  """NLL at the evaluation that was best on validation, a token (nats) and an image (bits)."""
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  best = min((line for line in lines if "val/nll" in line), key=lambda line: line["val/nll"])
  return {
    "nll": best["val/nll"],
    "train_nll": best["train/nll"],
    "prior_bits": best["val/nll"] * num_tokens / math.log(2),
    "prior_step": best["step"],
  }


def _plan(config: Mapping[str, Any], minutes: float, identity: str, path: Path) -> dict[str, Any]:
  """Steps of a run and what one costs; measured once, so that a run that goes on has the same."""
  if path.exists():
    return json.loads(path.read_text())
  seconds, facts = _measure(config)
  num_steps = config["loop"]["num_steps"]
  if minutes:
    every = config["loop"]["checkpoint_every"]
    num_steps = max(every, round(60 * minutes / seconds))
  plan = {"config": identity, **facts, "step_ms": 1000 * seconds, "num_steps": num_steps}
  _write(path, plan)
  return plan


def _measure(config: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
  """Seconds of a training step, the median of some; sizes of the network and of its tokens."""
  what = experiment.make(config)
  found = cost.of_step(config, what)
  model: Any = what.task.model  # type: ignore[attr-defined]
  if config["task"] == "prior":
    (h, w), codebook_size = model.grid, model.codebook_size
  else:
    h, w = modules.grid(model, config["data"]["image_size"])
    codebook_size = model.quantizer.codebook_size
  return found.seconds, {
    "tokens": h * w,
    "codebook_size": codebook_size,
    "bits": h * w * math.log2(codebook_size),
    "parameters": found.parameters,
  }


def _write(path: Path, value: Mapping[str, Any]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(".partial")
  partial.write_text(json.dumps(value, indent=2) + "\n")
  partial.replace(path)
