"""Pre- and post-processing against NumPy in 64 bits, OpenCV and Pillow.

    tests/prep.sh [--lib libinferno.so]

Ends with `N passed, M failed`.
"""

import argparse

import cv2
import numpy as np
from PIL import Image as Pillow

from capi import FORMATS, Library

rng = np.random.default_rng(7)
counts = {True: 0, False: 0}
worst = {}


def check(held, what):
    counts[bool(held)] += 1
    if not held:
        print("failed:", what)


def within(got, want, bound, what, kind):
    apart = float(np.abs(got.astype(np.float64) - want).max()) if want.size else 0.0
    worst[kind] = max(worst.get(kind, 0.0), apart)
    check(got.shape == want.shape and apart <= bound, f"{what}: {apart} apart, expected {bound}")


# ---- images ----

def picture(width, height, channels, rough=False):
    """Smooth shapes with some noise, as photographs have, or noise alone."""
    if rough:
        return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / (3 + k) + k) * np.cos(y / (5 + k)) * 100 + 128 for k in range(channels)]
    return np.clip(np.stack(waves, -1) + rng.normal(0, 6, (height, width, channels)), 0, 255).astype(np.uint8)


def weights(begin, places, pixels, count, size, filter):
    """One axis as a matrix: what each place is made of."""
    made, step = np.zeros((count, size)), pixels / places
    for i in range(count):
        middle = begin + (i + 0.5) * pixels / places
        if filter == "nearest":
            made[i, min(int(middle), size - 1)] = 1
        elif filter == "antialias" and step > 1:
            row = np.maximum(0, 1 - np.abs(np.arange(size) + 0.5 - middle) / step)
            made[i] = row / row.sum()
        else:
            at = min(max(middle - 0.5, 0), size - 1)
            low = int(at)
            made[i, low] += 1 - (at - low)
            made[i, min(low + 1, size - 1)] += at - low
    return made


def geometry(fit, size, to):
    """For x and y: the first place, how many, where in the image, and how many places so many
    of its pixels are."""
    tight, loose = (0, 1) if to[0] * size[1] <= to[1] * size[0] else (1, 0)
    found = []
    for k in range(2):
        count, begin, start = to[k], 0, 0.0
        if fit.startswith("letterbox"):
            count = min(max(int(size[k] * to[tight] / size[tight] + 0.5), 1), to[k])
            begin = (to[k] - count) // 2 if fit == "letterbox" else 0
        places, pixels = count, size[k]
        if fit == "cover":
            places, pixels = to[loose], size[loose]
            start = (size[k] - to[k] * pixels / places) / 2
        found.append((begin, count, start, places, pixels))
    return found


def expected(image, format, to, fit, filter, channels, scale, mean, std, pad):
    """The tensor as [height, width, channels] in 64 bits, not normalised if scale is None."""
    height, width = image.shape[:2]
    (x0, nx, *across), (y0, ny, *down) = geometry(fit, (width, height), to)
    colours = image.astype(np.float64)
    if format == "gray":
        colours = np.repeat(colours, 3, axis=2)
    colours = colours[..., :3]
    if format.startswith("bgr"):
        colours = colours[..., ::-1]
    across, down = weights(*across, nx, width, filter), weights(*down, ny, height, filter)
    inside = np.einsum("yh,hwc,xw->yxc", down, colours, across, optimize=True)
    whole = np.empty((to[1], to[0], 3))
    whole[:] = pad
    whole[y0:y0 + ny, x0:x0 + nx] = inside
    if channels == "bgr":
        whole = whole[..., ::-1]
    elif channels == "gray":
        # A grey image stays as it is; its padding is mixed as any colour.
        luma = whole @ [0.299, 0.587, 0.114]
        if format == "gray":
            luma[y0:y0 + ny, x0:x0 + nx] = inside[..., 0]
        whole = luma[..., None]
    if scale is None:
        return whole
    count = whole.shape[-1]
    return (whole * scale - np.array(mean)[:count]) / np.array(std)[:count]


