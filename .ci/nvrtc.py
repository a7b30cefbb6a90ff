"""Compiles the GPU kernels with NVRTC to machine code of several GPUs, which needs no GPU, and shows each kernel's
registers. Errors, warnings, and registers that are spilled to memory fail.

    .ci/nvrtc.py LIBRARY FOLDER_OF_KERNELS
"""

import ctypes
import re
import sys
from pathlib import Path

# A100; L4 and RTX 40; H100 and H200; B200.
ARCHITECTURES = ["sm_80", "sm_89", "sm_90", "sm_100"]
# `common.cu` comes before each file.
OPTIONS = ["--std=c++17", "--ptxas-options=-v"]


def compiled(nvrtc, source: str, name: str, architecture: str) -> tuple[bool, str, int]:
    """Whether it compiles, the log, and the size of the machine code."""
    program = ctypes.c_void_p()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None))
    options = [option.encode() for option in [*OPTIONS, f"--gpu-architecture={architecture}"]]
    status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    check(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    log = ctypes.create_string_buffer(size.value)
    check(nvrtc.nvrtcGetProgramLog(program, log))
    size.value = 0
    if status == 0:
        check(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
    return status == 0, log.value.decode(), size.value


def check(status: int) -> None:
    if status != 0:
        sys.exit(f"NVRTC failed with status {status}")


def main() -> None:
    library, folder = sys.argv[1], Path(sys.argv[2])
    nvrtc = ctypes.CDLL(library)
    major, minor = ctypes.c_int(), ctypes.c_int()
    check(nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    common = (folder / "common.cu").read_text()
    names = sorted(path.name for path in folder.glob("*.cu") if path.name != "common.cu")
    failures = []
    for architecture in ARCHITECTURES:
        used = []
        for name in names:
            ok, log, size = compiled(nvrtc, common + (folder / name).read_text(), name, architecture)
            kernel = "?"
            for line in log.splitlines():
                if found := re.search(r"Compiling entry function '(\w+)'", line):
                    kernel = found[1]
                if found := re.search(r"Used (\d+) registers", line):
                    used.append(f"{kernel} {found[1]}")
                if found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
                    if (found[1], found[2]) != ("0", "0"):
                        failures.append(f"{architecture} {name}: {kernel} spills: {line.strip()}")
                elif re.search(r"\b(error|warning)\b", line):
                    failures.append(f"{architecture} {name}: {line.strip()}")
            if not ok or size == 0:
                failures.append(f"{architecture} {name}: it does not compile")
        print(f"{architecture}: {len(used)} kernels; registers: {', '.join(used)}")
        if len(used) < 15:
            failures.append(f"{architecture}: the log names {len(used)} kernels only")
    print(f"NVRTC {major.value}.{minor.value}, {len(names)} files, {len(ARCHITECTURES)} architectures")
    if failures:
        sys.exit("\n".join(failures))


main()
