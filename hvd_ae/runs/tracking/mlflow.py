"""`--track mlflow`: a run in MLflow, in a database of the run folder or wherever `MLFLOW_TRACKING_URI` says."""

import importlib.util
import json
import time
from collections.abc import Sequence

from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.tracking.tracker import Tracker, missing_library, numbers_of

_EXPERIMENT = "hvd_ae"  # where MLFLOW_EXPERIMENT_NAME names no other
_FILES = ("config.toml", "report.html", "loss.png", "reconstructions.png", "latent.png")
_AT_ONCE = 20  # records; MLflow takes at most a thousand numbers in a call


class Mlflow(Tracker):
    """Each number of an epoch's record over steps, the settings as parameters, and small files of the end as artifacts.

    `mlflow.json` keeps the tracked run's id by the place where it is tracked, so that a run that goes on, or is sent again,
    goes on there too and nothing comes twice.
    """

    tool = "mlflow"

    def check(self) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise missing_library(self.tool, "mlflow", "mlflow")

    def begin(self, settings: dict, records: Sequence[dict]) -> None:
        from mlflow import MlflowClient  # takes seconds, in which the training goes on
        from mlflow.environment_variables import MLFLOW_TRACKING_URI

        path = self.folder.path.resolve()
        uri = MLFLOW_TRACKING_URI.get() or f"sqlite:///{path / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)
        known = self._known_runs()
        if uri in known:
            self._run = known[uri]
            self._client.update_run(self._run, status="RUNNING")
            told = {metric.step for metric in self._client.get_metric_history(self._run, "train_loss")}
        else:
            self._run, told = self._new_run(settings, None if MLFLOW_TRACKING_URI.get() else path / "mlflow-files"), set()
            write_atomically(path / "mlflow.json", json.dumps({**known, uri: self._run}, indent=2) + "\n")
        self._told = told
        missing = [record for record in records if record["step"] not in told]
        for first in range(0, len(missing), _AT_ONCE):
            self._send(missing[first : first + _AT_ONCE])

    def add(self, record: dict) -> None:
        if record["step"] not in self._told:  # else trained anew since the last checkpoint, to the same numbers
            self._send([record])

    def finish(self, summary: dict | None) -> None:
        for name in _FILES if summary else ():
            if (self.folder.path / name).exists():
                self._client.log_artifact(self._run, str(self.folder.path / name))
        if summary:
            for name in ("weights_checksum", "ranks", "collectives"):
                self._client.set_tag(self._run, name, summary.get(name))
        self._client.set_terminated(self._run, "FINISHED" if summary else "KILLED")

    def _known_runs(self) -> dict[str, str]:
        try:
            return json.loads((self.folder.path / "mlflow.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _new_run(self, settings: dict, files) -> str:
        from mlflow.entities import Param
        from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME

        name = MLFLOW_EXPERIMENT_NAME.get() or _EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        experiment = experiment.experiment_id if experiment else self._client.create_experiment(
            name, artifact_location=files and files.as_uri())
        run = self._client.create_run(experiment, run_name=self.folder.path.name).info.run_id
        self._client.log_batch(run, params=[Param(name, str(value)) for name, value in settings.items() if value is not None])
        return run

    def _send(self, records: Sequence[dict]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._run, metrics=[Metric(name, number, now, record["step"]) for record in records
                                                   for name, number in numbers_of(record).items()])
        self._told |= {record["step"] for record in records}
