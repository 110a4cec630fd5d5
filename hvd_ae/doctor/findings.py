"""A line of what was found: its level, what was seen, and what to do about it."""

from dataclasses import dataclass


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


def worst(findings: list[Finding]) -> str:
    return max((finding.level for finding in findings), key=["ok", "warning", "fault"].index, default="ok")
