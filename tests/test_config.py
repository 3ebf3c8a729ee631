"""Config sections to dataclasses, and the config file of a run: what is refused, and how."""

import dataclasses
import json
import logging
from typing import Literal

import pytest

from jaxt2i import config
from jaxt2i.errors import UsageError, UserError
from jaxt2i.models.quantizers import FSQ


@dataclasses.dataclass(frozen=True)
class Example:
  model: str
  rate: float
  steps: int
  sizes: tuple[int, ...] = (1,)
  flag: bool = False
  kind: Literal["red", "blue"] = "red"
  names: tuple[str, ...] = dataclasses.field(default_factory=tuple)


GOOD = {"model": "m", "rate": 0.5, "steps": 3}


def message_of(error, section, where="config.example", cls=Example, **extra):
  with pytest.raises(error) as caught:
    config.build(cls, section, where, **extra)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_build_fills_fields_and_defaults():
  assert config.build(Example, GOOD, "config.example") == Example("m", 0.5, 3)
  full = GOOD | {"sizes": (4, 5), "flag": True, "kind": "blue", "names": ("a",)}
  assert config.build(Example, full, "config.example") == Example(**full)


def test_build_makes_tuples_of_lists_as_json_gives_them():
  built = config.build(Example, GOOD | {"sizes": [4, 5], "names": []}, "config.example")
  assert (built.sizes, built.names) == ((4, 5), ())
  hash(built)  # a static argument of jit


def test_build_makes_floats_of_integers():
  rate = config.build(Example, GOOD | {"rate": 1}, "config.example").rate
  assert (rate, type(rate)) == (1.0, float)


def test_build_takes_what_no_config_sets_from_the_caller():
  section = {"rate": 0.5, "steps": 3}
  assert config.build(Example, section, "config.example", model="given") == Example("given", 0.5, 3)
  # And then the config may not set it.
  assert "config.example.model" in message_of(UsageError, GOOD, model="given")


def test_build_makes_modules():
  module = config.build(FSQ, {"levels": [8, 5, 5, 5]}, "config.model.quantizer")
  assert module == FSQ((8, 5, 5, 5))
  for hidden in ("parent", "name"):  # fields that Flax adds are not options
    section = {"levels": [3], hidden: "x"}
    assert f"config.q.{hidden} is not an option" in message_of(
      UsageError, section, where="config.q", cls=FSQ
    )


def test_unknown_key_is_named_with_a_suggestion():
  message = message_of(UsageError, GOOD | {"stepz": 3})
  assert "config.example.stepz" in message
  assert "did you mean 'steps'" in message.lower()


def test_unknown_key_like_no_other_lists_the_options():
  message = message_of(UsageError, GOOD | {"xyzzy": 3})
  assert "config.example.xyzzy" in message
  assert "flag, kind, model, names, rate, sizes, steps" in message


def test_missing_keys_are_all_named_and_defaults_are_not():
  message = message_of(UsageError, {"rate": 0.5})
  assert message.startswith("config.example lacks model, steps")
  for optional in ("sizes", "flag", "kind", "names", "rate"):
    assert optional not in message


@pytest.mark.parametrize(
  ("key", "value", "expected"),
  [
    ("steps", 3.0, "int"),
    ("steps", "3", "int"),
    ("steps", None, "int"),
    ("steps", True, "int"),
    ("steps", (3,), "int"),
    ("rate", "fast", "float"),
    ("rate", True, "float"),
    ("rate", None, "float"),
    ("model", 3, "str"),
    ("model", ["m"], "str"),
    ("flag", 1, "bool"),
    ("flag", "yes", "bool"),
    ("sizes", 3, "tuple"),
    ("sizes", "34", "tuple"),
    ("kind", "green", "'red', 'blue'"),
  ],
)
def test_a_value_of_the_wrong_type_is_shown_with_what_is_expected(key, value, expected):
  message = message_of(UsageError, GOOD | {key: value})
  shown = tuple(value) if isinstance(value, list) else value
  assert f"config.example.{key} is {shown!r}" in message
  assert expected in message.split(": must be")[1]


@pytest.mark.parametrize("bad", ["5", 5.0, True, None, [5]])
def test_a_wrong_element_is_named_by_its_place(bad):
  message = message_of(UsageError, GOOD | {"sizes": [4, bad]})
  assert "config.example.sizes[1]" in message
  assert "int" in message


def test_usage_errors_exit_with_2_and_others_with_1():
  assert (UsageError.exit_code, UserError.exit_code) == (2, 1)
  assert issubclass(UsageError, UserError)


