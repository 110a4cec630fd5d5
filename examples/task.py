"""An objective of one's own: codes that are alike for two corrupted copies of a sample, and unlike for different samples.

    $ mpirun -np 2 python examples/task.py

The contrastive loss of SimCLR (Chen et al. 2020, https://arxiv.org/abs/2002.05709). It compares the samples of a batch with
each other, here of each rank's own batch: so what is learnt depends on the samples a rank, and not on the number of ranks
alone. Any averaging, engine and resume works with it.
"""

import keras
import tensorflow as tf

import hvd_ae
from hvd_ae.data.source import SAMPLES

TEMPERATURE = 0.5


class Contrastive(hvd_ae.Task):
    """The model is given samples and gives the codes of two corrupted copies, (samples, 2, code)."""

    fields = (SAMPLES,)
    metrics = {}

    def build_model(self, spec):
        layers, shape = keras.layers, spec[SAMPLES].shape
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(64, activation="relu"),
                                    layers.Dense(16), layers.UnitNormalization()], name="code")
        sample, corrupt = keras.Input(shape), keras.Sequential([layers.Dropout(0.2), layers.GaussianNoise(0.1)])
        copies = [layers.Reshape((1, 16))(encoder(corrupt(sample))) for _ in range(2)]
        return keras.Model(sample, layers.Concatenate(axis=1)(copies))

    def select(self, example):
        return example[SAMPLES], example[SAMPLES]  # nothing is compared with the second

    @staticmethod
    def loss(targets, outputs):
        """One number a sample: how hard it is to find its other copy among all samples of the batch."""
        alike = tf.matmul(outputs[:, 0], outputs[:, 1], transpose_b=True) / TEMPERATURE
        right = tf.range(tf.shape(alike)[0])
        return tf.nn.sparse_softmax_cross_entropy_with_logits(right, alike)


def main(comm=None, **changes) -> hvd_ae.Result:
    settings = hvd_ae.TrainSettings(**{"data": "digits", "epochs": 3, "learning_rate": 0.01, **changes})
    return hvd_ae.train(settings, comm, task=Contrastive())


if __name__ == "__main__":
    result = main()
    if result.world.is_root:
        print(f"val_loss {result.summary['val_loss']:.3f}")
