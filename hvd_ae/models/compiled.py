"""What `compile()` has given a Keras model, as training on ranks needs it: used, or refused by name."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.models.layerwise import LayerByLayer
from hvd_ae.models.on_layers import Lamb
from hvd_ae.models.optimizers import ELEMENT_WISE

OfSamples = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # from (targets, outputs) to a number a sample

# what Keras's optimizers that can be given one vector are here
_KINDS = {kind: kind for kind, _ in ELEMENT_WISE.values()} | {keras.optimizers.Lamb: Lamb}
# of an optimizer: what is to be asked of the training instead
_ASKED_ELSEWHERE = {"gradient_accumulation_steps": "accumulate", "loss_scale_factor": "precision='bfloat16'",
                    "ema_overwrite_frequency": "ema"}


def loss_of(model: keras.Model) -> OfSamples:
    """The compiled loss times its weight, one number a sample, which Keras would take the mean of.

    Raises:
        Refused: no loss, several, or one that is no mean over samples.
    """
    given = _only(model.loss, "loss")
    if given is None:
        raise Refused(f"model {model.name!r} is compiled without a loss: give compile() one")
    weight = _only(model._compile_loss._user_loss_weights, "loss_weights")
    try:
        loss = keras.losses.get(given)
    except ValueError:
        raise Refused(f"loss={given!r} of model {model.name!r} is not known by that name: give compile() for instance "
                      "'mse', or 'sparse_categorical_crossentropy'") from None
    if isinstance(loss, keras.losses.Loss) and loss.reduction not in ("sum_over_batch_size", "mean"):
        raise Refused(f"the loss of model {model.name!r} has reduction={loss.reduction!r}, and is a mean over samples here: "
                      "leave the reduction as it is by default")
    function = loss.call if isinstance(loss, keras.losses.Loss) else _of_same_rank(loss)
    return _mean_of_sample(function, 1.0 if weight is None else float(weight))


def metrics_of(model: keras.Model, target_shape: tuple[int, ...], weighted: bool) -> dict[str, OfSamples]:
    """The compiled metrics by name, one number a sample each.

    Args:
        target_shape: of one sample's targets.
        weighted: whether samples have weights, which Keras divides `weighted_metrics` by.

    Raises:
        Refused: a metric that is no mean over samples, such as the area under a curve.
    """
    compiled = model._compile_metrics
    if compiled is None:
        return {}
    if weighted and compiled._user_weighted_metrics:
        raise Refused(f"model {model.name!r} is compiled with weighted_metrics, which are divided by the sum of the weights "
                      "and not by the number of samples: use metrics, or leave sample_weight out")
    found = {}
    for given in (*_list_of(compiled._user_metrics), *_list_of(compiled._user_weighted_metrics)):
        name, function = _metric(given, tuple(model.outputs[0].shape)[1:], target_shape)
        found[f"val_{name}"] = _mean_of_sample(function)
    return found


def check_comparing(model: keras.Model, target_shape: tuple[int, ...], functions: Iterable[OfSamples]) -> None:
    """Try losses and metrics on two samples of zeros.

    Raises:
        Refused: one that cannot compare such targets with what the model gives, or that gives one number for both.
    """
    shape = tuple(model.outputs[0].shape)[1:]
    for function in functions:
        try:
            function(tf.zeros([2, *target_shape]), tf.zeros([2, *(size or 1 for size in shape)]))
        except Refused:
            raise
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Refused(f"what model {model.name!r} is compiled with cannot compare targets of shape {target_shape} with "
                          f"outputs of shape {shape} ({why}): give y another shape, or compile() another loss") from None


def optimizer_of(model: keras.Model) -> tuple[object, Callable[[object], keras.optimizers.Optimizer | LayerByLayer]]:
    """The compiled optimizer's learning rate, a number or a Keras schedule; and what makes an optimizer like it of another.

    Raises:
        Refused: it is told something that is asked of the training here.
    """
    given = model.optimizer
    config = given.get_config()
    for name, instead in _ASKED_ELSEWHERE.items():
        if config.get(name) is not None and not (name == "ema_overwrite_frequency" and not config.get("use_ema")):
            raise Refused(f"the optimizer of model {model.name!r} has {name}={config[name]}: leave it out, and use {instead} "
                          "in fit")
    if "inner_optimizer" in config:
        raise Refused(f"the optimizer of model {model.name!r} is a {type(given).__name__}: give compile() the inner one")
    if getattr(given, "_exclude_from_weight_decay", None) or getattr(given, "_exclude_from_weight_decay_pattern", None):
        raise Refused(f"the optimizer of model {model.name!r} leaves variables out of weight decay by name: use hvd_ae.train "
                      "with optimizer_settings='decay_vectors=false'")
    rate = given._learning_rate
    is_plain = type(given) in _KINDS and not (config.get("clipnorm") or config.get("global_clipnorm"))

    def make(rate) -> keras.optimizers.Optimizer | LayerByLayer:
        kind = _KINDS[type(given)] if is_plain else type(given)
        made = kind.from_config({**config, "use_ema": False, "learning_rate": rate})
        return made if is_plain else LayerByLayer(made)

    return (rate if callable(rate) and not isinstance(rate, keras.Variable) else float(np.asarray(rate))), make


def ema_of(model: keras.Model) -> float | None:
    """The decay of the moving average that the compiled optimizer keeps."""
    return model.optimizer.ema_momentum if model.optimizer.use_ema else None


def check_compiled(model: keras.Model) -> None:
    """Refuse a model that cannot be trained as it is compiled.

    Raises:
        Refused: it is not compiled, not built, runs eagerly, or has several inputs or outputs.
    """
    name = f"model {model.name!r}"
    if not model.compiled:
        raise Refused(f"{name} is not compiled: call compile(optimizer, loss) first, or use hvd_ae.train")
    if model.run_eagerly:
        raise Refused(f"{name} is compiled with run_eagerly=True, and is traced here: leave it out")
    if not model.built or not getattr(model, "inputs", None):
        raise Refused(f"{name} is not built of layers that follow from an Input: give it a keras.Input")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise Refused(f"{name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: fit takes one of each; write "
                      "a Task of your own, and use hvd_ae.train")
    if getattr(model.outputs[0], "_keras_mask", None) is not None:
        raise Refused(f"{name} hides parts of its outputs by a mask, which its loss would leave out in Keras: write a Task of "
                      "your own, and use hvd_ae.train")


def _metric(given, output_shape: tuple[int, ...], target_shape: tuple[int, ...]) -> tuple[str, Callable]:
    if isinstance(given, str) and given.lower() in ("accuracy", "acc"):
        if output_shape[-1] == 1:
            return given, keras.metrics.binary_accuracy
        is_sparse = len(target_shape) < len(output_shape) or target_shape[-1] == 1
        return given, keras.metrics.sparse_categorical_accuracy if is_sparse else keras.metrics.categorical_accuracy
    try:
        metric = keras.metrics.get(given)
    except ValueError:
        raise Refused(f"metric {given!r} is not known to Keras: give its class or function") from None
    if isinstance(metric, keras.metrics.MeanMetricWrapper):
        name = given if isinstance(given, str) else metric.name
        return name, lambda targets, outputs: metric._fn(targets, outputs, **metric._fn_kwargs)
    if isinstance(metric, keras.metrics.Metric):
        raise Refused(f"metric {metric.name!r} ({type(metric).__name__}) is no mean over samples, which all ranks could add "
                      "up: leave it out of compile(), and evaluate it with the trained model")
    return given if isinstance(given, str) else metric.__name__, _of_same_rank(metric)


def _mean_of_sample(function: Callable, weight: float = 1.0) -> OfSamples:
    def of_samples(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        values = tf.cast(function(targets, tf.cast(outputs, tf.float32)), tf.float32)
        if not values.shape.rank:
            raise Refused("a compiled loss or metric gives one number for a whole batch: let it give one for each sample")
        return weight * tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)

    return of_samples


def _of_same_rank(function: Callable) -> Callable:
    """Called as Keras calls a plain function: a last axis of 1 that only one of both has is no difference."""

    def called(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        if targets.shape.rank == outputs.shape.rank - 1 and outputs.shape[-1] == 1:
            targets = targets[..., tf.newaxis]
        return function(targets, outputs)

    return called


def _only(given, name: str):
    """What a list or dict of one holds."""
    values = list(given.values()) if isinstance(given, dict) else list(given) if isinstance(given, (list, tuple)) else [given]
    if len(values) != 1:
        raise Refused(f"compile() was given {len(values)} of {name}, and there is one output: give one")
    return values[0]


def _list_of(given) -> list:
    if given is None:
        return []
    values = list(given.values()) if isinstance(given, dict) else list(given) if isinstance(given, (list, tuple)) else [given]
    return [each for value in values for each in (_list_of(value) if isinstance(value, (list, tuple, dict)) else [value])
            if each is not None]
