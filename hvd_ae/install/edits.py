"""Our own changes to the Horovod sources: exact replacements, each with its reason.

A replacement whose text is not found exactly once ends the build: a half-edited source is never compiled.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from hvd_ae.install.steps import StepFailed


@dataclass(frozen=True)
class Edit:
    """Replace `old`, which must stand exactly once in the source's `file`, by `new`."""

    file: str
    old: str
    new: str

    def apply(self, source: Path) -> None:
        """Change the file below the folder `source`.

        Raises:
            StepFailed: the file is missing, or the text is not in it exactly once.
        """
        path = source / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text.count(self.old) != 1:
            first = self.old.strip().splitlines()[0]
            raise StepFailed(
                f"the text `{first}` is in {self.file} {text.count(self.old)} times instead of once: "
                "these are not the Horovod sources that hvd_ae knows how to build"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


TENSORFLOW_CMAKE = "horovod/tensorflow/CMakeLists.txt"
MPI_RUN = "horovod/runner/mpi_run.py"
LAUNCH = "horovod/runner/launch.py"

COMPILATION = (
    # A bridge from XLA to Horovod on GPUs; it includes a header that TensorFlow no longer ships since 2.16.
    Edit(
        TENSORFLOW_CMAKE,
        'list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")\n',
        "",
    ),
    # CMake would write the absolute folder of this environment's MPI into the library, and a wheel from the
    # cache would then find the MPI of another environment, or none. DT_RPATH rather than DT_RUNPATH, because
    # the latter comes after LD_LIBRARY_PATH, where a cluster's modules put other MPIs of the same file name.
    Edit(
        TENSORFLOW_CMAKE,
        'set_target_properties(${TF_TARGET_LIB} PROPERTIES OUTPUT_NAME "mpi_lib")\n',
        'set_target_properties(${TF_TARGET_LIB} PROPERTIES OUTPUT_NAME "mpi_lib")\n'
        "set_target_properties(${TF_TARGET_LIB} PROPERTIES BUILD_WITH_INSTALL_RPATH TRUE\n"
        '                      INSTALL_RPATH_USE_LINK_PATH FALSE INSTALL_RPATH "$ENV{HVD_AE_RPATH}")\n'
        "target_link_options(${TF_TARGET_LIB} PRIVATE -Wl,--disable-new-dtags)\n",
    ),
    # MPI_HOME alone is a hint: CMake may still take another MPI that it finds on the PATH.
    Edit(
        "CMakeLists.txt",
        "    find_package(MPI ${MPI_REQUIRED})\n",
        '    set(MPI_CXX_COMPILER "$ENV{HVD_AE_MPICXX}")\n    find_package(MPI ${MPI_REQUIRED})\n',
    ),
    # The same optimisation without debug information: a library of 1.3 MB, not 39, in half the time.
    Edit("setup.py", "else 'RelWithDebInfo'", "else 'Release'"),
)

MPI_OPS = "horovod/tensorflow/mpi_ops.cc"

IN_PLACE = (
    # An all-reduce into the memory of its input, where nothing else needs that: MPI copies the input into other memory
    # first, a third of its time between two ranks of a node, and the copy is one vector more at the peak.
    Edit(
        MPI_OPS,
        "    auto tensor = context->input(0);\n"
        "    horovod::common::ReduceOp reduce_op = static_cast<horovod::common::ReduceOp>(reduce_op_);\n"
        "    Tensor* output;\n"
        "    OP_REQUIRES_OK_ASYNC(\n"
        "        context, context->allocate_output(0, tensor.shape(), &output), done);\n",
        "    horovod::common::ReduceOp reduce_op = static_cast<horovod::common::ReduceOp>(reduce_op_);\n"
        "    Tensor* output;\n"
        "    OP_REQUIRES_OK_ASYNC(\n"
        "        context, context->forward_input_or_allocate_output({0}, 0, context->input(0).shape(), &output), done);\n"
        "    auto tensor = context->input(0);\n",
    ),
)

CUDA = (
    # TensorFlow no longer exports the function that gave CUDA's own handle of a stream; the stream itself says it now.
    Edit(
        MPI_OPS,
        "GpuStreamHandle AsGpuStreamValue(Stream* stream);\n"
        "} // namespace stream_executor\n"
        "} // namespace gpu\n"
        "#if TENSORFLOW_VERSION >= 2011000000\n"
        '#include "tensorflow/compiler/xla/stream_executor/stream.h"\n'
        "#else\n"
        '#include "tensorflow/stream_executor/stream.h"\n'
        "#endif // TENSORFLOW_VERSION >= 2011000000\n",
        "}\n"
        "}\n"
        '#include "xla/stream_executor/stream.h"\n'
        "namespace stream_executor {\n"
        "namespace gpu {\n"
        "static GpuStreamHandle AsGpuStreamValue(Stream* stream) {\n"
        "  return static_cast<GpuStreamHandle>(stream->platform_specific_handle().stream);\n"
        "}\n"
        "}\n"
        "}\n",
    ),
    # CUDA 13's own headers want C++17.
    Edit("horovod/common/ops/cuda/CMakeLists.txt", "set(CMAKE_CUDA_STANDARD 11)\n", "set(CMAKE_CUDA_STANDARD 17)\n"),
)

LAUNCHER = (
    # MPICH from 4.0 on says only "HYDRA build details".
    Edit(MPI_RUN, "elif 'MPICH' in output:\n", "elif 'MPICH' in output or 'HYDRA' in output:\n"),
    Edit(MPI_RUN, "    command = 'mpirun --version'\n", "    command = _MPIRUN + ' --version'\n"),
    # Open MPI 5 takes long options only with two dashes: it ran a program called `none`. Hydra takes both.
    Edit(
        MPI_RUN,
        "_NO_BINDING_ARGS = ['-bind-to none', '-map-by slot']",
        "_NO_BINDING_ARGS = ['--bind-to none', '--map-by slot']",
    ),
    # With `exec`, a signal sent to horovodrun reaches mpirun; without it, only the shell around mpirun.
    Edit(MPI_RUN, "'mpirun {basic_args} '\n", "'exec {mpirun} {basic_args} '\n"),
    Edit(MPI_RUN, ".format(basic_args=basic_args,\n", ".format(mpirun=_MPIRUN, basic_args=basic_args,\n"),
    # Hydra's labels (-l) go in front of every write, not of every line: tracebacks and progress bars come out
    # as "[1]  [1]  [1] ^^^".
    Edit(MPI_RUN, "basic_args = '-l' if impi_or_mpich", "basic_args = '' if impi_or_mpich"),
    # Horovod asks itself whether it was built with MPI by importing TensorFlow in another process: 4 seconds
    # and a page of messages before every run.
    Edit(
        LAUNCH,
        "        if mpi_built(verbose=verbose):\n            if lsf",
        "        if True:  # built with MPI, always\n            if lsf",
    ),
    # `.venv/bin/horovodrun -np 2 hvd-ae ...` works without the environment being activated.
    Edit(
        LAUNCH,
        "def run_commandline():\n",
        "def run_commandline():\n"
        "    path = [os.path.dirname(sys.executable), os.environ.get('PATH', os.defpath)]\n"
        "    os.environ['PATH'] = os.pathsep.join(path)\n",
    ),
)


def edits(site_mpirun: Path | None, gpu: bool = False) -> tuple[Edit, ...]:
    """All changes, for a site's own `mpirun` or (None) for the one beside the Python that runs horovodrun."""
    beside_python = "quote(os.path.join(os.path.dirname(sys.executable), 'mpirun'))"
    mpirun = repr(quote(str(site_mpirun))) if site_mpirun else beside_python
    right_mpirun = Edit(
        MPI_RUN,
        "_MISSING_IMPL = 'Missing'\n",
        f"_MISSING_IMPL = 'Missing'\n\n# The mpirun of the MPI that this Horovod is linked to\n_MPIRUN = {mpirun}\n",
    )
    return (*COMPILATION, *IN_PLACE, *(CUDA if gpu else ()), *LAUNCHER, right_mpirun)


def digest(changes: tuple[Edit, ...]) -> str:
    """Eight hexadecimal digits that differ when any change does: part of the name of the cached wheel."""
    return hashlib.sha256(repr(changes).encode()).hexdigest()[:8]
