"""Mutated models, each loaded and run in a child process under limits.

    tests/hostile.sh [--cases N] [--seed S] [--only CLASS] [--jobs J] [--keep DIR]
    tests/hostile.sh --named | --replay FILE...
    for all: [--isolation] [--lib PATH] [--include DIR]

The last line counts: cases = ok + refused + crashed + hung + out_of_memory. A case is refused
when any call answered a status; panicked_inside counts those of the refused whose text shows a
panic that the library caught. Exit status 0 when crashed, hung and out_of_memory are all 0.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import mutate
import named
import seeds
from children import FINDINGS, HUNG, KINDS, OK, Children, Job, Outcome

RETRIED = 8
ADDRESS_SPACE = 4 << 30


def main() -> int:
    options = _options()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))  # a careless mutation ends us, not others
    os.makedirs(options.folder, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="work.", dir=options.folder))
    try:
        with_external(work)
        children = Children(options.bin, options.jobs, options.isolation)
        try:
            return _check(children, work) or _chosen(options, children, work)
        finally:
            children.close()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hostile.sh", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--cases", type=int, default=700, metavar="N", help="how many (700)")
    add("--seed", type=int, default=1, metavar="S", help="another seed, other cases (1)")
    add("--only", default="", metavar="CLASS", help="only cases of this class, out of the N")
    add("--jobs", type=int, default=2, metavar="J", help="children at a time (2)")
    add("--keep", type=Path, metavar="DIR", help="keep every model file here")
    add("--isolation", action="store_true", help="let the library try a model in a process first")
    add("--named", action="store_true", help="the repros of named.py")
    add("--replay", type=Path, nargs="+", metavar="FILE", help="these files again")
    add("--bin", type=Path, required=True, help=argparse.SUPPRESS)
    add("--folder", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def with_external(folder: Path) -> None:
    (folder / seeds.EXTERNAL_FILE).write_bytes(seeds.EXTERNAL_BYTES)


def _check(children: Children, work: Path) -> int:
    """A sound model must run: else the library, the header or the child is at fault."""
    path = work / "sound.onnx"
    path.write_bytes(seeds.seed("mlp"))
    [(_, outcome)] = children.run([Job("sound", path, 2)])
    if outcome.kind != OK:
        print(f"hostile: a sound model does not run: {outcome.told()}", file=sys.stderr)
        return 2
    return 0


def _chosen(options: argparse.Namespace, children: Children, work: Path) -> int:
    if options.replay:
        return _replay(options, children)
    if options.named:
        return _named(children, work)
    return _fuzz(options, children, work)


def _fuzz(options: argparse.Namespace, children: Children, work: Path) -> int:
    missing = [name for name in seeds.REAL if seeds.seed(name) is None]
    if missing:
        print(f"hostile: not in target/models, the mlp stands for them: {', '.join(missing)}")
    findings = options.folder / "findings"
    shutil.rmtree(findings, ignore_errors=True)
    cases: dict[str, mutate.Case] = {}

    def jobs():
        for number in range(options.cases):
            case = mutate.case(options.seed, number)
            if options.only in case.classes:
                name = f"s{options.seed}-c{number:06}"
                cases[name] = case
                path = (options.keep or work) / f"{name}.onnx"
                path.write_bytes(case.data)
                yield Job(name, path, case.salt)

    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        with_external(options.keep)
    outcomes: dict[str, Outcome] = {}
    late: list[Job] = []
    with open(options.folder / "report.tsv", "w", encoding="utf-8") as report:
        for job, outcome in children.run(jobs()):
            outcomes[job.id] = outcome
            if outcome.kind == HUNG and len(late) < RETRIED:
                late.append(job)  # a busy machine, maybe: decided at the end
            else:
                _record(report, job, cases[job.id], outcome)
                _put_away(findings, job, cases[job.id], outcome, options.keep)
            cases[job.id] = cases[job.id]._replace(data=b"")
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)}/{options.cases}", end="", file=sys.stderr, flush=True)
        for job in late:
            [(_, outcome)] = children.run([job])
            outcomes[job.id] = outcome
            _record(report, job, cases[job.id], outcome)
            _put_away(findings, job, cases[job.id], outcome, options.keep)
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    _grouped(findings, outcomes, cases)
    count = collections.Counter(o.kind for o in outcomes.values())
    panicked = sum(o.panicked for o in outcomes.values())
    numbers = {"cases": len(outcomes), "ok": count[OK], "refused": count["refused"], "panicked_inside": panicked,
               **{kind: count[kind] for kind in FINDINGS}}
    print("hostile: " + " ".join(f"{k}={v}" for k, v in numbers.items()))
    return int(any(count[kind] for kind in FINDINGS))


def _record(report, job: Job, case: mutate.Case, outcome: Outcome) -> None:
    fields = (job.id, case.classes, case.seed_model, outcome.kind, "panicked" if outcome.panicked else "-",
              f"{outcome.ms} ms", outcome.step, outcome.status, outcome.text)
    print("\t".join(fields).replace("\n", " "), file=report)


def _file_name(job: Job, case: mutate.Case, outcome: Outcome) -> str:
    return f"{job.id}-{case.classes}-{outcome.kind}"


def _put_away(findings: Path, job: Job, case: mutate.Case, outcome: Outcome, keep: Path | None) -> None:
    """Saves what is a finding; drops the file of what is none."""
    if outcome.kind in FINDINGS:
        if not findings.is_dir():
            findings.mkdir(parents=True)
            with_external(findings)
        name = _file_name(job, case, outcome)
        shutil.copyfile(job.path, findings / f"{name}.onnx")
        told = f"class {case.classes}\nseed model {case.seed_model}\nsalt {job.salt}\n{outcome.told()}\n\n"
        (findings / f"{name}.txt").write_text(told + outcome.output, encoding="utf-8")
    if keep is None:
        job.path.unlink(missing_ok=True)


def _grouped(findings: Path, outcomes: dict[str, Outcome], cases: dict[str, mutate.Case]) -> None:
    """A line for each reason: how often, the classes, one file."""
    groups = collections.defaultdict(list)
    for name, outcome in outcomes.items():
        if outcome.kind in FINDINGS:
            groups[outcome.reason].append(name)
    for reason, names in sorted(groups.items(), key=lambda g: (KINDS.index(outcomes[g[1][0]].kind), -len(g[1]))):
        classes = collections.Counter(cases[n].classes for n in names).most_common(6)
        told = ", ".join(f"{c} ×{k}" if k > 1 else c for c, k in classes)
        smallest = min(names, key=lambda n: len(cases[n].classes))
        file = f"{smallest}-{cases[smallest].classes}-{outcomes[smallest].kind}.onnx"
        print(f"{len(names):4} {reason}\n     by {told}\n     {os.path.relpath(findings / file)}")


def _replay(options: argparse.Namespace, children: Children) -> int:
    jobs = []
    for path in options.replay:
        found = re.match(r"s(\d+)-c(\d+)", path.name)
        salt = mutate.salt(int(found[1]), int(found[2])) if found else 1
        jobs.append(Job(str(len(jobs)), path.resolve(), salt))
    bad = 0
    for job, outcome in children.run(jobs):
        bad += outcome.kind in FINDINGS
        print(f"{job.path.name}: {outcome.told()}")
    return int(bad > 0)


def _named(children: Children, work: Path) -> int:
    repros = named.named()
    jobs = []
    for repro in repros:
        path = work / f"{repro.name}.onnx"
        path.write_bytes(repro.data)
        jobs.append(Job(repro.name, path, 2, repro.fixed))
    outcomes = {job.id: outcome for job, outcome in children.run(jobs)}
    for repro in repros:
        print(f"{repro.name:36} {outcomes[repro.name].told()[:400]}")
    count = collections.Counter(o.kind for o in outcomes.values())
    print(f"hostile-named: cases={len(outcomes)} " + " ".join(f"{kind}={count[kind]}" for kind in FINDINGS))
    return int(any(count[kind] for kind in FINDINGS))


if __name__ == "__main__":
    sys.exit(main())
