"""Adam on minibatches of standardised points, with memory from which a run goes on bit for bit."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from particleflow import _checks
from particleflow._autograd import plain
from particleflow._typing import Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.trained.batches import Batch, Batches
from particleflow.estimators.trained.network import (
    ModuleOrFactory,
    Network,
    Perceptron,
    Weights,
    built,
    check_module,
    mlp,
)
from particleflow.memo import Memo, cached_property
from particleflow.subsets import lasting_order

# Added to the root in Adam's step, in units of the loss's gradient by the weights.
EPSILON = 1e-8
# The prefix of the names of a network's fixed tensors in memory.
FIXED = "fixed."


@dataclass(frozen=True)
class Learned:
    """A network with its trained weights: u as a function of points in their own units."""

    network: Network
    weights: Weights
    fixed: Memory
    shift: Float[Tensor, "d"]
    scale: Float[Tensor, "d"]

    def __call__(self, z: Queries) -> Values:
        return self.network(self.weights, self.fixed, (z - self.shift) / self.scale)


@dataclass(frozen=True)
class Trained(ABC):
    r"""Train a network u((z - shift) / scale) by Adam, on from fit to fit.

    With g the gradient of the loss and n the count of all steps, each step of Adam is

    .. math::

        \begin{aligned}
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        s &\leftarrow \beta_2 s + (1 - \beta_2) g^2 \\
        \theta &\leftarrow \theta - \eta\,
            \frac{m / (1 - \beta_1^n)}{\sqrt{s / (1 - \beta_2^n)} + 10^{-8}}
        \end{aligned}

    The first fit takes `first_steps` steps, each further one `steps`. Inputs are standardised by
    the mean and the deviation of both clouds of the first fit, with half of the mass each.

    Memory holds the weights, Adam's moments and count, shift and scale, and an order of the rows.
    Minibatches are drawn from the rows in that order, with random numbers of the clock. So the
    order in which the rows come changes nothing, and a run goes on bit for bit. Neither the
    caller's module nor torch's global random state is changed. Modules are called in evaluation
    mode.

    A fit fails where the weights are no longer finite: `report["converged"]` is then False.

    Parameters
    ----------
    width, depth : int
        The estimator's own network has `depth` hidden layers of `width`. Refused beside a `module`.
    steps, first_steps : int
        Steps of Adam at each later fit, and at the first one.
    learning_rate : float
        Adam's eta, in units of the weights.
    betas : (float, float)
        Adam's decay rates, of the gradient's mean and of the mean of its square.
    batch : int
        Points of each cloud in a step of Adam.
    standardise : bool
        False: the network gets the points as they are.

    Raises
    ------
    TypeError
        An argument is of another type.
    ValueError
        A number is out of its range, or a run goes on with a module of another number of weights.

    Cost: a step of Adam is a forward and a backward pass of `batch` points of each cloud, three of
    each with a gradient penalty.

    Source: Kingma and Ba (2015).
    """

    width: int = field(default=64, kw_only=True)
    depth: int = field(default=2, kw_only=True)
    steps: int = field(default=10, kw_only=True)
    first_steps: int = field(default=1000, kw_only=True)
    learning_rate: float = field(default=1e-3, kw_only=True)
    betas: tuple[float, float] = field(default=(0.9, 0.999), kw_only=True)
    batch: int = field(default=256, kw_only=True)
    standardise: bool = field(default=True, kw_only=True)
    deterministic: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    energy_slope: ClassVar[None] = None
    _isotropic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("width", "depth", "steps", "first_steps", "batch"):
            _checks.count(getattr(self, name), name)
        _checks.positive(self.learning_rate, "learning_rate")
        _checks.flag(self.standardise, "standardise")
        if (
            not isinstance(self.betas, (tuple, list))
            or len(self.betas) != 2
            or not all(0 <= _checks.real(beta, "betas") < 1 for beta in self.betas)
        ):
            raise ValueError(
                f"`betas` must be two numbers in [0, 1), got {self.betas}: Adam's own are (0.9,"
                " 0.999)"
            )

    @abstractmethod
    def _build(self, dim: int, seed: int) -> Network:
        """The network for points of `dim` coordinates, its first weights drawn from `seed`."""

    @abstractmethod
    def _loss(self, network: Network, weights: Weights, fixed: Memory, batch: Batch) -> Tensor:
        """The scalar that Adam lowers."""

    def _project(self, network: Network, weights: Weights) -> Weights:
        """The nearest weights that are allowed."""
        return weights

    @property
    def _penalised(self) -> bool:
        """Whether the loss needs points between the clouds."""
        return False

    @torch.inference_mode(False)
    def _train(
        self, x: Cloud, y: Cloud, clock: Clock, memory: Memory
    ) -> tuple[Learned, dict[str, Tensor], dict[str, object]]:
        """The network after this fit's steps, the memory for the next, and a report."""
        x, y = (
            Cloud(
                plain(cloud.points),
                log_mass=None if cloud.log_mass is None else plain(cloud.log_mass),
            )
            for cloud in (x, y)
        )
        memory = {name: plain(value) for name, value in memory.items()}
        network = self._network(x.dim, clock, memory)
        orders = {
            f"order_{name}": lasting_order(cloud, memory.get(f"order_{name}"))
            for name, cloud in (("x", x), ("y", y))
        }
        state = dict(memory) or self._start(
            network,
            *(_rows_of(cloud, orders[f"order_{name}"]) for name, cloud in (("x", x), ("y", y))),
        )
        state |= orders
        if state["weights"].shape != (network.size,):
            raise ValueError(
                f"`module` must have the {len(state['weights'])} weights that the run began with,"
                f" got {network.size}: go on with the same module"
            )
        shift, scale = state["shift"], state["scale"]
        fixed = {
            name.removeprefix(FIXED): value
            for name, value in state.items()
            if name.startswith(FIXED)
        }
        standard = [
            Cloud((cloud.points - shift) / scale, log_mass=cloud.log_mass) for cloud in (x, y)
        ]
        generator = torch.Generator().manual_seed(clock.draws.child_seed("training", clock.step))
        batches = Batches(
            standard[0],
            standard[1],
            orders["order_x"],
            orders["order_y"],
            self.batch,
            self._penalised,
            generator,
        )
        state |= self._adam(
            network, fixed, batches, state, self.steps if memory else self.first_steps
        )
        report: dict[str, object] = {"iterations": int(state["adam_count"])}
        if not bool(torch.isfinite(state["weights"]).all()):
            report |= {
                "converged": False,
                "remedy": (
                    "its weights are no longer finite: lower learning_rate ="
                    f" {self.learning_rate:g}"
                ),
            }
        return Learned(network, state["weights"], fixed, shift, scale), state, report

    def _network(self, dim: int, clock: Clock, memory: Memory) -> Network:
        """The network that a run begins with; later any one of its shape, whose weights are not
        used.
        """
        seed = clock.draws.child_seed("network", clock.step)
        make = partial(self._build, dim, seed)
        return self._built.get(dim, make) if memory else make()

    @cached_property
    def _built(self) -> Memo[Network]:
        """A network for each dimension, for the fits after the first."""
        return Memo()

    def _start(self, network: Network, x: Cloud, y: Cloud) -> dict[str, Tensor]:
        weights = self._project(network, network.weights(x.points))
        shift, scale = torch.zeros_like(x.points[0]), torch.ones_like(x.points[0])
        if self.standardise:
            shift, scale = _standard(x, y, isotropic=self._isotropic)
        return {
            "weights": weights,
            "adam_mean": torch.zeros_like(weights),
            "adam_square": torch.zeros_like(weights),
            "adam_count": torch.zeros((), dtype=torch.int64, device="cpu"),
            "shift": shift,
            "scale": scale,
            **{FIXED + name: value for name, value in network.fixed(x.points).items()},
        }

    def _adam(
        self,
        network: Network,
        fixed: Memory,
        batches: Batches,
        state: Mapping[str, Tensor],
        steps: int,
    ) -> dict[str, Tensor]:
        """`steps` further steps of Adam, g the gradient, n the count of all steps.

        m = b1 m + (1 - b1) g,   s = b2 s + (1 - b2) g^2
        weights -= rate (m / (1 - b1^n)) / (sqrt(s / (1 - b2^n)) + EPSILON), then `_project`
        """
        weights, mean, square = (state[name] for name in ("weights", "adam_mean", "adam_square"))
        first, second = self.betas
        done = int(state["adam_count"])
        for n in range(done + 1, done + steps + 1):
            with torch.enable_grad():
                leaf = weights.detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(
                    self._loss(network, leaf, fixed, batches.draw()), leaf
                )
            mean = torch.lerp(gradient, mean, first)
            square = torch.lerp(gradient**2, square, second)
            step = (mean / (1 - first**n)) / ((square / (1 - second**n)).sqrt() + EPSILON)
            weights = self._project(network, weights - self.learning_rate * step)
        return {
            "weights": weights,
            "adam_mean": mean,
            "adam_square": square,
            "adam_count": torch.tensor(done + steps, device="cpu"),
        }


