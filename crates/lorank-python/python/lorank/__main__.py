"""`python -m lorank`: the program."""

import sys

from lorank._program import main

if __name__ == "__main__":
    sys.exit(main())
