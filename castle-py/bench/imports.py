"""What an import costs: castle_py beside the clients of Kubernetes that are installed.

    python castle-py/bench/imports.py

Each import runs in processes of its own, in turn with the others, so that what disturbs the machine disturbs all of
them. Printed is the median in milliseconds without the start of Python itself, and the peak of memory of the whole
process, beside that of a Python that imports nothing; behind them, as `_mss` and `_mbs`, all figures, of which the table
of `make bench` is made. Installs nothing; what is missing is named.
"""

import importlib.util
import statistics
import subprocess
import sys

ROUNDS = 7
MODULES = ("castle_py", "kubernetes", "kr8s")

PROBE = """
import resource, sys, time
began = time.perf_counter()
for name in sys.argv[1:]:
    __import__(name)
took = time.perf_counter() - began
# Kilobytes, but bytes on macOS.
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(took * 1000, peak)
"""


def probe(*modules: str) -> tuple[float, float]:
    """Milliseconds and megabytes of a process that imports these."""
    done = subprocess.run([sys.executable, "-c", PROBE, *modules], capture_output=True, text=True, check=True)
    took, peak = done.stdout.split()
    return float(took), float(peak)


def main() -> None:
    """Measures and prints one line."""
    there = [name for name in MODULES if importlib.util.find_spec(name)]
    missing = [name for name in MODULES if name not in there]
    for name in there:
        probe(name)  # compiles, and warms the disk's cache
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in there}
    empty = []
    for _ in range(ROUNDS):
        empty.append(probe()[1])
        for name in there:
            figures[name].append(probe(name))
    told = [f"{name}_ms={statistics.median(took for took, _ in figures[name]):.0f}" for name in there]
    told += [f"{name}_mb={statistics.median(peak for _, peak in figures[name]):.1f}" for name in there]
    told += [f"{name}_mss={','.join(f'{took:.1f}' for took, _ in figures[name])}" for name in there]
    told += [f"{name}_mbs={','.join(f'{peak:.1f}' for _, peak in figures[name])}" for name in there]
    told += [f"python_mb={statistics.median(empty):.1f}", f"rounds={ROUNDS}"]
    if missing:
        told.append(f"missing={','.join(missing)}")
    print("bench python-import", *told)


if __name__ == "__main__":
    main()
