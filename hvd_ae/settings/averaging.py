"""The averaging strategies and their settings: a new strategy is declared here, and written in a file of its own.

A setting that means nothing to a strategy is refused there, so that nobody measures a flag without effect.
"""

from dataclasses import dataclass
from typing import Literal

from hvd_ae.settings.fields import own, setting

# Where each strategy is written. The order is that of help texts and comparisons.
STRATEGIES = {
    "gradient": "hvd_ae.averaging.gradient:Gradient",
    "sharded": "hvd_ae.averaging.sharded:Sharded",
    "adasum": "hvd_ae.averaging.adasum:Adasum",
    "parameter": "hvd_ae.averaging.parameter:Parameter",
    "overlapped": "hvd_ae.averaging.overlapped:Overlapped",
    "post-local": "hvd_ae.averaging.post_local:PostLocal",
    "hierarchical": "hvd_ae.averaging.hierarchical:Hierarchical",
    "adaptive": "hvd_ae.averaging.adaptive:Adaptive",
    "one-shot": "hvd_ae.averaging.one_shot:OneShot",
    "elastic": "hvd_ae.averaging.elastic:Elastic",
    "server": "hvd_ae.averaging.server:Server",
    "gossip": "hvd_ae.averaging.gossip:Gossip",
    "sequential": "hvd_ae.averaging.sequential:Sequential",
    "none": "hvd_ae.averaging.none:Independent",
}
# The setting of which a strategy has variants, for `strategy:variant` in a comparison.
VARIANTS = {"gradient": "compression", "parameter": "outer_optimizer", "server": "server", "gossip": "graph"}

OptimizerState = Literal["keep", "average", "reset"]
Compression = Literal["none", "fp16", "bf16"]
OuterOptimizer = Literal["none", "sgd", "nesterov"]
ServerKind = Literal["sync", "async"]
Graph = Literal["ring", "exponential", "complete"]

OUTER_DEFAULTS = {
    "sgd": {"outer_learning_rate": 1.0, "outer_momentum": 0.0},
    "nesterov": {"outer_learning_rate": 0.7, "outer_momentum": 0.9},  # DiLoCo's
}
_WITH_PERIODS = ("parameter", "overlapped", "post-local", "hierarchical", "adaptive", "elastic", "sequential")
_WITH_OUTER_STEP = ("parameter", "post-local", "hierarchical")


@dataclass(frozen=True)
class AveragingSettings:
    """averaging: how ranks are kept together; in brackets the strategies that take a setting, and its default"""

    averaging: str = setting("gradient", f"The strategy: {', '.join(STRATEGIES)}.", same_on_resume=True)
    sync_every: int | None = own(_WITH_PERIODS, 16, "Steps between averages", at_least=1)
    optimizer_state: OptimizerState | None = own(
        ("parameter", "post-local", "hierarchical", "adaptive"), "keep",
        "What an average does to the optimizer's state (momentum and the like)")
    accumulate: int | None = own(("gradient", "sharded"), 1, "Steps whose gradients are added up before they are averaged",
                                 same_on_resume=False, at_least=1)  # fewer ranks may need more
    clip_norm: float | None = own(("gradient", "sharded", "post-local"), None,
                                  "Largest norm of the averaged gradient over all parameters", above=0, example=1.0)
    compression: Compression | None = own(("gradient", "post-local"), "none",
                                          "Bits of a number on the wire: 32, or 16 as fp16 or bf16")
    buckets: int | None = own(("gradient",), 1, "Pieces of the gradient, cut between layers, each averaged while the "
                              "backward pass goes on with the layers before; for slow links and large models", at_least=1)
    outer_optimizer: OuterOptimizer | None = own(_WITH_OUTER_STEP, "none",
                                                 "What turns the step between two averages into an update")
    outer_learning_rate: float | None = own(_WITH_OUTER_STEP, None, "Of the outer optimizer (sgd 1.0, nesterov 0.7)", above=0,
                                            example=0.7)
    outer_momentum: float | None = own(_WITH_OUTER_STEP, None, "Of the outer optimizer (sgd 0.0, nesterov 0.9)", at_least=0)
    local_after: int | None = own(("post-local",), 1, "Epochs of gradients before the first with parameters", at_least=0)
    ranks_per_node: int | None = own(("hierarchical",), None, "Consecutive ranks that count as one node, instead of those "
                                     "that share a machine", at_least=1)
    min_sync_every: int | None = own(("adaptive",), 1, "Shortest period", at_least=1)
    max_sync_every: int | None = own(("adaptive",), 256, "Longest period", at_least=1)
    drift_limit: float | None = own(("adaptive",), 0.05, "Distance from the average, over the parameters' norm, that halves "
                                    "the period", above=0, example=0.05)
    communication_share: float | None = own(("adaptive",), 0.05, "Part of the time in communication that doubles the period",
                                            above=0, example=0.05)
    elastic_rate: float | None = own(("elastic",), 0.9, "Part of its distance from the ranks' mean that the centre moves at "
                                     "each exchange", above=0, example=0.9)
    server: ServerKind | None = own(("server",), "sync", "Whether updates wait for gradients of the same parameters")
    aggregate: int | None = own(("server",), None, "Workers whose gradients make an update, of a synchronous server; later "
                                "ones are dropped, and without it none are", at_least=1)
    ema: float | None = own(("gradient", "sharded", "adasum", "parameter", "post-local", "hierarchical", "adaptive"), None,
                            "Decay, such as 0.999, of a moving average of the parameters, which is then what is evaluated "
                            "and saved", above=0, example=0.999)
    sync_batch_norm: bool | None = own(("gradient", "sharded"), None, "Normalize batches by the statistics of all ranks' "
                                       "samples, as if they were one batch")
    graph: Graph | None = own(("gossip",), "ring", "Who averages with whom")
