"""photostyle rerun: a recorded run once more, and whether its bytes are the same."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from photostyle.cli.arguments import parse
from photostyle.cli.console import DONE, FAILED, complain, note, tell
from photostyle.cli.outputs import record_path, refuse_foreign_picture
from photostyle.cli.run import execute
from photostyle.errors import PhotostyleError
from photostyle.evaluation.records import config_from_json, read_record, stranger
from photostyle.evaluation.whereabouts import located


@dataclasses.dataclass(frozen=True)
class RerunCommand:
    """Make a recorded picture again and compare its bytes."""

    record: Annotated[Path, tyro.conf.Positional]
    """the .json beside a picture"""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """where to write; default: beside the record, with -rerun in its name"""
    quiet: bool = False
    """print nothing but errors"""


def rerun(arguments: Sequence[str]) -> int:
    """photostyle rerun: the recorded run once more; exit code 1 where the bytes differ."""
    options = parse(RerunCommand, arguments, "photostyle rerun")
    record = read_record(options.record)
    if foreign := stranger(record, options.record):
        note(f"{foreign}; what is made again is the recorded one")
    if record["ended"] != "done":
        raise PhotostyleError(
            f"{options.record} is of a run that did not end ({record['ended']}); start a new run"
        )
    record = located(record, options.record)
    config = config_from_json(record["config"], options.record)
    output = options.output or options.record.with_name(f"{options.record.stem}-rerun{config.output.suffix}")
    if options.output is None:
        refuse_foreign_picture(output)
    threads = record["environment"]["threads"]
    # What a record says is written elsewhere is not: it may be somebody else's.
    again = dataclasses.replace(
        config,
        output=output,
        quiet=options.quiet,
        threads=threads,
        first_picture=False,
        animate=None,
        resume=False,
        fit=False,
    )
    code = execute(again, record.get("segmentation"))
    if code != DONE:
        return code
    after, before = (each["output"]["sha256"] for each in (read_record(record_path(output)), record))
    if after == before:
        if not options.quiet:
            tell(f"the same bytes: SHA-256 {after}")
        return DONE
    return complain(f"{output} differs from the record: SHA-256 {after}, recorded {before}", FAILED)
