"""A training step of one's own, with two networks and two optimizers: an adversarial autoencoder.

    $ mpirun -np 2 python examples/learner.py

Makhzani et al. 2015 (https://arxiv.org/abs/1511.05644): beside the reconstruction a critic learns to tell codes from draws
of a normal distribution, and the encoder learns to deceive it. Both stand in one Keras model, so one vector holds them: it
is averaged, saved and proved to be in sync as any other, and only `update` knows that it has two halves. That the encoder's
gradient is the critic's reversed makes one backward pass of both games (Ganin and Lempitsky 2015,
https://arxiv.org/abs/1409.7495).
"""

import keras
import tensorflow as tf

import hvd_ae
from hvd_ae.models.state import Kind, State

CODE, HIDDEN = 4, 16


@tf.custom_gradient
def reversed_gradient(values):
    return tf.identity(values), lambda upstream: -upstream


@keras.saving.register_keras_serializable("hvd_ae_examples")
class Critic(keras.layers.Layer):
    """Gives codes back as they are; in training its loss at telling them from normal draws is added to the model's."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.logit = keras.layers.Dense(HIDDEN, activation="relu"), keras.layers.Dense(1)
        self.seed_generator = keras.random.SeedGenerator(1)

    def build(self, shape):
        self.hidden.build(shape)
        self.logit.build((None, HIDDEN))

    def call(self, codes, training=False):
        if training:
            drawn = keras.random.normal(keras.ops.shape(codes), seed=self.seed_generator)
            judged = self.logit(self.hidden(keras.ops.concatenate([reversed_gradient(codes), drawn])))
            are_drawn = keras.ops.concatenate([keras.ops.zeros_like(codes[:, :1]), keras.ops.ones_like(codes[:, :1])])
            self.add_loss(keras.ops.mean(keras.losses.binary_crossentropy(are_drawn, judged, from_logits=True)))
        return codes


def build(sample_shape):
    """An autoencoder whose code a critic looks at; the critic's parameters are the last that the model makes."""
    layers, size = keras.layers, sample_shape[0] * sample_shape[1]
    sample = keras.Input(sample_shape)
    code = layers.Dense(CODE)(layers.Dense(64, activation="relu")(layers.Flatten()(sample)))
    critic = Critic(name="code")
    seen = critic(code)
    output = layers.Dense(size, activation="sigmoid")(layers.Dense(64, activation="relu")(seen))
    return keras.Model(sample, layers.Reshape(sample_shape)(output))


class TwoOptimizers(hvd_ae.Learner):
    """Adam of the settings' learning rate for the autoencoder, and a slower one without momentum for the critic."""

    def __init__(self, flat, optimizer, rank, part):
        super().__init__(flat, optimizer, rank, part)
        if part is not None:
            raise hvd_ae.Refused("averaging='sharded' deals out parts of the parameters, of which this learner has two kinds")
        # the critic's numbers in the vector, as 1 among 0
        model = flat.keras_model
        of_critic = {id(variable) for variable in model.get_layer("code").trainable_variables}
        self.is_critic = tf.concat([tf.fill([size], float(id(variable) in of_critic))
                                    for variable, size in zip(model.trainable_variables, flat.layout.sizes)], 0)
        self.second = keras.Variable(self.vector, name="critic")
        self.critics_optimizer = keras.optimizers.RMSprop(0.0005)
        self.critics_optimizer.build([self.second])

    @property
    def optimizer_state(self):
        """What a strategy may average or reset."""
        return [*super().optimizer_state, *(v.value for v in self.critics_optimizer.variables if len(v.shape))]

    @property
    def state(self):
        """What checkpoints keep and the check of ranks compares: the second optimizer's too."""
        second = {f"critic_{v.name}": State(v.value, Kind.OPTIMIZER if len(v.shape) else Kind.COUNT)
                  for v in self.critics_optimizer.variables if v.name != "learning_rate"}
        return {**super().state, **second}

    def update(self, gradient):
        self.second.assign(self.vector)
        super().update(gradient * (1.0 - self.is_critic))
        self.critics_optimizer.apply([gradient * self.is_critic], [self.second])
        self.vector.assign(tf.where(self.is_critic > 0, self.second.value, self.vector))


def main(comm=None, **changes) -> hvd_ae.Result:
    settings = hvd_ae.TrainSettings(**{"data": "digits", "model": "examples.learner:build", "epochs": 3,
                                       "learning_rate": 0.003, **changes})
    with hvd_ae.Session(settings, comm, learner=TwoOptimizers) as session:
        for record in session.run():
            if session.training.comm.world.is_root:
                print(f"epoch {record['epoch']}: val_mse {record['val_mse']:.4f}")
        return session.result


if __name__ == "__main__":
    main()
