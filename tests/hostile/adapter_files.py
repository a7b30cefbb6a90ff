"""Adapters made of one that lorank brings: as large as one likes, or with weights that overflow."""

import glob
import json
import os
import struct
import tempfile

from harness import WORK, run

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def starter(name="minilm-science"):
    """The folder of an adapter that lorank brings."""
    data = tempfile.mkdtemp(prefix="starter-", dir=WORK)
    run("adapters", "add", "a", name, "--data", data)
    [weights] = glob.glob(os.path.join(data, "**", WEIGHTS), recursive=True)
    return os.path.dirname(weights)


def changed(folder, name, change, **config):
    """A copy of an adapter in a new folder. `change(name, shape, bytes)` gives each tensor's shape and bytes in it."""
    to = os.path.join(WORK, name)
    os.makedirs(to)
    with open(os.path.join(folder, CONFIG)) as file:
        settings = json.load(file)
    with open(os.path.join(to, CONFIG), "w") as file:
        json.dump({**settings, **config}, file)
    with open(os.path.join(folder, WEIGHTS), "rb") as file:
        data = file.read()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header, tensors, length = {}, [], 0
    for tensor, facts in json.loads(data[8:begin]).items():
        if tensor != "__metadata__":
            first, last = facts["data_offsets"]
            shape, values = change(tensor, facts["shape"], data[begin + first:begin + last])
            header[tensor] = {"dtype": facts["dtype"], "shape": shape, "data_offsets": [length, length + len(values)]}
            tensors.append(values)
            length += len(values)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(os.path.join(to, WEIGHTS), "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        file.writelines(tensors)
    return to


def large(folder, name, factor):
    """An adapter that scores as another does, of `factor` times its rank: its update once more for each, divided by their number."""
    def repeat(tensor, shape, values):
        if ".lora_A." in tensor:
            return [shape[0] * factor, shape[1]], values * factor
        if ".lora_B." in tensor:
            row = shape[1] * 4
            return [shape[0], shape[1] * factor], b"".join(values[n:n + row] * factor for n in range(0, len(values), row))
        return shape, values

    with open(os.path.join(folder, CONFIG)) as file:
        rank = json.load(file)["r"]
    return changed(folder, name, repeat, r=rank * factor)


def overflowing(folder, name):
    """An adapter whose weights are far too large."""
    huge = struct.pack("<f", 1e30)
    return changed(folder, name, lambda tensor, shape, values: (shape, huge * (len(values) // 4) if ".lora_B." in tensor else values))
