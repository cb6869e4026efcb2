"""The rows of the benchmarks: what each measures, and what its records hold."""

from collections.abc import Callable
from dataclasses import dataclass

import row_accuracy
import row_derivatives
import row_grading
import row_growth
import row_monitor
import row_sobolev

RATIO_FIELDS = {
    "ratio": "median over the rounds of the CPU time of gradnotes over that of the peer",
    "low": "10 % quantile of these ratios",
    "high": "90 % quantile of these ratios",
    "ours_ms": "median CPU milliseconds of gradnotes",
    "peer_ms": "median CPU milliseconds of the peer",
    "compile_s": "seconds that a compilation took, before and apart; null where there is none",
    "rounds": "number of rounds; each times every contestant once",
}
INPUTS = {"inputs": "number of inputs d", "batch": "number of points"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: what it measures, the fields that tell its records apart, the others, and how."""

    about: str
    sizes: dict[str, str]
    fields: dict[str, str]
    measure: Callable[[bool], list[dict]]


ROWS = {
    "value_gradient": Row(
        about="Values and gradients in the inputs of d-64-64-1 tanh networks. The bare matrix "
        "products are the five of a forward and a reverse pass, a thousand rows at a time, with "
        "nothing between them.",
        sizes=INPUTS,
        fields=RATIO_FIELDS,
        measure=row_derivatives.value_gradient,
    ),
    "hessian": Row(
        about="Values, gradients and Hessians in the inputs of d-64-64-1 tanh networks.",
        sizes=INPUTS,
        fields=RATIO_FIELDS,
        measure=row_derivatives.hessian,
    ),
    "hessian_vector_product": Row(
        about="The Hessian times one vector at each point, for d-64-64-1 tanh networks.",
        sizes=INPUTS,
        fields=RATIO_FIELDS,
        measure=row_derivatives.hessian_vector_product,
    ),
    "weight_jacobian": Row(
        about="Jacobians in the weights of the values of d-32-32-1 tanh networks at 200 points, as "
        "one matrix.",
        sizes={
            "inputs": "number of inputs d",
            "gradients": "whether the Jacobian of the input gradients is returned as well",
        },
        fields=RATIO_FIELDS,
        measure=row_derivatives.weight_jacobian,
    ),
    "sobolev_step": Row(
        about=f"A step of Adam on values and gradients, per network: {row_sobolev.STEPS} steps of "
        f"{row_sobolev.MEMBERS} tanh networks at once, with all that a fit does around them. One "
        f"module at a time stands for {row_sobolev.ALONE} of them.",
        sizes={
            "hidden": "widths of the hidden layers",
            "members": "number of networks",
            "points": "number of points, each with a value and a gradient",
        },
        fields=RATIO_FIELDS,
        measure=row_sobolev.sobolev_step,
    ),
    "monitor_check": Row(
        about=f"A check of ReuseMonitor on {row_monitor.ROWS} images of 8 x 8 points in ten "
        "classes, in single precision: norms and projections of the gradients of single rows, and "
        "the mean gradient. The peers make the same numbers from the gradients of all rows at "
        "once, and sum in single precision where the package sums in double. A plain step is one "
        "of Adam on all rows. The rule holdout has "
        f"{row_monitor.ROWS // row_monitor.FOLDS} rows more; the rule folds has "
        f"{row_monitor.FOLDS} replicas, and its step is what they add to a plain one. Peaks are of "
        "the tensors that a call allocates, beyond those that stood before.",
        sizes={
            "network": "a 64-64-10 perceptron, or one with two convolutions and two dense layers",
            "rule": "the rule of the monitor",
            "work": "check: a check alone; step: what the monitor adds to a step without a check",
            "limit_mib": "the limit that the monitor is given for gradients of single rows, in MiB",
        },
        fields={
            **RATIO_FIELDS,
            "ours_mib": "peak of the package's tensors, in MiB; for a check with its step",
            "peer_mib": "peak of the peer's tensors, in MiB",
            "matrix_mib": "the gradients of all rows of the sample, one for each row, in MiB",
        },
        measure=row_monitor.monitor_check,
    ),
    "accuracy": Row(
        about=f"Errors of fits to {row_accuracy.POINTS} uniformly random points with values and "
        f"gradients, on a grid of {row_accuracy.PER_AXIS} x {row_accuracy.PER_AXIS} points: the "
        "RMS error over the standard deviation of the values, and over the RMS of the gradients. "
        f"Ours is a 2-{'-'.join(map(str, row_accuracy.HIDDEN))}-1 tanh network after "
        f"{row_accuracy.STEPS} steps of Levenberg-Marquardt, the same for all functions.",
        sizes={"function": "the test function", "quantity": "value or gradient"},
        fields={
            "ratio": "geometric mean over the seeds of our error over the peer's",
            "low": "lower end of the 95 % t-interval of its logarithm",
            "high": "upper end of the 95 % t-interval of its logarithm",
            "ours_error": "geometric mean of our relative RMS errors",
            "peer_error": "geometric mean of the peer's relative RMS errors",
            "ours_cpu_s": "median CPU seconds of our training",
            "peer_cpu_s": "median CPU seconds of the peer's training",
            "cpu_ratio": "ours_cpu_s over peer_cpu_s",
            "seeds": "number of seeds on which the peer gave a result",
            "failures": "number of seeds on which it did not; they are left out",
        },
        measure=row_accuracy.accuracy,
    ),
    "growth": Row(
        about="CPU time of the package against the size of the work, and the exponent of a power "
        f"law through the {row_growth.UPPER} largest sizes. Unless they grow: 2-64-64-1 tanh "
        "networks, 2000 points for gradients, 500 for Hessians; steps on values and gradients, at "
        "50 points against the weights.",
        sizes={"work": "what is timed", "variable": "what grows"},
        fields={
            "fitted_from": "smallest size that the exponent is fitted to",
            "fitted_to": "largest size",
            "exponent": "median over the rounds of the slope of log time against log size",
            "low": "10 % quantile of these slopes",
            "high": "90 % quantile of these slopes",
            "sizes": "all sizes",
            "ms": "median CPU milliseconds at each size, per call or step",
            "rounds": "number of rounds",
        },
        measure=row_growth.growing,
    ),
    "grading": Row(
        about="Grading a submission to the first problem set, from its file to its points, one at "
        "a time: its own process starts, imports the package, runs the notebook and ends, and "
        "another process, which stays, marks the answers.",
        sizes={
            "notebook": "blank: no answer; solved: all of them right; stopped: it ends its process "
            "after four right ones"
        },
        fields={
            "seconds": "median over the rounds of the seconds that pass",
            "low": "10 % quantile of these seconds",
            "high": "90 % quantile of these seconds",
            "cpu_s": "median CPU seconds, without those of the process that marks",
            "rounds": "number of rounds; each grades every notebook once",
        },
        measure=row_grading.grading,
    ),
}
