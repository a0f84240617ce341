"""Torch modules as functions of one vector of weights, and two architectures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from particleflow import _autograd
from particleflow._typing import Gradients, Queries, Values
from particleflow.memo import Spares, Turn, cached_property

Weights: TypeAlias = Float[Tensor, "P"]
ModuleOrFactory: TypeAlias = nn.Module | Callable[[int], nn.Module]

# Points that go through a network at once, which bounds the memory.
CHUNK = 8192

# Dtype and device of the first weights: torch's defaults are the user's to change.
FIRST: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}

# One thread at a time seeds torch's global random state and restores it.
_generator = Turn()


@dataclass(frozen=True)
class Network:
    """u(z; weights): a module whose trainable parameters are one vector (P,).

    Adam and a checkpoint then see plain tensors. The module itself is never changed. It is called
    in evaluation mode (no dropout, no statistics of a batch), so that u is a function. Buffers and
    parameters that need no gradient are `fixed`.
    """

    module: nn.Module

    @cached_property
    def _shapes(self) -> dict[str, torch.Size]:
        return {
            name: value.shape
            for name, value in self.module.named_parameters()
            if value.requires_grad
        }

    @cached_property
    def _copies(self) -> Spares[nn.Module]:
        """Copies of the module, one for each thread that is in the network at the same time."""
        return Spares(partial(_copied, self.module))

    @property
    def size(self) -> int:
        """P."""
        return sum(shape.numel() for shape in self._shapes.values())

    def weights(self, like: Tensor) -> Weights:
        """The module's own weights, a copy (P,) in the dtype and on the device of `like`."""
        values = dict(self.module.named_parameters())
        return torch.cat([values[name].detach().to(like).flatten() for name in self._shapes])

    def fixed(self, like: Tensor) -> dict[str, Tensor]:
        """Copies of all other tensors, by name, on the device of `like`; floats in its dtype."""
        rest = dict(self.module.named_buffers()) | {
            name: v for name, v in self.module.named_parameters() if name not in self._shapes
        }
        dtypes = {
            name: like.dtype if value.is_floating_point() else value.dtype
            for name, value in rest.items()
        }
        return {
            name: value.detach().to(like.device, dtypes[name], copy=True)
            for name, value in rest.items()
        }

    def parts(self, weights: Weights) -> dict[str, Tensor]:
        """The parameters by name, in their shapes: views of `weights`."""
        pieces = weights.split([shape.numel() for shape in self._shapes.values()])
        return {
            name: piece.view(shape)
            for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)
        }

    def __call__(self, weights: Weights, fixed: Mapping[str, Tensor], z: Queries) -> Values:
        with self._copies.one() as module:
            out = functional_call(module, {**fixed, **self.parts(weights)}, (z,))
        if not isinstance(out, Tensor) or out.shape not in ((len(z),), (len(z), 1)):
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"`module` must map (Q, d) to (Q,) or (Q, 1), got {got} for {tuple(z.shape)}: end"
                " it with torch.nn.Linear(..., 1)"
            )
        return out.reshape(-1)

    def slopes(self, weights: Weights, fixed: Mapping[str, Tensor], z: Queries) -> Values:
        """|grad u| at z (Q,), differentiable in the weights."""
        return _lengths(self.gradients(weights, fixed, z))

    def gradients(self, weights: Weights, fixed: Mapping[str, Tensor], z: Queries) -> Gradients:
        """grad u at z (Q, d), differentiable in the weights."""
        leaf = z.detach().requires_grad_(True)
        out = self(weights, fixed, leaf).sum()
        return torch.autograd.grad(out, leaf, create_graph=True)[0]


@dataclass(frozen=True)
class Perceptron(Network):
    """The network of `mlp`, whose gradient by z is written out.

    With a_k = W_k h_(k-1) + b_k and h_k = a_k sigmoid(a_k) it is the product of the transposed
    W_k diag(h'(a_k)). So the slopes of a penalty are differentiated once and not twice, and a
    step of Adam takes two thirds of the time.
    """

    def __call__(self, weights: Weights, fixed: Mapping[str, Tensor], z: Queries) -> Values:
        *hidden, last = self._layers(weights)
        for matrix, bias in hidden:
            z = nn.functional.silu(nn.functional.linear(z, matrix, bias))
        return nn.functional.linear(z, *last).reshape(-1)

    def gradients(self, weights: Weights, fixed: Mapping[str, Tensor], z: Queries) -> Gradients:
        *hidden, (gradient, _) = self._layers(weights)
        derivatives = []
        for matrix, bias in hidden:
            a = nn.functional.linear(z, matrix, bias)
            sigmoid = torch.sigmoid(a)
            z = a * sigmoid
            derivatives.append(sigmoid + z * (1 - sigmoid))
        for (matrix, _), derivative in zip(reversed(hidden), reversed(derivatives), strict=True):
            gradient = (derivative * gradient) @ matrix
        return gradient

    def _layers(self, weights: Weights) -> list[tuple[Tensor, Tensor]]:
        """Each layer's matrix and bias."""
        parts = list(self.parts(weights).values())
        return list(zip(parts[::2], parts[1::2], strict=True))


