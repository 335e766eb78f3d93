"""How the regions of a run were paired: a little table, and a sheet that shows them."""

from photostyle.cli.console import tell
from photostyle.cli.outputs import regions_path
from photostyle.config import Config
from photostyle.result import Result


def shows_regions(result: Result) -> bool:
    """Whether there are several regions, and so something to show of them."""
    return len(result.guidance.pairs) > 1


def show_regions(config: Config, result: Result) -> None:
    """Where there are several regions: print how they were paired, and draw them beside the output."""
    if not shows_regions(result):
        return
    # Matplotlib, whose font the sheet takes, is half a second: after the picture, for those who see it.
    from photostyle.evaluation.region_sheet import region_sheet
    from photostyle.evaluation.reports import pairing_table

    if config.region_sheet:
        region_sheet(result, regions_path(config.output))
    if not config.quiet:
        tell(*([regions_path(config.output)] if config.region_sheet else []))
        tell(f"\n{pairing_table(result.guidance, result.how)}")
