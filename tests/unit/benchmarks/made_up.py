"""Rows as benchmarks write them, made by hand."""

ABOUT = {
    "run": "2026-01-02T03:04:05+0000", "commit": "abc1234", "versions": {"tensorflow": "2.21.0", "torch": None},
    "cpu": "a CPU", "cores": 2, "memory_bytes": 2**34, "python": "3.11.2", "load_before": 0.1, "others_share": 0.01,
    "settings": {"short": True}, "reason": None,
}


def row(median: float | None, **more) -> dict:
    """A measured row; None is one that was not, and says why."""
    if median is None:
        more = {"reason": "torch is not installed", **more}
    low, high = (None, None) if median is None else (median * 0.9, median * 1.1)
    return {**ABOUT, "median": median, "low": low, "high": high, "values": [] if median is None else [median] * 3, **more}


def at(hour: str, rows: list[dict]) -> list[dict]:
    """The same rows as another run, which began at this hour."""
    return [{**row, "run": f"2026-01-02T{hour}:00+0000"} for row in rows]


def thrice(rows: list[dict]) -> list[dict]:
    """The same rows measured in three runs at different hours."""
    return [*at("03:04", rows), *at("05:04", rows), *at("07:04", rows)]


def peers(**rates: float | None) -> list[dict]:
    names = {"gradient": "hvd_ae gradient, horovod", "sharded": "hvd_ae sharded, mpi", "parameter": "hvd_ae parameter H=16",
             "none": "hvd_ae none", "torch": "PyTorch, one process", "ddp": "PyTorch DDP, gloo",
             "keras": "Keras fit, one process"}
    return [row(rate, contestant=names[name], variant="") for name, rate in rates.items()]


def step(**seconds: float) -> list[dict]:
    names = {"gradient": "training, gradient", "sharded": "training, sharded", "passes": "forward and backward",
             "reduce": "all-reduce", "update": "update", "bare": "MPI_Allreduce", "product": "matrix product",
             "copy": "memory copy"}
    return [row(value, part=names[name], engine="mpi", ranks=2, batch_size=128, parameters=1_153_712, matrix=1024,
                copied_bytes=64 << 20) for name, value in seconds.items()]


def allreduce(size: int, **seconds: float) -> list[dict]:
    return [row(value, contestant=name, bytes=size, ranks=2, wrong=0, algorithm_gb_s=1.0, bus_gb_s=1.0)
            for name, value in seconds.items()]


def scaling(strategy: str, **rates: float) -> list[dict]:
    return [row(rate, kind="weak", strategy=strategy, ranks=ranks, batch_size=128, cores=ranks, threads=1,
                communication_share=0.1, bytes_sent_per_step=4.6e6, peak_bytes=1e9)
            for ranks, rate in enumerate(rates.values(), start=1)]


def network(link: str | None, strategy: str, rate: float | None, val_mse: float | None = None) -> dict:
    return row(rate, link=link, strategy=strategy, bits_per_second=None, communication_share=None, bytes_sent_per_step=None,
               val_mse=val_mse)


def memory(how: str, ranks: int, peak: float | None, rate: float | None, data_bytes: float = 4e9) -> dict:
    return row(rate, how=how, ranks=ranks, data_bytes=data_bytes, peak=peak, anonymous=peak, file=peak)


def startup(**seconds: float) -> list[dict]:
    names = {"help": "hvd-ae --help", "alone": "first step beyond that import, alone",
             "together": "first step beyond that import, 2 ranks"}
    return [row(value, what=names[name]) for name, value in seconds.items()]


def p1b1(strategy: str, engine: str, vectors: float | None) -> dict:
    peak = None if vectors is None else 5e8 + vectors * 978e6
    return {**ABOUT, "strategy": strategy, "engine": engine, "ranks": 2, "vector_bytes": 978_000_000, "little": 5e8,
            "peak": peak, "vectors": vectors, "seconds_per_step": 2.0, "reason": None if vectors else "too little memory"}


def plan(place: str, strategy: str, rate: float | None, predicted: float | None, from_elsewhere: float | None = None) -> dict:
    return row(rate, place=place, strategy=strategy, predicted=predicted, from_elsewhere=from_elsewhere)


def input_row(how: str, rate: float | None = None, kind: str | None = None, ranks: int | None = None, **more) -> dict:
    """Of `benchmarks input`."""
    return row(rate, **{"how": how, "format": kind, "ranks": ranks, "decoded": None, "peak": None, "val_mse": None,
                        "what": f"{how}, {kind}, {ranks} ranks", **more})
