"""What can go wrong, by exit status: the command line turns each of these into one sentence."""


RANK_LOST = 76  # the exit status of a job that ended because a rank gave no answer any more


class Refused(ValueError):
    """The user's input was refused: the message names the value, the rule and the way out. Exit status 2."""

    exit_status = 2
    raised_on_all_ranks = False  # whether every rank raises the same: then all end in good order, and only the root says why


class OutOfSync(RuntimeError):
    """Ranks that should hold the same bytes do not; the message names them. Exit status 3."""

    exit_status = 3
    raised_on_all_ranks = True


class Stopped(RuntimeError):
    """A signal asked for it, and all ranks stopped at a step with a checkpoint to go on from. Exit status 75."""

    exit_status = 75
    raised_on_all_ranks = True


class NotWritten(RuntimeError):
    """A file or a checkpoint could not be written; what was there before is as it was. Exit status 1."""

    exit_status = 1
    raised_on_all_ranks = True


def ranks_are_together(error: BaseException | None) -> bool:
    """Whether a context is left on every rank alike, so that what ends with it may be collective: one alone would wait.

    Args:
        error: what the context is left with; None where it came to its end.
    """
    return error is None or getattr(error, "raised_on_all_ranks", False)
