"""Which device computes."""

import pytest
import torch

from fastequi import device as devices
from fastequi.errors import InputError


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    for there, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert devices.choose_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(InputError, match=f"device = '{name}' cannot be used"):
        devices.choose_device(name)


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [("auto", 4, "cuda:1"), ("cuda", 2, "cuda:1"), ("cuda:0", 2, "cannot share one GPU"),
     ("cuda", 1, "a machine with 1 GPUs"), ("cpu", 2, "cpu")],
)  # fmt: skip
def test_every_process_has_its_own_gpu(monkeypatch, device, gpus, expected):
    chosen = torch.device("cuda" if device == "auto" else device)
    monkeypatch.setattr(devices, "choose_device", lambda name: chosen)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    if expected.startswith("c") and "GPU" not in expected:
        assert str(devices.device_of_process(device)) == expected
        return
    with pytest.raises(InputError, match=expected):
        devices.device_of_process(device)
