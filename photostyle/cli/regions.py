"""How the regions of a run were paired: a little table, and a sheet that shows them."""

from photostyle.cli.outputs import regions_path
from photostyle.config import Config
from photostyle.pipeline import Result
from photostyle.regions.strength import region_strengths


def how_far(config: Config, result: Result) -> dict[str, float]:
    """The strength of every region of the photo, by its name."""
    own = {name.removeprefix("#"): value for name, value in region_strengths(config.region_strength).items()}
    names = (pair.name for pair in result.guidance.pairs)
    return {name: own.get(name.removeprefix("#"), config.strength) for name in names}


def show_regions(config: Config, result: Result) -> None:
    """Where there are several regions: print how they were paired, and draw them beside the output."""
    if len(result.guidance.pairs) < 2:
        return
    # Matplotlib, whose font the sheet takes, is half a second: after the picture, for those who see it.
    from photostyle.evaluation.region_sheet import region_sheet
    from photostyle.evaluation.reports import pairing_table

    if config.region_sheet:
        region_sheet(result, regions_path(config.output))
    if not config.quiet:
        print(*([regions_path(config.output)] if config.region_sheet else []), sep="\n")
        print(f"\n{pairing_table(result.guidance, how_far(config, result))}")
