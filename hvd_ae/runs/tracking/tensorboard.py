"""`--track tensorboard`: events in `tensorboard/` of the run folder, written by TensorFlow itself.

TensorFlow 2's `tf.summary` refuses to write without the package `tensorboard`; its older writer of the same files does not,
and it alone can say that a run goes on from a step, so that TensorBoard forgets what was written of later ones.
"""

from collections.abc import Sequence

import tensorflow as tf

from hvd_ae.runs.tracking.tracker import Tracker, numbers_of

_Value = tf.compat.v1.Summary.Value
_PICTURES = ("reconstructions", "latent")


class TensorBoard(Tracker):
    """Each number of an epoch's record over steps, the settings as text, and the pictures of the end."""

    tool = "tensorboard"

    def begin(self, settings: dict, records: Sequence[dict]) -> None:
        path = self.folder.path / "tensorboard"
        goes_on = any(path.glob("*tfevents*"))
        with tf.Graph().as_default():  # where TensorFlow executes eagerly the writer is refused
            self._writer = tf.compat.v1.summary.FileWriter(str(path))
        if goes_on:  # TensorBoard forgets what was written of these steps and of later ones
            again = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
            self._writer.add_session_log(again, records[0]["step"] if records else 0)
        self._step = 0
        lines = ["| setting | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in settings.items())]
        self._write(_text("settings", "\n".join(lines)), step=0)
        for record in records:
            self.add(record)

    def add(self, record: dict) -> None:
        self._step = record["step"]
        self._write(*(_Value(tag=name, simple_value=number) for name, number in numbers_of(record).items()))

    def finish(self, summary: dict | None) -> None:
        for name in _PICTURES if summary else ():
            path = self.folder.path / f"{name}.png"
            if path.exists():
                self._write(_Value(tag=name, image=tf.compat.v1.Summary.Image(encoded_image_string=path.read_bytes())))
        self._writer.close()

    def _write(self, *values, step: int | None = None) -> None:
        self._writer.add_summary(tf.compat.v1.Summary(value=values), self._step if step is None else step)
        self._writer.flush()


def _text(tag: str, markdown: str):
    """As TensorBoard's page of texts shows it."""
    kind = tf.compat.v1.SummaryMetadata(plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="text"))
    return _Value(tag=f"{tag}/text_summary", metadata=kind, tensor=tf.make_tensor_proto(markdown, dtype=tf.string))
