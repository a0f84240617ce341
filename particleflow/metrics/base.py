"""The contract of a metric, and its call on a run's own clouds without conversion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from particleflow.clouds import Cloud, FixedCloud, as_clouds


@runtime_checkable
class Metric(Protocol):
    """A metric of two clouds with a label; a callable (x, y) -> float is one without a label."""

    @property
    def label(self) -> str:
        """What an axis is called that shows the values; it says whether a root was taken."""

    def __call__(self, x: Any, y: Any) -> float:
        """The value between two clouds (N, d) and (M, d): tensors, arrays or `Cloud` objects."""


@runtime_checkable
class Subsampling(Metric, Protocol):
    """A metric that compares a part of large clouds, and says so in `label_of`."""

    def label_of(self, x: Any, y: Any) -> str:
        """The label of the value between x and y, with the number of points drawn, if any."""


def label_of(metric: Callable[[Any, Any], float], name: str, x: Cloud, y: Cloud) -> str:
    """Tell the label of a metric's values between two clouds, for an axis or a table.

    It is `metric.label_of(x, y)` where the metric has such a method: `W1` and `W2` then also say
    how many points of large clouds are drawn. Else it is `metric.label`, and for a callable without
    one `name`.

    Parameters
    ----------
    metric : callable (x, y) -> float
        A metric.
    name : str
        What a metric without a label is called.
    x, y : Cloud
        The clouds that are compared. Only their sizes and their dimension are read.

    Returns
    -------
    str
        The label, e.g. "W2 (root)" or "W2 (root), of 5000 drawn".

    >>> x, y = pf.Cloud([[0.0, 0.0]]), pf.Cloud([[1.0, 0.0], [0.0, 1.0]])
    >>> pf.metrics.label_of(pf.metrics.W2(max_points=1), "distance", x, y)
    'W2 (root), of 1 drawn'
    """
    if isinstance(metric, Subsampling):
        return metric.label_of(x, y)
    return metric.label if isinstance(metric, Metric) else name


class OfClouds(ABC):
    """A metric of the package: `between` compares clouds, a call converts its arguments first."""

    @abstractmethod
    def between(self, x: Cloud, y: Cloud) -> float:
        """The value between two clouds of one dtype, device and dimension."""

    def __call__(self, x: Any, y: Any) -> float:
        """The value between two clouds.

        Parameters
        ----------
        x : (N, d) tensor, array or Cloud
            The particles. Plain points weigh 1/N each.
        y : (M, d) tensor, array or Cloud
            The target. A list or an array takes the dtype and device of the other argument.

        Returns
        -------
        float
            The value, in the metric's unit.

        Raises
        ------
        TypeError
            A cloud is not numeric, or the dtypes of two tensors differ.
        ValueError
            A cloud is not (N, d), is empty or not finite, or their dimensions or devices differ.
        """
        return self.between(*as_clouds(x, y))


def value_between(metric: Callable[[Any, Any], Any], x: Cloud, y: Cloud) -> Any:
    """metric(x, y) for two clouds of a run or of the package.

    A metric of the package takes the clouds as they are where the target is fixed: both were
    checked when the run began. Any other metric gets copies: it is a user's and must not move
    particles. So does a subclass with a `__call__` of its own.
    """
    own = metric if isinstance(metric, OfClouds) else None
    if own is None or type(own).__call__ is not OfClouds.__call__ or not isinstance(y, FixedCloud):
        return metric(x.copy(), y.copy())
    return own.between(x, y)


def normalised(cloud: Cloud) -> Cloud:
    """The cloud with a total mass of 1."""
    return (
        cloud
        if cloud.log_mass is None
        else Cloud(cloud.points, log_mass=cloud.log_mass.log_softmax(0))
    )
