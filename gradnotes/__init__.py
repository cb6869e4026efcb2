"""gradnotes: does a good approximation of a function give a good approximation of its gradient?

The companion package of the book of the same name. Each module is one concept and works without
the book: :mod:`~gradnotes.targets`, :mod:`~gradnotes.taylor`, :mod:`~gradnotes.counterexamples`,
:mod:`~gradnotes.inequalities`, :mod:`~gradnotes.networks`, :mod:`~gradnotes.fitting`,
:mod:`~gradnotes.interpolants`, :mod:`~gradnotes.kriging`, :mod:`~gradnotes.gaps`,
:mod:`~gradnotes.certificates`, :mod:`~gradnotes.scaling`, :mod:`~gradnotes.sobolev`,
:mod:`~gradnotes.critics`, :mod:`~gradnotes.synthetic`, :mod:`~gradnotes.regressions`,
:mod:`~gradnotes.reuse`, :mod:`~gradnotes.monitors`, :mod:`~gradnotes.stopping`,
:mod:`~gradnotes.checks` and :mod:`~gradnotes.plots`.
"""

__version__ = "0.8.2"
