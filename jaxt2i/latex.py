"""Tables for papers."""

from collections.abc import Sequence

_SPECIAL = {
  **{sign: f"\\{sign}" for sign in "%_&#$}{"},
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  "\\": r"\textbackslash{}",
  "−": "$-$",
  "±": r"$\pm$",
  "–": "--",
}


def escaped(text: str) -> str:
  """Text as LaTeX prints it."""
  return "".join(_SPECIAL.get(sign, sign) for sign in text)


def latex_table(
  heads: Sequence[str], lines: Sequence[Sequence[str]], comments: Sequence[str] = ()
) -> str:
  """A `tabular` with booktabs' rules, the first column to the left, the others to the right."""
  body = [" & ".join(map(escaped, line)) + r" \\" for line in (heads, *lines)]
  return "\n".join(
    [
      *("% " + " ".join(comment.split()) for comment in comments),
      rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
      r"\toprule",
      body[0],
      r"\midrule",
      *body[1:],
      r"\bottomrule",
      r"\end{tabular}",
      "",
    ]
  )
