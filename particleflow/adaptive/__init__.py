"""Rules that choose the kernel's bandwidth and the injected noise from the clouds, as a run goes.

- `pairs`: distances between points drawn from two clouds, which all rules read.
- `continuation`: from the distance of the clouds down to the scale of the target.
- `signal`, `target_signal`: the bandwidth, or the noise, at which the clouds feel each other most.
- `noise`: the contract of a rule for noise.
- `arbel`: the largest noise at which the MMD still falls.

A rule for the bandwidth keeps the contract `particleflow.estimators.BandwidthRule`. A flow takes it
as `bandwidth=`, and a rule for noise as `noise=`.
"""

from particleflow._words import suggesting
from particleflow.adaptive.arbel import Arbel
from particleflow.adaptive.continuation import Continuation
from particleflow.adaptive.noise import NoiseRule
from particleflow.adaptive.target_signal import SignalNoise, TargetSignal

__all__ = ["Arbel", "Continuation", "NoiseRule", "SignalNoise", "TargetSignal"]

__getattr__, __dir__ = suggesting(__name__)
