"""The average of weights, against its formula."""

import torch

from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.training.averaging import AveragedNetwork, names_of, trained_tensors


def network() -> NequIP:
    torch.manual_seed(1)
    return NequIP(new_spec([1, 8], layers=2, l_max=1, channels=(4, 4), radial_hidden=(8,)))


def test_the_formula():
    """a <- d a + (1 - d) w with d = min(0.5, (1 + n) / (10 + n)), for n = 1, 2, ..."""
    source = network()
    tensors = trained_tensors(source, train_scales=True)
    average = AveragedNetwork(source, tensors, decay=0.5)
    expected = [t.detach().clone() for t in tensors]
    for n in range(1, 15):
        with torch.no_grad():
            for tensor in tensors:
                tensor.add_(torch.randn_like(tensor))
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = [
            decay * a + (1 - decay) * w.detach() for a, w in zip(expected, tensors, strict=True)
        ]
    kept = dict(average.network.state_dict())
    for name, tensor in zip(names_of(source, tensors), expected, strict=True):
        torch.testing.assert_close(kept[name], tensor, rtol=1e-12, atol=1e-12)


def test_no_decay_is_the_last_weights():
    source = network()
    tensors = trained_tensors(source, train_scales=False)
    average = AveragedNetwork(source, tensors, decay=0.0)
    with torch.no_grad():
        tensors[0].fill_(3.0)
    average.update()
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, average.network.state_dict()[name])


def test_scales_are_trained_only_if_asked():
    source = network()
    assert "shift" not in names_of(source, trained_tensors(source, train_scales=False))
    assert {"scale", "shift"} <= set(names_of(source, trained_tensors(source, train_scales=True)))


def test_the_average_needs_no_gradient():
    source = network()
    average = AveragedNetwork(source, trained_tensors(source, True), 0.9)
    assert not any(t.requires_grad for t in average.network.state_dict(keep_vars=True).values())
