"""What the tests that the claims ledger names have in common."""

import pytest


def broken(*values, by):
    """A variant of a formula under which the check must fail: a wrong constant, sign or rule."""
    mark = pytest.mark.xfail(raises=AssertionError, strict=True)
    return pytest.param(*values, id=f"broken: {by}", marks=mark)