# --- the file ---

RUN = {"seed": 0, "data": {"name": "shapes", "sizes": (8, 16)}, "rate": 0.1, "path": None}


def refusal(tmp_path, run):
  with pytest.raises(UserError) as caught:
    config.check(tmp_path, run)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_a_saved_config_comes_back_as_json_has_it(tmp_path):
  config.save(tmp_path, RUN)
  assert config.load(tmp_path) == json.loads(json.dumps(RUN))
  assert [path.name for path in tmp_path.iterdir()] == [config.CONFIG_FILE]


def test_any_config_may_start_a_new_run(tmp_path):
  config.check(tmp_path, RUN)
  config.check(tmp_path / "absent", RUN)
  assert list(tmp_path.iterdir()) == []  # checking writes nothing


def test_the_same_config_is_accepted_and_the_file_stays_the_same(tmp_path):
  config.save(tmp_path, RUN)
  before = (tmp_path / config.CONFIG_FILE).read_bytes()
  reordered = dict(reversed(RUN.items())) | {"data": {"sizes": [8, 16], "name": "shapes"}}
  config.check(tmp_path, reordered)
  config.save(tmp_path, reordered)
  assert (tmp_path / config.CONFIG_FILE).read_bytes() == before


@pytest.mark.parametrize(
  ("change", "key", "old", "new"),
  [
    ({"seed": 1}, "seed", "0", "1"),
    ({"data": RUN["data"] | {"name": "openmoji"}}, "data.name", "'shapes'", "'openmoji'"),
    ({"data": RUN["data"] | {"sizes": (8, 32)}}, "data.sizes", "[8, 16]", "[8, 32]"),
    ({"data": RUN["data"] | {"extra": 1}}, "data.extra", "None", "1"),
    ({"data": {"name": "shapes"}}, "data.sizes", "[8, 16]", "None"),
  ],
)
def test_another_config_is_refused_by_key_and_both_values(tmp_path, change, key, old, new):
  config.save(tmp_path, RUN)
  before = (tmp_path / config.CONFIG_FILE).read_bytes()
  message = refusal(tmp_path, RUN | change)
  assert f"config.{key} = {old}" in message
  assert f"has {new}:" in message
  assert str(tmp_path) in message
  assert (tmp_path / config.CONFIG_FILE).read_bytes() == before  # the run is not harmed


def test_the_number_of_workers_may_change(tmp_path):
  config.save(tmp_path, RUN | {"num_workers": 0})
  config.check(tmp_path, RUN | {"num_workers": 2})


def test_remat_may_change_and_an_older_run_lacks_it(tmp_path):
  config.save(tmp_path, RUN | {"model": {"width": 8}})
  config.check(tmp_path, RUN | {"model": {"width": 8, "remat": True}})


def test_force_logs_every_difference_and_goes_on(tmp_path, caplog):
  config.save(tmp_path, RUN)
  with caplog.at_level(logging.WARNING):
    config.check(tmp_path, RUN | {"seed": 1, "rate": 0.2}, force=True)
  assert [record.message.count("forced") for record in caplog.records] == [1, 1]
  assert "config.seed = 0, this one has 1" in caplog.text
  assert "config.rate = 0.1, this one has 0.2" in caplog.text


def test_a_start_that_was_killed_leaves_no_config(tmp_path, monkeypatch):
  replace = type(tmp_path).replace
  monkeypatch.setattr(
    type(tmp_path), "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
  )
  with pytest.raises(KeyboardInterrupt):
    config.save(tmp_path, RUN)
  assert not (tmp_path / config.CONFIG_FILE).exists()
  monkeypatch.setattr(type(tmp_path), "replace", replace)
  config.save(tmp_path, RUN)
  assert config.load(tmp_path)["seed"] == 0


def test_no_run(tmp_path):
  with pytest.raises(UserError, match="holds no run") as caught:
    config.load(tmp_path / "nowhere")
  assert str(tmp_path / "nowhere") in str(caught.value)
  assert caught.value.exit_code == 1


@pytest.mark.parametrize(
  "content", [b"", b'{"seed": ', b"[1, 2]", b"3", b"\xff\xfe{}", b"\x00" * 9]
)
def test_a_damaged_config_is_one_line_and_not_overwritten(tmp_path, content):
  path = tmp_path / config.CONFIG_FILE
  path.write_bytes(content)
  with pytest.raises(UserError, match="is damaged") as caught:
    config.load(tmp_path)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)
  assert "is damaged" in refusal(tmp_path, RUN)
  assert path.read_bytes() == content
