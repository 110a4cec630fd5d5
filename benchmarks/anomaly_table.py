"""Tables of what `benchmarks anomaly` measured, as Markdown."""

import numpy as np

from benchmarks.anomaly_data import PICTURES, SERIES

_MEASURES = ("roc_auc", "average_precision")


def table(measured: list[dict]) -> str:
    """For each setting and set the mean ROC AUC, average precision and median CPU seconds of a fit, of each detector."""
    parts = []
    for learnt_from in dict.fromkeys(row["learnt_from"] for row in measured):
        of = [row for row in measured if row["learnt_from"] == learnt_from]
        detectors = list(dict.fromkeys(row["detector"] for row in of))
        by_set = {name: {detector: [row for row in of if (group_of(row["set"]), row["detector"]) == (name, detector)]
                         for detector in detectors} for name in dict.fromkeys(group_of(row["set"]) for row in of)}
        tabular = [name for name in by_set if name not in (SERIES, PICTURES)]
        parts += [f"**Learnt from {learnt_from} samples**", "",
                  "| set | " + " | ".join(f"{name}: ROC AUC, AP, CPU s a fit" for name in detectors) + " |",
                  "|---|" + "---|" * len(detectors)]
        for name, found in by_set.items():
            best = max(mean(found[detector], "roc_auc") or 0.0 for detector in detectors)
            parts.append(_line(name, [_cell(found[detector], best) for detector in detectors]))
        for text, names in ((f"mean of {len(tabular)} tabular sets", tabular), (f"mean of all {len(by_set)}", list(by_set))):
            if not names:
                continue
            parts.append(_line(text, [_means([by_set[name][detector] for name in names]) for detector in detectors]))
        parts.append("")
    return "\n".join(parts)


def group_of(name: str) -> str:
    """The classes of pictures are one set."""
    return PICTURES if name.startswith(PICTURES) else name


def mean(found: list[dict], measure: str) -> float | None:
    """None where nothing was measured."""
    good = [row[measure] for row in found if row[measure] is not None]
    return float(np.mean(good)) if good else None


def _cell(found: list[dict], best: float) -> str:
    """The mean over seeds, with half of the range over them, where the seeds differ; of pictures over classes first."""
    good = [row for row in found if row["roc_auc"] is not None]
    if not good:
        return "cannot" if found else ""
    of_seeds = [mean([row for row in good if row["seed"] == seed], "roc_auc") for seed in {row["seed"] for row in good}]
    auc, apart = np.mean(of_seeds), (max(of_seeds) - min(of_seeds)) / 2
    said = f"{auc:.3f}" + f" ± {apart:.3f}" * (apart >= 0.0005)
    said = f"**{said}**" if round(auc, 3) == round(best, 3) else said
    return (f"{said}, {mean(good, 'average_precision'):.3f}, {np.median([row['fit_cpu_seconds'] for row in good]):.2f}"
            + " (not all)" * (len(good) < len(found)))


def _means(of_sets: list[list[dict]]) -> str:
    """Over sets, those that a detector could do."""
    good = [found for found in of_sets if mean(found, "roc_auc") is not None]
    if not good:
        return ""
    auc, precision = (np.mean([mean(found, measure) for found in good]) for measure in _MEASURES)
    seconds = np.mean([np.median([row["fit_cpu_seconds"] for row in found if row["roc_auc"] is not None]) for found in good])
    return f"{auc:.3f}, {precision:.3f}, {seconds:.2f}" + f" (of {len(good)})" * (len(good) < len(of_sets))


def _line(name: str, cells: list[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"
