# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.utils import set_determinism
from torch import nn
from torch.nn import functional as F  # noqa: N812

from monai_bbox_mil.networks import ENet, ResidualUNet
from monai_bbox_mil.networks.enet import _ENetUp

Build = Callable[..., nn.Module]


def small_residual_unet(in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    return ResidualUNet(in_channels, out_channels, features=(4, 8, 16, 32, 64))


def small_enet(in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    return ENet(in_channels, out_channels, features=8)


def deep_enet(in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    return ENet(in_channels, out_channels, features=8, deep_supervision=True)


SMALL = [pytest.param(small_residual_unet, id="ResidualUNet"), pytest.param(small_enet, id="ENet")]


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    set_determinism(seed=0)
    yield
    set_determinism(seed=None)


def with_running_statistics(network: nn.Module) -> nn.Module:
    """Randomise batch norm's statistics as after some training: its initial ones hide wrong biases and slopes."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


@pytest.mark.parametrize(("network_class", "expected"), [(ResidualUNet, 19_644_961), (ENet, 459_530)])
def test_number_of_parameters_matches_the_published_code(network_class: Build, expected: int):
    network = network_class(in_channels=1, out_channels=1)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


# Computed in float64 by a separate implementation of the published code, with the weights of `_fill`: the mean and
# the standard deviation of the logits, and the logits at (5, 7), (40, 30) and (0, 0).
@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (small_residual_unet, (0.01080542, 0.15840548, -0.14016729, -0.06612319, 0.24472648)),
        (ENet, (0.32607081, 0.02590117, 0.36609913, 0.30967109, 0.33344566)),
    ],
    ids=["ResidualUNet", "ENet"],
)
def test_function_matches_the_published_code(build: Build, expected: tuple[float, ...]):
    network = build()
    _fill(network)
    x = torch.sin(torch.arange(48 * 32, dtype=torch.float64) * 0.7).view(1, 1, 48, 32)
    logits = network.double().eval()(x)[0, 0]
    found = (logits.mean(), logits.std(), logits[5, 7], logits[40, 30], logits[0, 0])
    assert [value.item() for value in found] == pytest.approx(expected, abs=1e-7)


@torch.no_grad()
def _fill(network: nn.Module) -> None:
    for i, parameter in enumerate(network.parameters()):
        wave = torch.cos(torch.arange(parameter.numel(), dtype=torch.float64) + i).view(parameter.shape)
        fan_in = parameter.numel() / parameter.shape[0]
        parameter.copy_(wave * (2 / fan_in) ** 0.5 if parameter.dim() > 1 else 0.5 + 0.2 * wave)
    for module in network.modules():
        if isinstance(module, _ENetUp):
            nn.init.ones_(module[-1].weight)


@pytest.mark.parametrize("build", SMALL)
@pytest.mark.parametrize("size", [(1, 1), (7, 50), (16, 16), (33, 64)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 2)])
def test_logits_have_the_size_of_the_image(build: Build, size: tuple[int, int], in_channels: int, out_channels: int):
    network = build(in_channels, out_channels).eval()
    assert network(torch.randn(2, in_channels, *size)).shape == (2, out_channels, *size)


@pytest.mark.parametrize(
    ("build", "padded"),
    [(small_residual_unet, (48, 64)), (small_enet, (40, 56))],
    ids=["ResidualUNet", "ENet"],
)
def test_an_image_of_odd_size_is_padded_with_zeros(build: Build, padded: tuple[int, int]):
    network = with_running_statistics(build())
    x = torch.randn(2, 1, 37, 50)
    whole = network(F.pad(x, (0, padded[1] - 50, 0, padded[0] - 37)))
    assert torch.equal(network(x), whole[:, :, :37, :50])


@pytest.mark.parametrize("build", SMALL)
def test_output_is_linear_in_the_head(build: Build):
    network = with_running_statistics(build(1, 2))
    x = torch.randn(1, 1, 32, 32)
    before = network(x)
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(128)
    assert torch.equal(network(x), 128 * before)


@pytest.mark.parametrize("build", SMALL)
@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (1, 16, 16), (1, 1, 16, 16, 16), (0, 1, 16, 16), (1, 1, 0, 16)])
def test_wrong_shapes_raise(build: Build, shape: tuple[int, ...]):
    with pytest.raises(ValueError) as error:
        build()(torch.zeros(shape))
    assert str(error.value) == f"x must be a non-empty batch (B, 1, H, W), got shape {list(shape)}."


@pytest.mark.parametrize(("build", "longest"), [(small_residual_unet, 16), (small_enet, 8)])
def test_a_single_deep_pixel_cannot_train(build: Build, longest: int):
    network = build().train()
    with pytest.raises(ValueError, match=rf"x must have .* longer than {longest} pixels.*\[1, 1, {longest}, 3\]"):
        network(torch.zeros(1, 1, longest, 3))
    assert network(torch.zeros(2, 1, longest, 3)).shape == (2, 1, longest, 3)
    assert network(torch.zeros(1, 1, 3, longest + 1)).shape == (1, 1, 3, longest + 1)
    assert network.eval()(torch.zeros(1, 1, longest, 3)).shape == (1, 1, longest, 3)


@pytest.mark.parametrize(
    ("network_class", "arguments", "message"),
    [
        (ResidualUNet, {"in_channels": 0}, "in_channels must be at least 1, got 0"),
        (ResidualUNet, {"out_channels": 0}, "out_channels must be at least 1, got 0"),
        (ResidualUNet, {"features": (8,)}, r"features must be at least two positive numbers, .*, got \(8,\)"),
        (
            ResidualUNet,
            {"features": (8, 0)},
            r"features must be at least two positive numbers, .*, got \(8, 0\)",
        ),
        (ENet, {"in_channels": 0}, "in_channels must be at least 1 .*, got 0"),
        (ENet, {"in_channels": 16}, r"in_channels must be .* less than features \(16\).*, got 16"),
        (ENet, {"out_channels": 0}, "out_channels must be at least 1, got 0"),
        (ENet, {"features": 18}, "features must be a positive multiple of 4, got 18"),
        (ENet, {"dropout_prob": (0.1,)}, r"dropout_prob must be two probabilities .*, got \(0.1,\)"),
        (ENet, {"dropout_prob": (0.1, 1.0)}, r"dropout_prob must be two probabilities .*, got \(0.1, 1.0\)"),
    ],
)
def test_wrong_arguments_raise(network_class: Build, arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        network_class(**arguments)


@pytest.mark.parametrize("build", SMALL)
@pytest.mark.parametrize(
    "compile_", [torch.jit.script, lambda network: torch.jit.trace(network, torch.randn(1, 2, 16, 16))]
)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
def test_torchscript_round_trip(build: Build, compile_: Callable[[nn.Module], torch.jit.ScriptModule]):
    network = with_running_statistics(build(2, 3))
    file = io.BytesIO()
    torch.jit.save(compile_(network), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    for shape in [(1, 2, 16, 16), (3, 2, 21, 38)]:
        x = torch.randn(shape)
        torch.testing.assert_close(loaded(x), network(x))


def shallow_residual_unet() -> nn.Module:
    return ResidualUNet(2, 3, features=(4, 8))


def shallow_enet() -> nn.Module:
    # Keep one bottleneck of each kind, because exporting all of them takes three times as long.
    network = small_enet(2, 3)
    network.stage1, network.stage2, network.stage3 = nn.Identity(), network.stage2[0], network.stage3[-2:]
    return network


@pytest.mark.parametrize("build", [shallow_residual_unet, shallow_enet], ids=["ResidualUNet", "ENet"])
def test_onnx_of_any_batch_and_size(build: Build, tmp_path: Path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    network = with_running_statistics(build())
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    file = tmp_path / "network.onnx"
    x = torch.randn(2, 2, 32, 40)
    torch.onnx.export(network, (x,), file, dynamo=True, dynamic_shapes=(sizes,), verbose=False)

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in [(2, 2, 32, 40), (1, 2, 21, 38), (3, 2, 5, 1)]:
        x = torch.randn(shape)
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(found), network(x).detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("build", [*SMALL, pytest.param(deep_enet, id="ENet with side heads")])
def test_every_trained_parameter_gets_a_gradient(build: Build):
    network = with_running_statistics(build(2, 3)).train()
    # In training mode, batch norm removes the mean, and with it the gradient of the bias before it.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    network(torch.randn(2, 2, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("build", SMALL)
def test_images_of_a_batch_are_independent_in_eval_mode(build: Build):
    network = with_running_statistics(build())
    x = torch.randn(3, 1, 24, 40)
    torch.testing.assert_close(network(x[1:2]), network(x)[1:2])


@pytest.mark.parametrize("build", SMALL)
def test_a_network_can_overfit_one_image(build: Build):
    network = build().train()
    x = torch.zeros(1, 1, 48, 48)
    x[..., 10:30, 15:40] = 1
    target = x.clone()
    x += 0.2 * torch.randn_like(x)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(network(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("build", SMALL)
def test_autocast(build: Build):
    network = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = network(torch.randn(2, 1, 20, 24)).float().square().mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("build", SMALL)
def test_a_metatensor_gives_the_same_result_as_a_tensor(build: Build):
    network = with_running_statistics(build())
    x = torch.randn(2, 1, 20, 24)
    assert torch.equal(torch.as_tensor(network(MetaTensor(x))), network(x))


@pytest.mark.parametrize("build", SMALL)
def test_the_seed_determines_the_weights(build: Build):
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(build())
    first, same, other = ([parameter.detach() for parameter in network.parameters()] for network in networks)
    assert all(map(torch.equal, first, same))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True) if a.dim() > 1)


@pytest.mark.parametrize(
    ("build", "children"),
    [
        (small_residual_unet, {"encoder", "bridge", "decoder", "head"}),
        (
            small_enet,
            {"entry", "down1", "stage1", "down2", "stage2", "stage3", "up1", "up1_act", "stage4", "up2"}
            | {"up2_act", "up3", "head", "side_head_half", "side_head_quarter"},
        ),
    ],
    ids=["ResidualUNet", "ENet"],
)
def test_state_dict(build: Build, children: set[str]):
    network = with_running_statistics(build())
    state = network.state_dict()
    assert {key.split(".")[0] for key in state} == children
    batch_norm = {"running_mean", "running_var", "num_batches_tracked"}
    assert {key.split(".")[-1] for key in state} == {"weight", "bias"} | batch_norm

    twin = build().eval()
    x = torch.randn(1, 1, 32, 32)
    assert not torch.equal(twin(x), network(x))
    twin.load_state_dict(state, strict=True)
    assert torch.equal(twin(x), network(x))