@dataclass(frozen=True)
class FromModule(Trained):
    """Train a network that may be the caller's.

    Parameters
    ----------
    module : torch.nn.Module, callable (d) -> module, or None
        Maps (Q, d) to (Q,) or (Q, 1), each row for itself. A module is copied, and starts from its
        own weights. A factory's weights are drawn from the run's seed. It should be smooth, since
        particles follow its gradient. None: a perceptron with x sigmoid(x) between its layers.
    width, depth, steps, first_steps, learning_rate, betas, batch, standardise
        See `Trained`.

    Raises
    ------
    TypeError
        `module` is neither a module nor a callable, or has complex weights.
    ValueError
        `width` or `depth` is given beside a `module`, or the module has nothing to train.
    """

    module: ModuleOrFactory | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        ignored = [
            name
            for name in ("width", "depth")
            if self.module is not None and getattr(self, name) != getattr(Trained, name)
        ]
        if ignored:
            got = f"{getattr(self, ignored[0])} and a `module`"
            raise ValueError(
                f"`{ignored[0]}` describes the estimator's own network, got {got}: leave one of"
                " them out"
            )
        if isinstance(self.module, nn.Module):
            check_module(self.module)
            object.__setattr__(self, "module", copy.deepcopy(self.module).eval())
        elif self.module is not None and not callable(self.module):
            raise TypeError(
                "`module` must be a torch module or make one from the dimension, got"
                f" {type(self.module).__name__}: leave it out for one"
            )

    def _build(self, dim: int, seed: int) -> Network:
        if self.module is not None:
            return built(self.module, dim, seed)
        return built(partial(mlp, width=self.width, depth=self.depth), dim, seed, Perceptron)


def _rows_of(cloud: Cloud, order: Tensor) -> Cloud:
    """The cloud with its rows in another order."""
    return Cloud(
        cloud.points[order], log_mass=None if cloud.log_mass is None else cloud.log_mass[order]
    )


def _standard(x: Cloud, y: Cloud, *, isotropic: bool) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the mixture of half x and half y, of each coordinate or of all.

    A coordinate that is constant keeps its unit.
    """
    means, squares = [], []
    for cloud in (x, y):
        total = cloud.mass.sum()
        means.append(cloud.mean(cloud.points) / total)
        squares.append(cloud.mean((cloud.points - means[-1]) ** 2) / total)
    square = (squares[0] + squares[1]) / 2 + ((means[0] - means[1]) / 2) ** 2
    if isotropic:
        square = square.mean().expand_as(square).clone()
    return (means[0] + means[1]) / 2, torch.where(
        square > 0, square.sqrt(), torch.ones_like(square)
    )
