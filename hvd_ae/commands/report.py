"""`hvd-ae report`: the page of a run made anew, or several runs on one page."""

import webbrowser
from pathlib import Path

from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.markdown import markdown_table
from hvd_ae.runs.page import comparison
from hvd_ae.runs.page.page import compare_page, write_page
from hvd_ae.runs.page.read import read_run
from hvd_ae.settings.commands import ReportSettings


def report(settings: ReportSettings) -> None:
    """Write a page, and of several runs a table too; one process does it.

    Raises:
        Refused: one is no run.
        NotWritten: the page is as it was.
    """
    folders = [Path(folder) for folder in settings.runs]
    if len(folders) == 1:
        path = write_page(folders[0], Path(settings.output) if settings.output else None)
    else:
        runs, path = [read_run(folder) for folder in folders], Path(settings.output or "report.html")
        write_atomically(path, compare_page(runs, path.parent))
        print(markdown_table(comparison.HEADER, comparison.rows(runs)))
    print(f"the page is {path}", flush=True)
    if settings.open:
        webbrowser.open(path.resolve().as_uri())
