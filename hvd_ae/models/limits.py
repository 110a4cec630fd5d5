"""What plain Keras would use of a model in `fit` and what is not used here: refused by name, never passed over."""

import keras

from hvd_ae.errors import Refused

# methods through which a model may train or evaluate itself as it likes
_OF_FIT = ("train_step", "compute_loss", "fit", "make_train_function", "test_step", "evaluate", "compute_metrics",
           "get_metrics_result")
_STORABLE = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def check_honoured(model: keras.Model) -> None:
    """Refuse what a model brings beside its layers, their penalties, constraints and state.

    Raises:
        Refused: naming what it is, and the way out.
    """
    name = f"model {model.name!r}"
    own = [method for method in _OF_FIT if _is_own(model, method)]
    if own:
        raise Refused(f"{name} defines its own {' and '.join(own)}, which would not be called here: put what it adds to the "
                      "loss into a layer that calls add_loss, and leave the method out")
    if model.compiled:
        raise Refused(f"{name} is compiled, but the optimizer, loss, loss_weights, metrics and jit_compile of its compile() "
                      "would not be used here: leave compile() out, or load it with compile=False, and use --optimizer and "
                      "--loss")
    if model.dtype_policy.name == "mixed_float16":
        raise Refused(f"{name} computes in float16, for which Keras would scale its loss: use --precision bfloat16, or build "
                      "it in float32")
    if not model.trainable_variables:
        raise Refused(f"{name} has no parameters that are trained: leave a layer trainable")
    for variable in model.trainable_variables:
        if getattr(variable, "overwrite_with_gradient", False):
            raise Refused(f"{name} has the parameter {variable.path}, whose gradient is to become its value as in float8 "
                          "training, which an optimizer of one vector cannot do: build it without float8")
        if variable.dtype != "float32":
            raise Refused(f"{name} has parameters that are not float32 ({variable.path}): build it in float32")
    for variable in model.non_trainable_variables:
        if variable.dtype not in _STORABLE:
            raise Refused(f"{name} holds {variable.path} in {variable.dtype}, which no .npy file of a checkpoint can hold: "
                          "use float32")


def check_changes_only_itself(model: keras.Model, inputs) -> None:
    """Call a model once, on a sample of zeros as `inputs`, and refuse one that then changes variables which are not its own.

    What is kept apart from the model would not change from step to step here: the metrics of layers, and the state of
    `keras.random` without a seed generator, so that every step would draw the same numbers.

    Raises:
        Refused: naming what it changes, and the way out.
    """
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    with keras.StatelessScope(state_mapping=[(v, v.value) for v in variables], collect_losses=True) as scope:
        model(inputs, training=True)
    foreign = set(scope.state_mapping) - {id(v) for v in variables}
    if not foreign:
        return
    metrics = [metric.name for metric in model.metrics if foreign & {id(v) for v in metric.variables}]
    if metrics:
        raise Refused(f"model {model.name!r} updates the metrics {', '.join(metrics)} when it is called, which would not be "
                      "reported here: leave them out")
    raise Refused(f"model {model.name!r} changes variables that are not its own when it is called, such as the state of "
                  "keras.random without a seed: give the layer that draws a keras.random.SeedGenerator, as an attribute")


def _is_own(model: keras.Model, method: str) -> bool:
    return method in vars(model) or getattr(type(model), method) is not getattr(keras.Model, method)
