"""Writes the seeds that are made and not typed: python fuzz/seeds/make.py (nothing but Python 3).

Small files say more to a fuzzer than real ones: each byte of them matters.
"""
import collections
import io
import json
import pathlib
import pickle
import struct
import sys
import types
import zipfile

HERE = pathlib.Path(__file__).parent


def seed(target, name, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


def floats(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def make_safetensors():
    two = {"a.weight": ("F32", [2, 2], floats(1, 2, 3, 4)), "a.bias": ("F16", [2], b"\0<\0<")}
    seed("safetensors", "two", safetensors(two, {"format": "pt"}))
    kinds = {
        "f64": ("F64", [1], struct.pack("<d", 0.5)),
        "bf16": ("BF16", [1, 1], b"\x80?"),
        "i64": ("I64", [], struct.pack("<q", -1)),
        "bytes": ("U8", [3], b"abc"),
        "none": ("BOOL", [0, 7], b""),
    }
    seed("safetensors", "kinds", safetensors(kinds))
    seed("safetensors", "empty", safetensors({}))


class Storage:
    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


class Tensor:
    def __init__(self, storage, offset, shape, stride):
        self.args = (storage, offset, shape, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.args


class Pickler(pickle._Pickler):
    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", value.kind, value.key, "cpu", value.count)
        return None


def pickled(value):
    out = io.BytesIO()
    Pickler(out, 2).dump(value)
    return out.getvalue()


def archive(value, storages):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        def add(name, data):
            file.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), data)

        add("data.pkl", pickled(value))
        add("byteorder", b"little")
        for key, raw in storages.items():
            add(f"data/{key}", raw)
        add("version", b"3\n")
    return out.getvalue()


def make_pytorch():
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*args):
        return args

    for function in (_rebuild_tensor_v2,):
        function.__module__, function.__qualname__ = "torch._utils", function.__name__
        setattr(utils, function.__name__, function)
    for name in ("FloatStorage", "HalfStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils

    weight = Storage(torch.FloatStorage, "0", 4)
    bias = Storage(torch.HalfStorage, "1", 2)
    step = Storage(torch.LongStorage, "2", 1)
    storages = {"0": floats(1, 2, 3, 4), "1": b"\0<\0<", "2": struct.pack("<q", 7)}
    plain = collections.OrderedDict(
        [("a.weight", Tensor(weight, 0, (2, 2), (2, 1))), ("a.bias", Tensor(bias, 0, (2,), (1,)))]
    )
    seed("pytorch", "plain", archive(plain, storages))
    turned = {"a.weight": Tensor(weight, 1, (3,), (1,)), "b": Tensor(weight, 0, (2, 2), (1, 2))}
    trained = {"state_dict": turned, "epoch": 3, "rate": 0.5, "steps": Tensor(step, 0, (), ())}
    seed("pytorch", "trained", archive(trained, storages))
    seed("pytorch", "pickle", pickled({"a": [1, 2.5, "text", None, True, (1, 2)], "b": {}}))


def cbor(value):
    def head(major, number):
        if number < 24:
            return bytes([major << 5 | number])
        if number < 256:
            return bytes([major << 5 | 24, number])
        return bytes([major << 5 | 25]) + number.to_bytes(2, "big")

    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    pairs = (cbor(key) + cbor(item) for key, item in value.items())
    return head(5, len(value)) + b"".join(pairs)


def record(tensors, metadata):
    described, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        data += b"\0" * (-len(data) % 256)
        described[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = cbor({"tensors": described, "metadata": metadata})
    head = struct.pack("<IHI", 0x4255524E, 1, len(text)) + text
    return head + b"\0" * (-len(head) % 256) + data


def make_record():
    two = {"a": ("F32", [2, 2], floats(1, 2, 3, 4)), "b": ("F16", [2], b"\0<\0<")}
    seed("record", "two", record(two, {"omnizap_format": "4", "model": "m"}))
    seed("record", "empty", record({}, {}))


def make_values():
    text = b"\x03abc"
    number = struct.pack("<d", 1.5)
    values = {
        "bytes": text,
        "image": b"\x01\x01\x01" + bytes(range(12)),
        "embedding": b"\x04\x01m" + floats(1, 2, 3, 4),
        "scores": b"\x02" + (text + number + number) * 2,
        "tensor": b"\x03\x02\x01\x02\x00" + floats(1, 2, 3, 4),
        "text": text,
        "text_list": b"\x02" + text + text,
        "number": number,
        "integer": struct.pack("<q", -5),
        "bool": b"\x01",
        "json": b"\x0b" + b'{"a":[1,2]}',
    }
    # Read again it has another last digit.
    seed("values", "json_number", bytes([10, 56]) + b"8" * 56 + b"\0\0\0")
    for kind, (name, data) in enumerate(values.items()):
        seed("values", name, bytes([kind]) + data + b"\0\0\0")
        # In the plugin's own memory, and spoiled in one way or another.
        seed("values", f"{name}_spoiled", bytes([kind]) + data + bytes([2, kind + 1, 9, 9, 9, 9, 0]))


CONDITIONS = {
    "json": ("has(j.kind) && j.kind == 'x' || j.list[0].n > 1.5", '{"kind": "x", "list": [{"n": 2}]}'),
    "loops": ("t != null && (j.list.exists(x, x.n % 2 == 1) ? size(t) > 2 : b == true)", '{"list": [{"n": 3}], "t": "abc"}'),
    "numbers": ("i != null && i + 9223372036854775807 > 0", '{"i": 1, "n": 0.5}'),
    "texts": ("t.orValue('').matches('^(a+)+$') && 'a' in l.orValue([])", '{"t": "aaaa", "l": ["a"]}'),
    "variable": ("'${A}' == t || j in [1, 2] || n in [0.5]", '{"n": 0.5}'),
    "nothing": ("true", ""),
}


def make_conditions():
    for name, (expression, sent) in CONDITIONS.items():
        seed("condition", name, f"{expression}\n{sent}".encode())


def form(content_type, *parts, boundary="b"):
    body = "".join(f"--{boundary}\r\n{head}\r\n\r\n{data}\r\n" for head, data in parts)
    return f"{content_type}\n{body}--{boundary}--\r\n".encode()


def make_forms():
    name = 'Content-Disposition: form-data; name="{}"'.format
    plain = "multipart/form-data; boundary=b"
    file = name("file") + '; filename="a.png"\r\nContent-Type: image/png'
    seed("form", "plain", form(plain, (name("theme"), "cats"), (file, "\x89PNG\x00")))
    seed("form", "twice", form(plain, (name("l"), "a"), (name("l"), ""), (name("l"), "\r\n--bc")))
    odd = "content-disposition:form-data;\r\n filename*=UTF-8''a%20b;name=f"
    seed("form", "odd", form('Multipart/Form-Data; charset=utf-8; boundary="a b"', (odd, "x"), boundary="a b"))
    old = (name("_charset_"), "windows-1252"), (name("t"), "caf")
    seed("form", "charset", form(plain, *old).replace(b"caf", b"caf\xe9"))
    seed("form", "preamble", form(plain, (name("a"), "1")).replace(b"\n", b"\npreamble\r\n", 1))


for make in (
    make_safetensors, make_pytorch, make_record, make_values, make_conditions, make_forms,
):
    make()
