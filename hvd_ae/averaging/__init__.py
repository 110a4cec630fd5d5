"""Ways of averaging over ranks, a file each; `WAYS` is the only list of them."""

from hvd_ae.averaging.gradient import Gradient
from hvd_ae.averaging.none import Alone
from hvd_ae.averaging.parameter import Parameter

WAYS = {"gradient": Gradient, "parameter": Parameter, "none": Alone}