def images(lib):
    sizes = [((1280, 720), (224, 224)), ((1280, 720), (640, 480)), ((33, 17), (64, 64)),
             ((7, 5), (300, 3)), ((1, 1), (4, 4)), ((2, 9), (1, 1)), ((500, 333), (257, 255)),
             ((64, 64), (64, 64)), ((3, 1000), (640, 5)), ((255, 256), (513, 256))]
    cases = 0
    for (size, to) in sizes:
        for format in FORMATS:
            for fit in ["stretch", "letterbox", "letterbox_top_left", "cover"]:
                cases += 1
                one_image(lib, size, to, format, fit, cases)
    antialias_far(lib)


def one_image(lib, size, to, format, fit, number):
    bytes_each = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "gray": 1}[format]
    filter = ["bilinear", "antialias", "nearest"][number % 3]
    channels = ["rgb", "bgr", "gray"][number // 3 % 3]
    layout = ["chw", "hwc"][number // 2 % 2]
    # Rows with something between them, and some with the bottom one first.
    whole = picture(size[0] + number % 4, size[1], bytes_each, number % 2)
    image = whole[:, :size[0]]
    if number % 5 == 0:
        image = image[::-1]
    planes = 1 if channels == "gray" else 3
    shape = [1, planes, to[1], to[0]] if layout == "chw" else [to[1], to[0], planes]
    mean, std, pad = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (10.0, 114.0, 200.0)
    options = lib.image_options(fit, filter, layout, channels, mean=mean, std=std, pad=pad)
    out = np.full(shape, 9.0, np.float32)
    place = lib.image_to_tensor(image, format, out, options)
    scale = float(np.float32(1 / 255))
    mean, std = np.float32(mean).astype(float), np.float32(std).astype(float)
    want = expected(image, format, to, fit, filter, channels, scale, mean, std, pad)
    got = out[0].transpose(1, 2, 0) if layout == "chw" else out
    what = f"{size} {format} to {to} {fit} {filter} {layout} {channels}"
    within(got, want, 2e-6, what, "f32 against 64 bits")
    levels = np.full(shape, 9, np.uint8)
    lib.image_to_tensor(image, format, levels, options)
    got = levels[0].transpose(1, 2, 0) if layout == "chw" else levels
    want = expected(image, format, to, fit, filter, channels, None, mean, std, pad)
    within(got, want, 0.5001, what, "u8 against 64 bits, in steps")
    maps_back(place, size, to, fit, what)


def maps_back(place, size, to, fit, what):
    for k, (scale, offset) in enumerate([(place.scale_x, place.offset_x), (place.scale_y, place.offset_y)]):
        begin, count, start, places, pixels = geometry(fit, size, to)[k]
        for i in (0, count):
            back = (begin + i - offset) / scale
            check(abs(back - (start + i * pixels / places)) < 1e-6, f"{what}: {back} at {i}")


def antialias_far(lib):
    for width in (5000, 30000):
        image = picture(width, 3, 3, True)
        out = np.zeros((3, 2, 61), np.float32)
        lib.image_to_tensor(image, "rgb", out, lib.image_options(filter="antialias"))
        want = expected(image, "rgb", (61, 2), "stretch", "antialias", "rgb", 1 / 255, [0] * 3, [1] * 3, 0)
        within(out.transpose(1, 2, 0), want, 5e-6, f"{width} wide", "f32 against 64 bits")
    try:
        lib.image_to_tensor(image, "rgb", np.zeros((3, 2, 59), np.float32), lib.image_options(filter="antialias"))
        check(False, "shrinking by more than 500 is not refused")
    except RuntimeError as e:
        check("500" in str(e), str(e))


def against_others(lib):
    """Where others define the same, their bytes are within a step."""
    for size, to in [((1280, 720), (224, 224)), ((1280, 720), (640, 360)), ((320, 200), (640, 480)),
                     ((97, 61), (224, 224)), ((640, 480), (101, 99))]:
        for format, count in [("rgb", 3), ("bgra", 4), ("gray", 1)]:
            image = picture(*size, count)
            colours = image[..., 2::-1] if format == "bgra" else image
            planes = 1 if format == "gray" else 3
            for filter, theirs in [
                ("bilinear", lambda x: cv2.resize(x, to, interpolation=cv2.INTER_LINEAR)),
                ("nearest", lambda x: cv2.resize(x, to, interpolation=cv2.INTER_NEAREST_EXACT)),
                ("antialias", lambda x: pillow(x, to)),
            ]:
                out = np.zeros((to[1], to[0], planes), np.uint8)
                how = lib.image_options(filter=filter, layout="hwc", channels="gray" if planes == 1 else "rgb")
                lib.image_to_tensor(image, format, out, how)
                want = theirs(np.ascontiguousarray(colours)).reshape(out.shape).astype(np.float64)
                if filter == "nearest":
                    # Its fixed point decides for either pixel where a middle is between two.
                    clear = [np.array([(2 * i + 1) * size[k] % (2 * to[k]) != 0 for i in range(to[k])])
                             for k in range(2)]
                    out, want = (x[clear[1]][:, clear[0]] for x in (out, want))
                bound = 0 if filter == "nearest" else 1
                kind = {"bilinear": "u8 against OpenCV", "nearest": "nearest against OpenCV",
                        "antialias": "u8 against Pillow"}[filter]
                within(out, want, bound, f"{size} {format} to {to} {filter}", kind)
    blob(lib)


def pillow(x, to):
    made = Pillow.fromarray(x[..., 0] if x.shape[2] == 1 else x)
    return np.asarray(made.resize(to, Pillow.Resampling.BILINEAR))


def blob(lib):
    """cv2.dnn.blobFromImage, which takes one std for all channels."""
    image, out = picture(1280, 720, 3), np.zeros((1, 3, 224, 224), np.float32)
    mean = (103.5, 116.3, 123.7)
    lib.image_to_tensor(image, "bgr", out, lib.image_options(scale=1.0, mean=mean, std=(57.0,) * 3))
    want = cv2.dnn.blobFromImage(image, 1 / 57.0, (224, 224), mean, swapRB=True)
    # A step of its bytes, normalised.
    within(out, want.astype(np.float64), 1.001 / 57.0, "blobFromImage", "against blobFromImage")


# ---- scores and boxes ----

def scores(lib):
    for rows, count in [(1, 1), (3, 10), (5, 1000), (2, 30522), (7, 17)]:
        x = rng.normal(0, 4, (rows, count)).astype(np.float32)
        wide = x.astype(np.float64)
        powers = np.exp(wide - wide.max(1, keepdims=True))
        within(lib.softmax(x), powers / powers.sum(1, keepdims=True), 4e-6, "softmax", "softmax")
        check((lib.argmax(x) == x.argmax(1)).all(), f"argmax of {count}")
        x[0, ::7] = x[0, 0]
        order = np.argsort(-x[0], kind="stable")
        for k in (1, 5, 100, count + 3):
            places, values = lib.top_k(x[0], k)
            check((places == order[:k]).all() and (values == x[0][order[:k]]).all(), f"top {k} of {count}")


def plain_nms(boxes, scores, classes, score_threshold, iou_threshold, most):
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if not scores[i] > score_threshold or len(kept) == most:
            continue
        for j in kept:
            if classes is not None and classes[i] != classes[j]:
                continue
            low, high = np.maximum(boxes[i, :2], boxes[j, :2]), np.minimum(boxes[i, 2:], boxes[j, 2:])
            both = np.prod(np.maximum(high - low, 0))
            union = np.prod(boxes[i, 2:] - boxes[i, :2]) + np.prod(boxes[j, 2:] - boxes[j, :2]) - both
            if both > iou_threshold * union:
                break
        else:
            kept.append(i)
    return kept


def boxes(lib):
    for count in (0, 1, 5, 300, 1500):
        corner = rng.uniform(0, 400, (count, 2))
        box = np.hstack([corner, corner + rng.uniform(4, 120, (count, 2))]).astype(np.float32)
        score = rng.permutation(np.linspace(0, 1, count)).astype(np.float32)
        kinds = rng.integers(0, 4, count).astype(np.int32)
        for classes in (None, kinds):
            for most in (3, 300):
                got = lib.nms(box, score, classes, score_threshold=0.2, iou_threshold=0.45, max_boxes=most)
                want = plain_nms(box.astype(np.float64), score, classes, 0.2, 0.45, most)
                check(list(got) == list(want), f"nms of {count}, {most}, classes {classes is not None}")
        sides = np.hstack([box[:, :2], box[:, 2:] - box[:, :2]]).astype(np.float32)
        if count:
            got = lib.nms(sides, score, format="xywh", score_threshold=0.2, iou_threshold=0.45, max_boxes=1024)
            theirs = cv2.dnn.NMSBoxes(sides.tolist(), score.tolist(), 0.2, 0.45)
            check(list(got) == list(np.array(theirs).ravel()), f"OpenCV's nms of {count}")
    decoded(lib)


def decoded(lib):
    image, tensor = picture(1280, 720, 3), np.zeros((3, 640, 640), np.float32)
    place = lib.image_to_tensor(image, "rgb", tensor, lib.image_options("letterbox"))
    middle = rng.uniform(0, 640, (8400, 2))
    rows = np.hstack([middle, rng.uniform(1, 90, (8400, 2)), rng.uniform(0, 1, (8400, 81))]).astype(np.float32)
    for objectness in (0, 1):
        for last in (0, 1):
            # [1, 84 or 85, 8400] and the other way round.
            used = rows if objectness else rows[:, :84]
            given = np.ascontiguousarray(used.T if last else used)[None]
            found = lib.decode(given, place, predictions_last=last, has_objectness=objectness, score_threshold=0.9)
            kinds = used[:, 4 + objectness:]
            score = kinds.max(1) * (used[:, 4] if objectness else np.float32(1))
            kept = np.flatnonzero(score > np.float32(0.9))
            half, wide = used[:, 2:4].astype(np.float64) / 2, used[:, :2].astype(np.float64)
            corners = np.hstack([wide - half, wide + half])[kept]
            # 1280 x 720 in 640 x 640: 140 rows above it.
            want = (corners - [0, 140, 0, 140]) / 0.5
            what = f"decode, objectness {objectness}, last {last}"
            check(len(found[0]) == len(kept) and len(kept) > 50, what)
            within(found[0], want, 1e-3, what, "boxes, in pixels of the image")
            check((found[1] == score[kept]).all(), what)
            check((found[2] == kinds.argmax(1)[kept]).all(), what)


# ---- audio ----

def audio(lib):
    for dtype in (np.int16, np.float32):
        for channels, stride in [(1, 1), (2, 2), (1, 3), (6, 8)]:
            for frame, hop in [(400, 160), (512, 512), (25, 24)]:
                total = 5000
                values = rng.integers(-32768, 32768, total * stride)
                x = values.astype(np.int16) if dtype == np.int16 else (values / 40000).astype(np.float32)
                unit = 32768 if dtype == np.int16 else 1
                mono = (x.astype(np.float64) / unit).reshape(-1, stride)[:, :channels].mean(1)
                want = np.lib.stride_tricks.sliding_window_view(mono, frame)[::hop]
                got, at = [], 0
                framer, ring = lib.framer(frame, hop, frame + 333)
                while at < total:
                    some = min(int(rng.integers(1, 334)), total - at)
                    lib.write(framer, x[at * stride:], channels, stride, some)
                    at += some
                    one = np.empty(frame, np.float32)
                    while lib.read(framer, one):
                        got.append(one.copy())
                within(np.array(got), want, 1e-7, f"{dtype} {channels} of {stride}, {frame} by {hop}", "audio")
                check(ring is not None, "the ring lives as long as the framer")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", default="target/release/libinferno.so")
    lib = Library(parser.parse_args().lib)
    cv2.setNumThreads(1)
    for part in (images, against_others, scores, boxes, audio):
        part(lib)
    for kind, apart in worst.items():
        print(f"{kind}: {apart:.3g} apart at most")
    print(f"{counts[True]} passed, {counts[False]} failed")
    return counts[False] > 0


if __name__ == "__main__":
    raise SystemExit(main())
