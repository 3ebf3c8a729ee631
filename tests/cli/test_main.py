"""`jaxt2i` itself: help, typing errors, exit codes."""

import argparse
import logging
import sys
import types

import pytest

import jaxt2i
from jaxt2i import cli
from jaxt2i.errors import UsageError, UserError


@pytest.fixture
def command(monkeypatch):
  """Replaces `jaxt2i generate` by a function of its arguments."""

  def install(function):
    module = types.ModuleType("jaxt2i.cli.generate")
    module.add_arguments = lambda parser: parser.add_argument("--prompt", type=int, default=0)
    module.run = function
    monkeypatch.setitem(sys.modules, "jaxt2i.cli.generate", module)

  return install


def one_error_line(capsys) -> str:
  captured = capsys.readouterr()
  assert captured.out == ""
  assert captured.err.startswith("jaxt2i: error: ")
  assert captured.err.count("\n") == 1
  return captured.err


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(argv, capsys):
  with pytest.raises(SystemExit) as exit:
    cli.main(argv)
  assert exit.value.code == 0
  out = capsys.readouterr().out
  assert all(name in out for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_help(name, capsys):
  with pytest.raises(SystemExit) as exit:
    cli.main([name, "--help"])
  assert exit.value.code == 0
  assert f"jaxt2i {name}" in capsys.readouterr().out


def test_version(capsys):
  with pytest.raises(SystemExit) as exit:
    cli.main(["--version"])
  assert exit.value.code == 0
  assert capsys.readouterr().out.strip() == f"jaxt2i {jaxt2i.__version__}"


def test_misspelt_command_suggests_the_right_one(capsys):
  assert cli.main(["quikstart"]) == 2
  assert "did you mean 'quickstart'?" in one_error_line(capsys)


def test_unknown_command_lists_the_commands(capsys):
  assert cli.main(["paint"]) == 2
  assert "'paint'; choose one of analyze, compare, data, doctor, edit, evaluate" in one_error_line(
    capsys
  )


def test_misspelt_option_suggests_the_right_one(capsys, command):
  command(lambda args: 0)
  assert cli.main(["generate", "--promt", "3"]) == 2
  assert "--promt 3; did you mean '--prompt'?" in one_error_line(capsys)


def test_wrong_type_of_an_option(capsys, command):
  command(lambda args: 0)
  assert cli.main(["generate", "--prompt", "many"]) == 2
  assert "invalid int value: 'many'" in one_error_line(capsys)


def test_arguments_and_exit_code_pass_through(command):
  command(lambda args: args.prompt)
  assert cli.main(["generate", "--prompt", "5"]) == 5


@pytest.mark.parametrize(("error", "code"), [(UserError, 1), (UsageError, 2)])
def test_users_mistakes_are_one_line(error, code, capsys, command):
  def run(args: argparse.Namespace) -> int:
    raise error("n is 0,\n  expected 1 or more")

  command(run)
  assert cli.main(["generate"]) == code
  assert one_error_line(capsys) == "jaxt2i: error: n is 0, expected 1 or more\n"


def test_interrupt_is_one_line(capsys, command):
  def run(args: argparse.Namespace) -> int:
    raise KeyboardInterrupt

  command(run)
  assert cli.main(["generate"]) == 130
  assert capsys.readouterr().err == "jaxt2i: interrupted\n"


def test_bugs_keep_their_traceback(command):
  command(lambda args: [][1])
  with pytest.raises(IndexError):
    cli.main(["generate"])


def test_log_lines_are_plain_and_appear_once(capsys, command):
  def run(args: argparse.Namespace) -> int:
    logging.getLogger("jaxt2i.train").info("step %d", 7)
    logging.getLogger("jaxt2i.train").debug("not shown")
    logging.getLogger("orbax").info("not shown")
    return 0

  command(run)
  assert cli.main(["generate"]) == 0
  assert cli.main(["generate"]) == 0
  assert capsys.readouterr().err == "step 7\n" * 2
