"""Tables for papers: what LaTeX would take for commands."""

from jaxt2i.latex import escaped, latex_table


def test_all_special_signs_are_escaped():
  assert escaped("a_b 5% & #1 $x {y}") == r"a\_b 5\% \& \#1 \$x \{y\}"
  assert escaped("~^") == r"\textasciitilde{}\textasciicircum{}"
  assert escaped("\\") == r"\textbackslash{}"
  assert escaped("1 ± −2") == r"1 $\pm$ $-$2"


def test_a_table():
  found = latex_table(("", "a%"), [("b_c", "1")], ["of\nnothing"]).splitlines()
  assert found[:2] == ["% of nothing", r"\begin{tabular}{lr}"]
  assert found[3:6] == [r" & a\% \\", r"\midrule", r"b\_c & 1 \\"]
