#!/usr/bin/env python3
"""A model over a data set on a Ray cluster: Parquet in, Parquet out.

    python map_batches.py MODEL.onnx INPUT OUTPUT [--workers N] [--rows N] [--address ADDRESS]

Columns of INPUT that are called as the model's inputs go into it; OUTPUT has all columns of INPUT, and one
for each output of the model. The workers' machines need the package `inferno` and the model's file.
"""

import argparse

import numpy
import ray
import ray.data

import inferno


class Runner:
    """An actor's state: the model, loaded once, and its sessions, which run one batch after the other."""

    def __init__(self, path):
        self.model = inferno.Model.load(path)
        self.batch = self.model.inputs[0][2][0]  # the symbol of the first dim, such as "batch"
        self.sessions = {}

    def __call__(self, columns):
        rows = len(next(iter(columns.values())))
        session = self.session_for(rows)
        for name, _, _ in self.model.inputs:
            view = session.input(name)
            view[:rows] = numpy.stack(columns[name])
            view[rows:] = 0
        session.run()
        answers = {name: session.output(name)[:rows].copy() for name, _, _ in self.model.outputs}
        return {**columns, **answers}

    def session_for(self, rows):
        """A session of the next power of two of rows: the last batches of a job are shorter than the others."""
        room = 1 << (rows - 1).bit_length()
        if room not in self.sessions:
            self.sessions[room] = self.model.session({self.batch: room})
        return self.sessions[room]


def answer(model, source, destination, workers=2, rows=256, runner=Runner, **placement):
    """Runs the job. What a lost worker had not finished is done again by the others."""
    data = ray.data.read_parquet(source)
    data = data.map_batches(
        runner,
        fn_constructor_args=(model,),
        batch_size=rows,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        **placement,
    )
    data.write_parquet(destination)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=256, help="of a batch")
    parser.add_argument("--address", help="of a cluster; without it one is started here")
    args = parser.parse_args(arguments)
    ray.init(address=args.address, ignore_reinit_error=True)
    answer(args.model, args.input, args.output, args.workers, args.rows)


if __name__ == "__main__":
    main()
