"""Ways of averaging over ranks, a file each; `WAYS` is the only list of them."""

from hvd_ae.averaging.adaptive import Adaptive
from hvd_ae.averaging.adasum import Adasum
from hvd_ae.averaging.elastic import Elastic
from hvd_ae.averaging.gossip import Gossip
from hvd_ae.averaging.gradient import Gradient
from hvd_ae.averaging.hierarchical import Hierarchical
from hvd_ae.averaging.none import Independent
from hvd_ae.averaging.one_shot import OneShot
from hvd_ae.averaging.overlapped import Overlapped
from hvd_ae.averaging.parameter import Parameter
from hvd_ae.averaging.post_local import PostLocal
from hvd_ae.averaging.sequential import Sequential
from hvd_ae.averaging.server import Server
from hvd_ae.averaging.sharded import Sharded

STRATEGIES = {
    "gradient": Gradient,
    "sharded": Sharded,
    "adasum": Adasum,
    "parameter": Parameter,
    "overlapped": Overlapped,
    "post-local": PostLocal,
    "hierarchical": Hierarchical,
    "adaptive": Adaptive,
    "one-shot": OneShot,
    "elastic": Elastic,
    "server": Server,
    "gossip": Gossip,
    "sequential": Sequential,
    "none": Independent,
}
