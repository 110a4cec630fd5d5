"""Built-in networks: outputs of the samples' own shape, for any size; encoder and decoder are the model's two halves."""

import keras
import numpy as np
import pytest

from hvd_ae.data.source import SAMPLES, Field
from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import OUTPUT, Wanted, find_decoder, find_encoder
from hvd_ae.models.build import build, build_model
from hvd_ae.models.network import Condition
from hvd_ae.settings.train import TrainSettings

RANDOM = np.random.default_rng(2)


def built(shape, wanted=None, **given):
    settings = TrainSettings(widths="3,4", code=2, **given).resolved()
    spec = {SAMPLES: Field(shape, np.dtype(np.float32))}
    return build(settings, spec, SAMPLES, wanted or Wanted(shape, {OUTPUT: "linear"}))


@pytest.mark.parametrize("shape, given", [
    ((21,), {}), ((13, 2), {"group_norm": True}), ((6, 12), {"dimensions": 1}), ((9, 7), {"batch_norm": True}),
    ((10, 11, 3), {"dropout": 0.1}), ((5, 6, 7), {}), ((4, 5, 6, 2), {}), ((1, 5), {"dimensions": 2})])
def test_convolutions_give_back_any_size(shape, given):
    model = built(shape, model="conv", **given)
    samples = RANDOM.random((3, *shape), np.float32)
    assert model(samples).shape == (3, *shape)
    assert find_encoder(model)(samples).shape == (3, 2)
    expected = given.get("dimensions", len(shape) - (shape in ((13, 2), (10, 11, 3), (4, 5, 6, 2))))
    assert any(f"Conv{expected}D" == type(layer).__name__ for layer in model.layers)


def test_a_shape_that_cannot_be_convolved_is_refused():
    with pytest.raises(Refused, match=r"samples have the shape \(5, 6, 7\), and dimensions=1"):
        built((5, 6, 7), model="conv", dimensions=1)


@pytest.mark.parametrize("given", [{"model": "dense", "batch_norm": True}, {"model": "conv"}])
@pytest.mark.parametrize("condition, values", [(None, None), (Condition((3,)), RANDOM.random((4, 3), np.float32)),
                                               (Condition((), 5), np.array([0, 4, 2, 2], np.int32))])
def test_encoder_and_decoder_are_the_halves_of_the_model(given, condition, values, tmp_path):
    wanted = Wanted((6, 5), {OUTPUT: "sigmoid"}, condition)
    model = built((6, 5), wanted, **given)
    samples = RANDOM.random((4, 6, 5), np.float32)
    inputs = samples if condition is None else {"sample": samples, "condition": values}
    parts = []
    for name, part in (("encoder", find_encoder(model)), ("decoder", find_decoder(model)), ("model", model)):
        part.save(tmp_path / f"{name}.keras")
        parts.append(keras.saving.load_model(tmp_path / f"{name}.keras", compile=False))
    encoder, decoder, whole = parts
    codes = encoder(inputs).numpy()
    halves = decoder(codes if condition is None else {"code": codes, "condition": values})
    np.testing.assert_allclose(halves, whole(inputs), atol=1e-6)
    np.testing.assert_allclose(whole(inputs), model(inputs), atol=1e-6)
    if condition is not None:  # and both halves use it
        other = np.roll(values, 1, axis=0)
        assert np.abs(encoder({"sample": samples, "condition": other}) - codes).max() > 1e-4
        assert np.abs(decoder({"code": codes, "condition": other}) - halves).max() > 1e-4


def pair(sample_shape, spec):
    """A user's own encoder and decoder, made of what the data are said to be."""
    assert spec[SAMPLES].shape == sample_shape
    encoder = keras.Sequential([keras.Input(sample_shape), keras.layers.Dense(3)], name="mine")
    decoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8)], name="mine_too")
    return encoder, decoder


def around_the_code(sample_shape):
    given = keras.Input(sample_shape)
    return keras.Model(given, keras.layers.Dense(8)(keras.layers.Concatenate()([keras.layers.Dense(2)(given), given])))


def test_users_parts_are_used_as_they_are():
    model = build_model("tests.unit.test_networks:pair", (8,), "linear", seed=1)
    samples = RANDOM.random((4, 8), np.float32)
    np.testing.assert_allclose(find_decoder(model)(find_encoder(model)(samples)), model(samples), atol=1e-6)
    assert find_decoder(build_model("tests.unit.test_networks:around_the_code", (8,), "linear", seed=1)) is None


def test_codes_that_are_drawn_need_an_encoder_of_two_outputs():
    for path, sentence in (("pair", "its encoder gives 1 outputs, where [mean, log-variance] is needed"),
                           ("around_the_code", "returned one model, and codes that are drawn need two")):
        with pytest.raises(Refused) as refusal:
            settings = TrainSettings(model=f"tests.unit.test_networks:{path}").resolved()
            build(settings, {SAMPLES: Field((8,), np.dtype(np.float32))}, SAMPLES,
                  Wanted((8,), {OUTPUT: "linear"}, is_gaussian=True))
        assert sentence in str(refusal.value)
