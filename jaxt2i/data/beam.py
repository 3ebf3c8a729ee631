"""Shards made by Apache Beam, on one machine or on many; see `preparing`.

Every worker reads the source and writes its shards itself, so both folders must be ones that all of
them see. The package `apache-beam` is an extra of its own.
"""

from collections.abc import Iterator, Sequence

from jaxt2i.data.preparing import Task, make_shard
from jaxt2i.data.shards import Shard
from jaxt2i.errors import UserError


def run(tasks: Sequence[Task], num_images: int, *, arguments: Sequence[str]) -> Iterator[Shard]:
  """Makes shards with a Beam pipeline, and yields none: they are found in the folder afterwards.

  Args:
    tasks: what is to be made.
    num_images: unused; Beam shows its own progress.
    arguments: Beam's options, such as `--runner=DirectRunner`.

  Raises:
    UserError: Beam is not installed, or the pipeline failed.
  """
  try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as error:
    raise UserError(
      "Apache Beam is not installed: pip install -e '.[beam]', without constraints.txt"
    ) from error
  try:
    with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
      (
        pipeline
        | beam.Create(list(tasks))
        | beam.Reshuffle()  # else one worker may get them all
        | beam.Map(_make)
      )
  except Exception as error:  # each runner wraps what its workers raise in another way
    raise UserError(
      f"the Beam pipeline failed ({' '.join(str(error).split())}); what is done is kept"
    ) from error
  yield from ()


def _make(task: Task) -> int:
  make_shard(task)
  return task.number
