"""Any Keras model as a function of one vector: the same numbers as Keras, layer by layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import find_encoder
from hvd_ae.models.build import build_model
from hvd_ae.models.flat import FlatModel, Layout
from hvd_ae.models.learner import Batch, Learner
from hvd_ae.models.optimizers import make_optimizer
from hvd_ae.tasks.losses import LOSSES
from tests.parallel.on_ranks.models import normalised

INPUTS = tf.constant(np.random.default_rng(0).uniform(size=(6, 4, 5)).astype(np.float32))


def test_layout_splits_and_joins():
    layout = Layout([(2, 3), (), (4,)])
    vector = tf.range(11, dtype=tf.float32)
    pieces = layout.split(vector)
    assert [tuple(piece.shape) for piece in pieces] == [(2, 3), (), (4,)]
    np.testing.assert_array_equal(pieces[0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(layout.join(pieces), vector)


@pytest.mark.parametrize(("count", "buckets"), [
    (1, [(0, 4)]), (2, [(0, 2), (2, 4)]), (3, [(0, 1), (1, 3), (3, 4)]), (4, [(0, 1), (1, 2), (2, 3), (3, 4)]), (99, 4)])
def test_buckets_are_runs_of_arrays_about_equal_in_numbers(count, buckets):
    found = [(arrays.start, arrays.stop) for arrays in Layout([(10, 5), (40,), (30,), (60,)]).buckets(count)]
    assert found == buckets if isinstance(buckets, list) else len(found) == buckets


def test_a_gradient_in_buckets_is_the_gradient():
    learner = Learner(FlatModel(build_model("stacked", (4, 5), "sigmoid", seed=1), LOSSES["mse"]), make_optimizer("sgd", 0.1),
                      rank=0)
    whole, _ = learner.gradient(a_batch(6), divisor=tf.constant(6))
    buckets, _ = learner.gradient_in_buckets(a_batch(6), tf.constant(6), 3)
    assert len(buckets) == 3
    np.testing.assert_array_equal(np.concatenate(buckets), whole)
    nothing, _ = learner.gradient_in_buckets(a_batch(0), tf.constant(6), 3)
    assert [bucket.shape for bucket in nothing] == [bucket.shape for bucket in buckets]
    assert not np.any(np.concatenate(nothing))


def test_a_later_bucket_is_there_before_work_on_an_earlier_one_begins():
    flat, buckets = FlatModel(build_model("deep", (4, 5), "sigmoid", seed=1), LOSSES["mse"]), []
    parameters, buffers, counters = flat.read()

    @tf.function
    def gradient():
        buckets.extend(flat.value_and_grad(tf.constant(parameters), tf.constant(buffers), counters, INPUTS, INPUTS,
                                           tf.constant(6), buckets=3).gradient)

    gradient.get_concrete_function()
    first, second, third = (bucket.op for bucket in buckets)
    for earlier, later in ((first, second), (second, third), (first, third)):
        products = {op for op in before(earlier, by_data) - before(later, by_data) if op.type == "MatMul"}
        assert products and all(later in before(op, lambda op: by_data(op) + op.control_inputs) for op in products)


def by_data(op) -> list:
    return [tensor.op for tensor in op.inputs]


def before(op, directly) -> set:
    """The operation and all before it; `directly` says which come directly before one."""
    found = {op}
    left = [op]
    while left:
        new = set(directly(left.pop())) - found
        found |= new
        left += new
    return found


def flat_gradient(flat, divisor):
    parameters, buffers, counters = flat.read()
    return flat.value_and_grad(tf.constant(parameters), tf.constant(buffers), [tf.constant(c) for c in counters], INPUTS,
                               INPUTS, tf.constant(divisor))


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_gradient_is_that_of_keras(loss):
    model = build_model("shallow", (4, 5), "sigmoid", seed=1)
    with tf.GradientTape() as tape:
        expected = keras.losses.get({"mse": "mse", "bce": "binary_crossentropy"}[loss])(
            tf.reshape(INPUTS, (6, 20)), tf.reshape(model(INPUTS), (6, 20)))
        mean = tf.reduce_mean(expected)
    gradients = tape.gradient(mean, [v.value for v in model.trainable_variables])
    ours = flat_gradient(FlatModel(model, LOSSES[loss]), 6)
    np.testing.assert_allclose(ours.gradient[0], np.concatenate([np.ravel(g) for g in gradients]), atol=1e-6)
    assert float(ours.loss_sum) == pytest.approx(6 * float(mean), rel=1e-5)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_gradient_agrees_with_finite_differences(loss):
    """Along directions near the gradient's own, in which float32 sums of losses still carry enough digits."""
    flat = FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=1), LOSSES[loss])
    parameters, buffers, _ = flat.read()
    gradient = flat_gradient(flat, 1).gradient[0].numpy()

    def loss_sum(vector):
        outputs = flat.outputs(tf.constant(vector.astype(np.float32)), tf.constant(buffers), [], INPUTS)
        return float(tf.reduce_sum(LOSSES[loss](INPUTS, outputs)))

    for seed in range(5):
        direction = 1e-2 * gradient / np.linalg.norm(gradient) + np.random.default_rng(seed).normal(size=len(gradient)) * 2e-3
        slope = (loss_sum(parameters + direction) - loss_sum(parameters - direction)) / 2
        assert slope == pytest.approx(gradient @ direction, abs=2e-5)
        assert slope > 1e-3


