"""``python -m Testing.fuzz``: every fuzz target for its share of the time, and a table of what became of the inputs."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

from Testing.fuzz.apart import Tally, fuzz, targets

_REPORT = """\
# Fuzzing

`{command}`

{machine}

Every input comes from its seed and can be made again: `python -m Testing.fuzz --target NAME --seed N --inputs 1`. It is
tried in a child process with {seconds:g} seconds and 3 GB for each. An exception that is no refusal in a sentence is a
crash, and so is a process that dies, hangs or takes more.

{table}
"""


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 when an input crashed something."""
    options = _parser().parse_args(arguments)
    found = {name: where for name, where in targets().items() if not options.target or name in options.target}
    if not found:
        print(f"There is no such target; there are: {', '.join(targets())}.")
        return 2
    tallies = {}
    for name, where in found.items():
        share = {"inputs": options.inputs} if options.inputs else {"seconds": options.seconds / len(found)}
        tallies[name] = fuzz(where, seed=options.seed, **share)
        print(f"{name:<20} {_words(tallies[name])}", flush=True)
        for crash in tallies[name].crashes[:20]:
            print(f"    seed {crash.seed}: {crash.what}")
    if options.report:
        options.report.write_text(_report(tallies, options), encoding="utf-8")
    return int(any(tally.crashes for tally in tallies.values()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Testing.fuzz", description=__doc__)
    seconds = float(os.environ.get("FUZZ_SECONDS", "120"))
    parser.add_argument("--seconds", type=float, default=seconds, help="for all targets together (FUZZ_SECONDS)")
    parser.add_argument("--inputs", type=int, help="for each target, instead of a time")
    parser.add_argument("--seed", type=int, default=0, help="the first one of each target")
    parser.add_argument("--target", action="append", help="only this one (may be repeated)")
    parser.add_argument("--report", type=Path, help="write the figures there")
    return parser


def _words(tally: Tally) -> str:
    refused = ", ".join(f"{count} {code}" for code, count in tally.refused.most_common(4))
    return (
        f"{tally.tried:>7} tried {tally.accepted:>7} accepted {tally.refused.total():>7} refused "
        f"{len(tally.crashes):>4} crashes   {refused}"
    )


def _report(tallies: dict[str, Tally], options: argparse.Namespace) -> str:
    from Testing.fuzz.apart import SECONDS_AN_INPUT

    rows = ["| target | inputs tried | clean refusals | accepted | crashes |", "|---|---:|---:|---:|---:|"]
    rows += [
        f"| {name} | {t.tried:,} | {t.refused.total():,} | {t.accepted:,} | {len(t.crashes)} |"
        for name, t in tallies.items()
    ]
    total = [sum(values) for values in zip(*map(_figures, tallies.values()), strict=True)]
    rows.append("| together | {:,} | {:,} | {:,} | {} |".format(*total))
    machine = f"Python {platform.python_version()}, {platform.system()} on {_processor()}, {os.cpu_count()} cores."
    command = f"make fuzz FUZZ_SECONDS={options.seconds:g}" + (f" (from seed {options.seed})" if options.seed else "")
    return _REPORT.format(command=command, machine=machine, seconds=SECONDS_AN_INPUT, table="\n".join(rows))


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _figures(tally: Tally) -> tuple[int, int, int, int]:
    return tally.tried, tally.refused.total(), tally.accepted, len(tally.crashes)


if __name__ == "__main__":
    sys.exit(main())
