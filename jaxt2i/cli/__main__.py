"""`python -m jaxt2i.cli`: the command `jaxt2i`, for where its script is not on the path."""

import sys

from jaxt2i.cli import main

if __name__ == "__main__":
  sys.exit(main())
