"""The pre- and post-processing of the C header, for NumPy arrays."""

import ctypes as c

import numpy as np

FORMATS = {"rgb": 0, "bgr": 1, "rgba": 2, "bgra": 3, "gray": 4}
FITS = {"stretch": 0, "letterbox": 1, "letterbox_top_left": 2, "cover": 3}
FILTERS = {"bilinear": 0, "antialias": 1, "nearest": 2}
ORDERS = {"rgb": 0, "bgr": 1, "gray": 2}
BOXES = {"xyxy": 0, "cxcywh": 1, "xywh": 2}
F32, U8, I16 = 1, 2, 5


class Tensor(c.Structure):
    _fields_ = [("dtype", c.c_int32), ("rank", c.c_int32), ("dims", c.c_int64 * 8),
                ("data", c.c_void_p), ("size_bytes", c.c_size_t)]


class Image(c.Structure):
    _fields_ = [("pixels", c.c_void_p), ("stride_bytes", c.c_int64), ("width", c.c_int32),
                ("height", c.c_int32), ("format", c.c_int32)]


class ImageOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("fit", c.c_int32), ("filter", c.c_int32),
                ("layout", c.c_int32), ("channels", c.c_int32), ("scale", c.c_float),
                ("mean", c.c_float * 3), ("std", c.c_float * 3), ("pad", c.c_float * 3)]


class ImageMap(c.Structure):
    _fields_ = [(name, c.c_double) for name in ("scale_x", "scale_y", "offset_x", "offset_y")]


class NmsOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("format", c.c_int32), ("score_threshold", c.c_float),
                ("iou_threshold", c.c_float), ("max_boxes", c.c_uint32)]


class DecodeOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("format", c.c_int32),
                ("predictions_last", c.c_int32), ("has_objectness", c.c_int32),
                ("score_threshold", c.c_float)]


class Framer(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("ring", c.c_void_p)] + [
        (name, c.c_size_t)
        for name in ("ring_samples", "frame_samples", "hop_samples", "begin", "filled")]


class Library:
    def __init__(self, path):
        self.lib = c.CDLL(str(path))
        self.lib.inferno_last_error.restype = c.c_char_p

    def call(self, name, *args):
        if getattr(self.lib, name)(*args) != 0:
            raise RuntimeError(f"{name}: {self.lib.inferno_last_error().decode()}")

    def options(self, kind, name, **given):
        made = kind()
        self.call(name, c.byref(made), c.c_size_t(c.sizeof(made)))
        for field, value in given.items():
            old = getattr(made, field)
            setattr(made, field, tuple(value) if isinstance(old, c.Array) else value)
        return made

    def image_options(self, fit="stretch", filter="bilinear", layout="chw", channels="rgb", **more):
        return self.options(ImageOptions, "inferno_image_options_init", fit=FITS[fit],
                            filter=FILTERS[filter], layout=int(layout == "hwc"),
                            channels=ORDERS[channels], **more)

    def image_to_tensor(self, image, format, out, options):
        """`image` may be a view with strides between its rows."""
        place = ImageMap()
        self.call("inferno_image_to_tensor", c.byref(image_of(image, format)), c.byref(options),
                  c.byref(tensor_of(out)), c.byref(place))
        return place

    def softmax(self, x):
        y = np.empty_like(x)
        self.call("inferno_softmax", ptr(x), ptr(y), c.c_size_t(x.shape[0]), c.c_size_t(x.shape[1]))
        return y

    def argmax(self, x):
        found = np.empty(x.shape[0], np.uintp)
        self.call("inferno_argmax", ptr(x), c.c_size_t(x.shape[0]), c.c_size_t(x.shape[1]), ptr(found))
        return found

    def top_k(self, x, k):
        places, values, count = np.empty(k, np.uintp), np.empty(k, np.float32), c.c_size_t()
        self.call("inferno_top_k", ptr(x), c.c_size_t(len(x)), c.c_size_t(k), ptr(places),
                  ptr(values), c.byref(count))
        return places[:count.value], values[:count.value]

    def nms(self, boxes, scores, classes=None, format="xyxy", **more):
        how = self.options(NmsOptions, "inferno_nms_options_init", format=BOXES[format], **more)
        places, count = np.empty(max(len(scores), 1), np.uintp), c.c_size_t()
        self.call("inferno_boxes_nms", ptr(boxes), ptr(scores),
                  None if classes is None else ptr(classes), c.c_size_t(len(scores)), c.byref(how),
                  ptr(places), c.byref(count))
        return places[:count.value]

    def decode(self, predictions, map=None, format="cxcywh", **more):
        how = self.options(DecodeOptions, "inferno_decode_options_init", format=BOXES[format], **more)
        room, count = predictions.size, c.c_size_t()
        boxes, scores = np.empty((room, 4), np.float32), np.empty(room, np.float32)
        classes = np.empty(room, np.int32)
        self.call("inferno_boxes_decode", c.byref(tensor_of(predictions)), c.byref(how),
                  None if map is None else c.byref(map), ptr(boxes), ptr(scores), ptr(classes),
                  c.c_size_t(room), c.byref(count))
        return boxes[:count.value], scores[:count.value], classes[:count.value]

    def framer(self, frame, hop, room):
        made, ring = Framer(), np.zeros(room, np.float32)
        self.call("inferno_audio_framer_init", c.byref(made), c.c_size_t(c.sizeof(made)), ptr(ring),
                  c.c_size_t(room), c.c_size_t(frame), c.c_size_t(hop))
        return made, ring

    def write(self, framer, samples, channels, stride, count):
        dtype = I16 if samples.dtype == np.int16 else F32
        self.call("inferno_audio_framer_write", c.byref(framer), ptr(samples), dtype,
                  c.c_size_t(channels), c.c_size_t(stride), c.c_size_t(count))

    def read(self, framer, frame):
        is_read = c.c_int32()
        self.call("inferno_audio_framer_read", c.byref(framer), ptr(frame), c.c_size_t(len(frame)),
                  c.byref(is_read))
        return bool(is_read.value)


def ptr(array):
    return c.c_void_p(array.ctypes.data)


def image_of(image, format):
    return Image(image.ctypes.data, image.strides[0], image.shape[1], image.shape[0], FORMATS[format])


def tensor_of(array):
    made = Tensor({"float32": F32, "uint8": U8}[str(array.dtype)], array.ndim)
    made.dims[:array.ndim] = array.shape
    made.data, made.size_bytes = array.ctypes.data, array.nbytes
    return made
