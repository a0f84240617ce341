"""Estimators of the log density ratio, log(target / current).

- `kde`: the ratio of two kernel density estimates.
- `kernel_ratio`: the model sum_l theta_l k(z, c_l), theta >= 0, of the next two.
- `nonnegative`, `least_squares`, `ulsif`: its least-squares fits (Kanamori, Hido and Sugiyama 2009;
  Yamada, Suzuki, Kanamori, Hachiya and Sugiyama 2011).
- `mixture`, `kliep`: its fit of maximum likelihood (Sugiyama et al. 2008).
- `logistic_solver`, `logistic`: kernel logistic regression (Zhu and Hastie 2005).
- `sklearn_model`, `sklearn_gradient`, `calibration`, `sklearn_classifier`: any classifier of
  scikit-learn (Sugiyama, Suzuki and Kanamori 2012, chapter 4; Platt 1999).
"""

from particleflow.estimators.ratio.kde import KDE
from particleflow.estimators.ratio.kliep import KLIEP
from particleflow.estimators.ratio.logistic import KernelLogistic
from particleflow.estimators.ratio.sklearn_classifier import SklearnClassifier
from particleflow.estimators.ratio.ulsif import ULSIF, RuLSIF

__all__ = ["KDE", "KLIEP", "ULSIF", "KernelLogistic", "RuLSIF", "SklearnClassifier"]