@pytest.mark.parametrize("loss, of_keras", [("mse", keras.losses.mean_squared_error),
                                            ("bce", keras.losses.binary_crossentropy)])
@pytest.mark.parametrize("shape", [(20,), (4, 5), (2, 2, 5)])
def test_a_loss_is_that_of_keras_over_all_features_of_each_sample(loss, of_keras, shape):
    random = np.random.default_rng(4)
    targets, outputs = (random.uniform(0.05, 0.95, size=(3, 20)).astype(np.float32) for _ in range(2))
    found = LOSSES[loss](tf.reshape(targets, (3, *shape)), tf.reshape(outputs, (3, *shape)))
    assert found.shape == (3,)
    np.testing.assert_allclose(found, of_keras(targets, outputs), rtol=1e-5)
    assert len(set(found.numpy().tolist())) == 3


def test_the_divisor_divides_the_gradient_but_not_the_sum_of_losses():
    flat = FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=1), LOSSES["mse"])
    one, six = flat_gradient(flat, 1), flat_gradient(flat, 6)
    np.testing.assert_allclose(one.gradient[0], 6 * six.gradient[0], atol=1e-6)
    assert float(one.loss_sum) == float(six.loss_sum)


def a_batch(samples, global_batch=6):
    return Batch(INPUTS[:samples], INPUTS[:samples], tf.constant(samples), tf.constant(global_batch))


def test_a_rank_without_samples_gives_zeros_and_leaves_its_statistics_and_seeds_alone():
    learner = Learner(FlatModel(normalised((4, 5)), LOSSES["mse"]), make_optimizer("adam", 0.1), rank=1)
    before = {name: vector.numpy() for name, (vector, *_) in learner.state.items()}
    gradient, loss_sum = learner.gradient(a_batch(0), divisor=tf.constant(6))
    assert not np.any(gradient) and float(loss_sum) == 0.0
    for name, (vector, *_) in learner.state.items():
        np.testing.assert_array_equal(vector, before[name], err_msg=name)
    assert learner.samples_since_sync.numpy().tolist() == [0, 6]
    learner.gradient(a_batch(6), divisor=tf.constant(6))
    assert learner.samples_since_sync.numpy().tolist() == [6, 12]
    changed = {name for name, (vector, *_) in learner.state.items() if not np.array_equal(vector, before[name])}
    assert changed == {"buffers", "seed_0"}


def test_ranks_have_seeds_of_their_own_where_the_models_seed_is_the_same():
    seeds = set()
    for rank in range(3):
        keras.utils.set_random_seed(0)
        learner = Learner(FlatModel(normalised((4, 5)), LOSSES["mse"]), make_optimizer("sgd", 0.1), rank)
        seeds.add(tuple(learner.state["seed_0"].variable.numpy().tolist()))
    assert len(seeds) == 3


