"""Networks of many styles: python scripts/train.py multistyle --contents DIR --styles DIR, or style-classes DIR."""

import sys

from photostyle.process import let_threads_sleep

if __name__ == "__main__":  # which it is not in the processes that read pictures
    let_threads_sleep()
    from photostyle.cli.train import main  # imports torch

    sys.exit(main(sys.argv[1:]))