def _lengths(vectors: Gradients) -> Values:
    """The lengths of the rows; the root has no derivative at 0, where a network is constant."""
    return (vectors**2).sum(1).clamp_min(torch.finfo(vectors.dtype).tiny).sqrt()


def _copied(module: nn.Module) -> nn.Module:
    """A copy of the modules that holds the same tensors.

    functional_call exchanges a module's tensors for a while, which other threads would see.
    """
    held = [
        value
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor)
    ]
    return copy.deepcopy(
        module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers(), *held)}
    )


def built(module: ModuleOrFactory, dim: int, seed: int, kind: type[Network] = Network) -> Network:
    """The network of a module, or of a factory called with d, which draws from `seed`.

    torch's global random state is as before.
    """
    if isinstance(module, nn.Module):
        return kind(module)
    with _generator, torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.default_generator.manual_seed(seed)
        made = module(dim)
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"`module` must make a torch module from the dimension, got {type(made).__name__}: e.g."
            " lambda d: torch.nn.Linear(d, 1)"
        )
    check_module(made)
    return kind(made.eval())


def check_module(module: nn.Module) -> None:
    """Refuse a module with nothing to train, or with complex weights."""
    trained = [value for value in module.parameters() if value.requires_grad]
    if not trained:
        raise ValueError(
            f"`module` must have parameters that need a gradient, got {type(module).__name__} with"
            " none: there is nothing to train"
        )
    if any(not value.is_floating_point() for value in trained):
        raise TypeError(
            f"`module` must have real parameters, got {type(module).__name__} with complex ones:"
            " take real and imaginary part apart"
        )


def value_and_grad(function: Callable[[Tensor], Tensor], z: Queries) -> tuple[Values, Gradients]:
    """A function of points and its gradient by automatic differentiation, CHUNK points at a time.

    The function's rows must not depend on each other.
    """
    parts = []
    for rows in z.split(CHUNK):
        with _autograd.recording():
            leaf = _autograd.leaf(rows)
            out = function(leaf)
            (grad,) = torch.autograd.grad(out.sum(), leaf)
        parts.append((out.detach(), grad))
    value, grad = (torch.cat(part) for part in zip(*parts, strict=True))
    return value, grad


@torch.no_grad()
def values(function: Callable[[Tensor], Tensor], z: Queries) -> Values:
    """A function of points, CHUNK at a time."""
    return torch.cat([function(rows) for rows in z.split(CHUNK)])


def mlp(dim: int, width: int, depth: int) -> nn.Module:
    """R^d -> R with `depth` hidden layers of `width` and x sigmoid(x) between: smooth."""
    layers: list[nn.Module] = []
    for fan in [dim, *[width] * (depth - 1)]:
        layers += [nn.Linear(fan, width, **FIRST), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(width, 1, **FIRST))


class GroupSort(nn.Module):
    """(a, b) -> (max, min) for each of width / 2 pairs (Anil, Lucas and Grosse 2019).

    It is 1-Lipschitz, and no gradient loses its length.
    """

    def forward(self, z: Tensor) -> Tensor:
        first, second = z.chunk(2, dim=-1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=-1)


class ShortLinear(nn.Linear):
    """z -> S z + b with S = (3 W - W W^T W) / 2, so that |S| <= 1 wherever |W| <= 1.

    A singular value s of W in [0, 1] becomes s (3 - s^2) / 2, again in [0, 1] (Bjorck and Bowie
    1971). At s = 1 the derivative by s is 0: a gradient in W turns S and does not push it against
    the bound. With z -> W z it would push, and Adam, which scales every entry on its own, would
    come to rest at the bound beside the optimum.
    """

    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.linear(z, shortened(self.weight), self.bias)


def shortened(matrix: Tensor) -> Tensor:
    """S of W, scaled by 1 - 64 eps, so that |S| <= 1 holds after rounding."""
    cube = (
        (matrix @ matrix.T) @ matrix
        if matrix.shape[0] < matrix.shape[1]
        else matrix @ (matrix.T @ matrix)
    )
    return (1 - 64 * torch.finfo(matrix.dtype).eps) * (1.5 * matrix - 0.5 * cube)


def cut(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are at most 1."""
    if matrix.shape[0] < matrix.shape[1]:
        return cut(matrix.T).T
    squares, axes = torch.linalg.eigh(matrix.T @ matrix)
    return matrix @ (axes / squares.clamp_min(1).sqrt()) @ axes.T


def sorting_mlp(dim: int, width: int, depth: int) -> nn.Module:
    """R^d -> R with layers `ShortLinear` and `GroupSort` between: 1-Lipschitz while |W| <= 1.

    The first weights are orthonormal.
    """
    layers: list[nn.Module] = []
    for fan in [dim, *[width] * (depth - 1)]:
        layers += [ShortLinear(fan, width, **FIRST), GroupSort()]
    network = nn.Sequential(*layers, ShortLinear(width, 1, **FIRST))
    for layer in network:
        if isinstance(layer, ShortLinear):
            nn.init.orthogonal_(layer.weight)
    return network
