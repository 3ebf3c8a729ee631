"""`jaxt2i study`: trains and compares many variants at one budget."""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from jaxt2i import environment
from jaxt2i.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i study`."""
  parser.add_argument("config", help="such as configs/studies/tokenizers.py:openmoji,quantizers")
  parser.add_argument("--out", required=True, help="folder of the runs and tables")
  parser.add_argument("--only", default="", help="some variants, separated by commas")
  parser.add_argument("--seeds", default="", help="instead of the config's, separated by commas")
  parser.add_argument("--minutes", type=float, help="of training what is studied, instead of steps")
  parser.add_argument("--data", help="folder of `jaxt2i data prepare`, for a study of `prepared`")


def run(args: argparse.Namespace) -> int:
  """Runs what is not there yet; writes and prints the tables after each start."""
  config = _load(args.config)
  if args.seeds:
    config["seeds"] = _numbers(args.seeds)
  if args.minutes is not None:
    config["minutes"] = args.minutes
  if args.data is not None:
    for part in ("tokenizer", "prior", "judge"):
      if config.get(part) is not None:
        config[part]["data"]["path"] = args.data
  from jaxt2i import config as config_lib
  from jaxt2i.analysis import study_table
  from jaxt2i.study import Study
  from jaxt2i.study import run as run_study

  study = config_lib.build(Study, config, "config")
  out = Path(args.out)
  rows = run_study(study, out, tuple(filter(None, args.only.split(","))))
  print(study_table.markdown(study_table.summarise(rows)))
  for path in study_table.write(rows, out):
    print(f"written to {path}")
  return 0


def _numbers(text: str) -> tuple[int, ...]:
  try:
    return tuple(int(part) for part in text.split(","))
  except ValueError as error:
    raise UsageError(f"--seeds is {text!r}: must be whole numbers, as in 0,1,2.") from error


def _load(name: str) -> dict[str, Any]:
  """The config of `file.py:words`."""
  file, _, words = name.partition(":")
  path = Path(file)
  spec = importlib.util.spec_from_file_location("study_config", path)
  if not path.is_file() or spec is None or spec.loader is None:
    raise UsageError(f"{file} does not exist: must be such as configs/studies/tokenizers.py.")
  sys.path.insert(0, str(environment.configs_dir().parent))  # configs import configs.common
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(words).to_dict()
