"""Tables for papers."""

from collections.abc import Sequence


def latex_table(
  heads: Sequence[str], lines: Sequence[Sequence[str]], comments: Sequence[str] = ()
) -> str:
  """A `tabular` with booktabs' rules, the first column to the left, the others to the right."""
  escape = lambda text: text.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&")
  body = [" & ".join(map(escape, line)) + r" \\" for line in (heads, *lines)]
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
