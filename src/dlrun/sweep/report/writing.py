"""The report of a sweep: one page to read, and the same figures as pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlrun.storage.links import refuse_links
from dlrun.storage.run_directory import write_whole
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.report.figures import draw
from dlrun.sweep.report.page import page
from dlrun.sweep.report.pictures import write_pictures
from dlrun.sweep.report.sections import Contents
from dlrun.sweep.snapshot import take


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path
    pictures: list[Path]


def write_report(sweep: SweepDirectory) -> Report:
    """Replace the sweep's report by one of what there is now, be it under way.

    Raises:
        ConfigError: its sweep.yaml is missing or damaged, or a symbolic link is in it.
    """
    refuse_links(sweep.path)
    snapshot = take(sweep)
    contents = Contents(snapshot)
    sections = contents.sections()
    figures = [(section, draw(section, contents)) for section in sections]
    write_whole(sweep.report_file, page(snapshot, figures))
    pictures = write_pictures(sections, contents, sweep.report_folder)
    return Report(sweep.report_file, pictures)
