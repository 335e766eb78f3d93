"""A classification network learns other classes: python scripts/finetune.py DATA [options]."""

import sys

from photostyle.process import let_threads_sleep

if __name__ == "__main__":  # which it is not in the processes that read pictures
    let_threads_sleep()
    from photostyle.cli.finetune import main  # imports torch

    sys.exit(main(sys.argv[1:]))