def test_an_optimizer_of_a_part_updates_that_part_only():
    flat = FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=1), LOSSES["mse"])
    learner = Learner(flat, make_optimizer("momentum", 0.5), rank=0, part=(10, 4))
    assert [state.shape for state in learner.optimizer_state] == [(4,)]
    before = learner.trained.value.numpy()
    np.testing.assert_array_equal(before, learner.vector.numpy()[10:14])
    learner.update(tf.constant([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(learner.trained.value, before - 0.5 * np.array([1, 2, 3, 4]), atol=1e-6)


def test_parts_of_a_batch_add_up_to_the_whole_with_the_penalty_of_a_layer():
    """With the samples of all as divisor, as ranks use it; dropout apart, whose masks differ."""
    penalised = keras.layers.Dense(20, kernel_regularizer=keras.regularizers.L2(0.1))
    model = keras.Sequential([keras.Input((4, 5)), keras.layers.Flatten(), penalised, keras.layers.Reshape((4, 5))])
    flat = FlatModel(model, LOSSES["mse"])
    parameters, buffers, _ = flat.read()

    def part(samples):
        inputs = INPUTS[samples]
        found = flat.value_and_grad(tf.constant(parameters), tf.constant(buffers), [], inputs, inputs, tf.constant(6))
        return found.gradient[0]

    np.testing.assert_allclose(part(slice(0, 2)) + part(slice(2, 6)), part(slice(0, 6)), atol=1e-6)


def test_buffers_and_counters_are_told_apart():
    model = normalised((4, 5))
    flat = FlatModel(model, LOSSES["mse"])
    parameters, buffers, counters = flat.read()
    assert parameters.shape == (20 * 16 + 16 + 16 + 16 + 16 * 20 + 20,)
    np.testing.assert_array_equal(buffers, [0.0] * 16 + [1.0] * 16)  # moving mean and variance
    assert len(counters) == 1 and counters[0].dtype.kind in "iu"  # dropout's seed
    after = flat_gradient(flat, 6)
    assert not np.array_equal(after.counters[0], counters[0])
    model(INPUTS, training=True)
    np.testing.assert_allclose(after.buffers, np.concatenate([
        np.ravel(v) for v in model.non_trainable_variables if v.dtype == "float32"]), atol=1e-6)


def test_written_vectors_are_read_again():
    flat = FlatModel(normalised((4, 5)), LOSSES["mse"])
    random = np.random.default_rng(3)
    parameters, buffers = (random.normal(size=len(v)).astype(np.float32) for v in flat.read()[:2])
    flat.write(parameters, buffers)
    again = flat.read()
    np.testing.assert_array_equal(again[0], parameters)
    np.testing.assert_array_equal(again[1], buffers)


def test_parameters_that_are_not_float32_are_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, dtype="float64")])
    with pytest.raises(Refused, match="not float32"):
        FlatModel(model, LOSSES["mse"])


@pytest.mark.parametrize("name, widths", [("shallow", [784, 32, 784]), ("stacked", [784, 392, 196, 392, 784]),
                                          ("deep", [784, 512, 256, 128, 64, 32, 64, 128, 256, 512, 784])])
def test_built_in_models_have_the_documented_widths(name, widths):
    model = build_model(name, (28, 28), "sigmoid", seed=0)
    assert model.count_params() == sum(a * b + b for a, b in zip(widths[:-1], widths[1:]))
    assert find_encoder(model).output.shape == (None, min(widths))


def test_the_same_seed_gives_the_same_model():
    one, other = (FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=s), LOSSES["mse"]).read()[0] for s in (7, 7))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=8), LOSSES["mse"]).read()[0])


@pytest.mark.parametrize("name, sentence", [
    ("giant", "model='giant' is not known: use shallow, stacked, deep, dense"),
    ("no_such_module:build", "there is no module 'no_such_module'"),
    ("tests.parallel.on_ranks.models:absent", "has no function 'absent'"),
    ("tests.unit.test_models:too_wide", "turns samples of shape (4, 5) into (7,)"),
    ("tests.unit.test_models:no_model", "returned int: it must return a keras.Model"),
])
def test_models_that_cannot_be_are_refused(name, sentence):
    with pytest.raises(Refused) as refusal:
        build_model(name, (4, 5), "sigmoid", seed=0)
    assert sentence in str(refusal.value)


def too_wide(sample_shape):
    return keras.Sequential([keras.Input(sample_shape), keras.layers.Flatten(), keras.layers.Dense(7)])


def no_model(sample_shape):
    return 7


def test_bfloat16_is_for_layers_only():
    """Parameters, gradients and outputs are float32; the gradient is that of float32 but for rounding to 8 bits."""
    models = {precision: FlatModel(build_model("stacked", (4, 5), "sigmoid", seed=1, precision=precision), LOSSES["mse"])
              for precision in ("float32", "bfloat16")}
    whole, half = models["float32"], models["bfloat16"]
    assert {layer.compute_dtype for layer in half.keras_model.layers if layer.weights} == {"bfloat16"}
    assert keras.config.dtype_policy().name == "float32"
    np.testing.assert_array_equal(half.read()[0], whole.read()[0])
    gradients = {name: flat_gradient(model, 6).gradient[0].numpy() for name, model in models.items()}
    assert gradients["bfloat16"].dtype == np.float32
    apart = np.linalg.norm(gradients["bfloat16"] - gradients["float32"]) / np.linalg.norm(gradients["float32"])
    assert 1e-4 < apart < 0.05
