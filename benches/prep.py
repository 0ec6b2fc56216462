"""Images to tensors, and NMS, against OpenCV: one thread, in rounds that run
each in turn. What counts is the median of the rounds' ratios, because a machine that does
other things, too, slows down both.

    benches/prep.sh [--lib libinferno.so] [--rounds N]

Each case is what a host would do: a 1280 x 720 RGBA frame to a normalised float tensor of
planes. OpenCV goes its ways, of which the fastest counts. Ends with
`prep: image_vs_opencv=…`, our time over OpenCV's: the geometric mean of the two cases.
"""

import argparse
import ctypes as c
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "prep"))
from capi import ImageMap, Library, image_of, tensor_of  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEANS, STDS = np.float32(MEAN) * 255, np.float32(STD) * 255


def timed(call, times):
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times * 1e6


def in_turn(calls, rounds, times=20):
    """The time of each in each round, in µs."""
    found = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for call, all in zip(calls, found):
            all.append(timed(call, times))
    return np.array(found)


def ours(lib, frame, fit, filter, width, height):
    out = np.empty((1, 3, height, width), np.float32)
    options = lib.image_options(fit, filter, mean=MEAN, std=STD)
    args = (c.byref(image_of(frame, "rgba")), c.byref(options), c.byref(tensor_of(out)),
            c.byref(ImageMap()))
    call = lib.lib.inferno_image_to_tensor
    assert call(*args) == 0
    return lambda: call(*args), out


def opencv(frame, width, height, letterbox, interpolation):
    """Ways to the same tensor: a list of (name, call), each of which gives it."""
    inner = height if not letterbox else round(frame.shape[0] * width / frame.shape[1])
    above = (height - inner) // 2
    out = np.empty((3, height, width), np.float32)
    plane = np.empty((inner, width), np.uint8)
    boxed = np.full((height, width, 4), 114, np.uint8)
    small = np.empty((inner, width, 4), np.uint8)
    factors = [1 / float(s) for s in STDS]
    biases = [-float(m) / float(s) for m, s in zip(MEANS, STDS)]
    for k in range(3):
        out[k] = (114 - MEANS[k]) / STDS[k]

    def planes():
        """Resized as bytes; each channel taken out and converted into its plane."""
        cv2.resize(frame, (width, inner), dst=small, interpolation=interpolation)
        for k in range(3):
            cv2.extractChannel(small, k, dst=plane)
            part = out[k, above:above + inner]
            # out = plane * factor + bias, in one pass.
            cv2.addWeighted(plane, factors[k], plane, 0, biases[k], dst=part, dtype=cv2.CV_32F)
        return out

    def blob():
        """Resized as bytes, put in the middle, then blobFromImage, and the rest of std."""
        view = boxed[above:above + inner]
        cv2.resize(frame, (width, inner), dst=small, interpolation=interpolation)
        view[:] = small
        made = cv2.dnn.blobFromImage(cv2.cvtColor(boxed, cv2.COLOR_RGBA2RGB), 1.0, mean=MEANS.tolist())
        for k in range(3):
            cv2.multiply(made[0, k], factors[k], dst=made[0, k])
        return made[0]

    def with_params():
        """Resized as bytes, then blobFromImageWithParams with a factor for each channel."""
        view = boxed[above:above + inner]
        cv2.resize(frame, (width, inner), dst=small, interpolation=interpolation)
        view[:] = small
        rgb = cv2.cvtColor(boxed, cv2.COLOR_RGBA2RGB)
        return cv2.dnn.blobFromImageWithParams(rgb, params)[0]

    params = cv2.dnn.Image2BlobParams()
    params.scalefactor = tuple(factors) + (1.0,)
    params.mean = tuple(MEANS.tolist()) + (0.0,)
    return [("planes", planes), ("blob", blob), ("params", with_params)]


def image_case(lib, frame, name, width, height, fit, filter, interpolation, rounds):
    call, out = ours(lib, frame, fit, filter, width, height)
    ways = opencv(frame, width, height, fit == "letterbox", interpolation)
    for way, theirs in ways:
        apart = np.abs(theirs() - out[0]).max() * STDS.min()
        assert interpolation != cv2.INTER_LINEAR or apart < 1.6, f"{way}: {apart} steps apart"
    times = in_turn([call] + [theirs for _, theirs in ways], rounds)
    medians = np.median(times, 1)
    best = 1 + int(medians[1:].argmin())
    ratio = float(np.median(times[0] / times[best]))
    each = ", ".join(f"{way} {t:.0f}" for (way, _), t in zip(ways, medians[1:]))
    print(f"{name}: {medians[0]:.0f} us, OpenCV {each} us: {ratio:.3f}")
    return ratio


def nms_case(lib, rounds):
    rng = np.random.default_rng(3)
    count = 2000
    corner = rng.uniform(0, 600, (count, 2))
    sides = np.hstack([corner, rng.uniform(10, 90, (count, 2))]).astype(np.float32)
    score = rng.permutation(np.linspace(0, 1, count)).astype(np.float32)
    times = in_turn(
        [lambda: lib.nms(sides, score, format="xywh", iou_threshold=0.45, max_boxes=300),
         lambda: cv2.dnn.NMSBoxes(sides, score, 0.25, 0.45, top_k=0)], rounds, 3)
    us, theirs = np.median(times, 1)
    print(f"nms of {count} boxes: {us:.0f} us (300 at most), OpenCV {theirs:.0f} us (through Python lists)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", default="target/release/libinferno.so")
    parser.add_argument("--rounds", type=int, default=31)
    given = parser.parse_args()
    lib = Library(given.lib)
    cv2.setNumThreads(1)
    frame = np.random.default_rng(1).integers(0, 256, (720, 1280, 4), dtype=np.uint8)
    linear = cv2.INTER_LINEAR
    ratios = [
        image_case(lib, frame, "1280x720 RGBA to 224x224", 224, 224, "stretch", "bilinear", linear, given.rounds),
        image_case(lib, frame, "1280x720 RGBA to 640x480, letterbox", 640, 480, "letterbox", "bilinear", linear, given.rounds),
    ]
    image_case(lib, frame, "1280x720 RGBA to 416x416, letterbox", 416, 416, "letterbox", "bilinear", linear, given.rounds)
    image_case(lib, frame, "1280x720 RGBA to 224x224, antialias (INTER_AREA)", 224, 224, "stretch", "antialias", cv2.INTER_AREA, given.rounds)
    nms_case(lib, given.rounds)
    print(f"prep: image_vs_opencv={np.exp(np.mean(np.log(ratios))):.3f} "
          f"224={ratios[0]:.3f} letterbox_640x480={ratios[1]:.3f}")


if __name__ == "__main__":
    main()
