"""A line of what was found: its level, what was seen, and what to do about it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Finding:
    """One check's outcome."""

    level: str  # ok, warning or fault
    check: str
    seen: str
    remedy: str = ""

    def line(self) -> str:
        return f"{self.level:<8} {self.check:<12} {self.seen}{': ' + self.remedy if self.remedy else ''}"


def ok(check: str, seen: str) -> Finding:
    return Finding("ok", check, seen)


def warning(check: str, seen: str, remedy: str) -> Finding:
    return Finding("warning", check, seen, remedy)


def fault(check: str, seen: str, remedy: str) -> Finding:
    return Finding("fault", check, seen, remedy)


def of_the_worst_rank(findings: list[Finding]) -> Finding:
    """Of one finding a rank, the worst, which names its ranks where others fare better."""
    level = worst(findings)
    first = next(finding for finding in findings if finding.level == level)
    odd = [str(rank) for rank, finding in enumerate(findings) if finding.level == level]
    if len(odd) == len(findings):
        return first
    named = f"rank{'s' * (len(odd) > 1)} {', '.join(odd[:8])}{', ...' * (len(odd) > 8)}"
    return replace(first, seen=f"{named}: {first.seen}")


def worst(findings: list[Finding]) -> str:
    return max((finding.level for finding in findings), key=["ok", "warning", "fault"].index, default="ok")
