"""What tests/hosts.sh looks at, in an installed wheel: python check.py POLICY.onnx"""

import gc
import sys
import threading

import numpy

import inferno


def answer(session):
    seen = session.input("observation")
    seen[0] = (numpy.arange(64) % 8) / 8 - 0.5
    session.run()
    scores = session.output("action")[0]
    best = int(scores.argmax())
    return f"action {best} of {len(scores)}, value {scores[best]:.6f}"


def refused(call, name):
    try:
        call()
    except inferno.Error as error:
        assert error.name == name, error
        return str(error)
    raise AssertionError(f"expected {name}")


def views_are_no_copies(model):
    session = model.session({"batch": 2})
    seen, again = session.input("observation"), session.input("observation")
    assert seen.shape == (2, 64) and seen.dtype == numpy.float32 and seen.ctypes.data % 64 == 0
    seen[1, 3] = 7
    assert again[1, 3] == 7 and not session.input("observation").flags.owndata
    session.run()
    result = session.output("action")
    assert not result.flags.writeable
    kept = result.copy()
    del session, seen, again  # the view holds the session
    gc.collect()
    assert (result == kept).all()


def own_arrays(model):
    session, other = model.session({"batch": 3}), model.session({"batch": 3})
    mine = numpy.random.default_rng(1).random((3, 64), dtype=numpy.float32)
    session.bind_input("observation", mine)
    other.set_input("observation", mine)
    session.run()
    other.run()
    assert (session.output("action") == other.output("action")).all()
    text = refused(lambda: other.set_input("observation", numpy.zeros((3, 63), numpy.float32)), "SHAPE_MISMATCH")
    assert "64" in text, text
    refused(lambda: other.set_input("observation", numpy.zeros((3, 64))), "DTYPE_MISMATCH")


def threads_side_by_side(model):
    expected = answer(model.session({"batch": 1}))
    wrong = []

    def work():
        session = model.session({"batch": 1})
        wrong.extend(1 for _ in range(200) if answer(session) != expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def main():
    path = sys.argv[1]
    print(f"version: Python {sys.version.split()[0]}, NumPy {numpy.__version__}")
    model = inferno.Model.load(path)
    assert model.inputs == [("observation", "f4", ["batch", 64])], model.inputs
    session = model.session({"batch": 1})
    first = answer(session)
    print("answer:", first)
    views_are_no_copies(model)
    own_arrays(model)
    threads_side_by_side(model)
    digits = inferno.Model.load_default().session({"batch": 1})
    digits.run()
    assert abs(float(digits.output("probabilities").sum()) - 1) < 1e-5
    print("refused:", refused(lambda: inferno.Model.load("no-such-policy.onnx"), "NOT_FOUND"))
    print("refused:", refused(lambda: inferno.Model.load_bytes(b"no model"), "INVALID_MODEL"))
    session = inferno.Model.load_bytes(open(path, "rb").read()).session({"batch": 1})
    assert answer(session) == first
    print("reloaded: same answer")
    inferno.shutdown()
    refused(session.run, "INVALID_HANDLE")
    assert answer(inferno.Model.load(path).session({"batch": 1})) == first
    print("restarted: same answer")


main()
