"""What a failed build's output says first, in one sentence, and what mends it where that is known."""

import re

ERROR = re.compile(r"(^|[\s:])(fatal )?error[:\s]|CMake Error|\w(Error|Exception):|command not found", re.IGNORECASE)
_LONGEST = 400  # characters of what a tool says

# What is found in the whole output, and what to do then; the first that fits counts.
_REMEDIES = (
    (r"MPI_\w+_WORKS|[Cc]ould NOT find MPI", "CMake can compile nothing with this MPI's mpicxx: see what `mpicxx -show` "
     "says, install its development files (mpi.h), or name another MPI with --mpi-home"),
    (r"fatal error: (tensorflow|xla|tsl|absl)/", "this TensorFlow has other headers than Horovod knows: take one of 2.18 "
     "to 2.21"),
    (r"fatal error: Python.h", "install Python's development files (Debian, Ubuntu: apt install python3-dev)"),
    (r"cannot find -lmpi", "install the MPI's development files too"),
    (r"Killed signal terminated program|internal compiler error: Killed",
     "the compiler was killed, most likely for want of memory: 2 GB for each core that this process may use (`taskset -c 0`)"),
    (r"No space left on device", "make room in the folder for temporary files, or name another in TMPDIR"),
    (r"unrecognized command.line option .-std=(c|gnu)\+\+17", "take a compiler that knows C++17, and name it in CXX"),
)


def why_failed(output: str) -> str:
    """The first error in a build's output, and the remedy where it is known; empty where no line looks like an error."""
    first = first_error(output)
    remedy = next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, output)), "") if first else ""
    return f"{first} ({remedy})" if remedy else first


def first_error(output: str) -> str:
    """The first line that is an error of a compiler, of CMake or of Python, with the message that CMake puts below it."""
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if ERROR.search(line):
            below = []
            if "CMake Error" in line:  # the message is indented, and ends with an empty line
                message = [text.strip() for text in lines[number + 1 : number + 12]]
                start = 1 if message[:1] == [""] else 0
                below = message[start : message.index("", start) if "" in message[start:] else None]
            return " ".join([line.strip(), *below])[:_LONGEST]
    return ""
