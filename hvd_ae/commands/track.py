"""`hvd-ae track`: a run that was trained without a tracker, or without a network, told to one afterwards."""

from hvd_ae.errors import Refused
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runs.tracking import make_tracker
from hvd_ae.settings.commands import TrackSettings


def track(settings: TrackSettings) -> None:
    """Send all epochs of a run folder that the tracker has not got; one process does it.

    Raises:
        Refused: there is no such run, or the tracker cannot be reached.
    """
    folder = RunFolder(settings.run)
    config, records = folder.read_config(), folder.read_metrics()
    tracker = make_tracker(settings.to, folder, "to")
    try:
        tracker.begin(config, records)
        tracker.finish(folder.read_summary())
    except Exception as error:  # of any library
        said = " ".join(str(error).split()) or type(error).__name__
        raise Refused(f"to={settings.to!r} did not take the run ({said}): mend that, and send it again") from None
    print(f"{len(records)} epochs of {settings.run} are tracked by {settings.to}", flush=True)
