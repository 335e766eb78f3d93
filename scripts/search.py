"""Settings that suit two photographs, found at low resolution: the same as `photostyle search`."""

from photostyle.cli import script

if __name__ == "__main__":  # which it is not in the processes that trials run in
    script("search")
