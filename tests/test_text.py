"""Numbers with their errors, as messages say them."""

import math

import pytest

from pogospec.text import with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (38.1, 823.4, "38 ± 823"),
        (-56.04, 301.0, "-56 ± 301"),
        (0.03456, 0.01234, "0.035 ± 0.012"),
        (1234.56, 99.6, "1,235 ± 100"),
        (2.0, 0.0, "2.000 ± 0.000"),
        (1.2345, math.nan, "1.23"),
        (math.inf, 1.0, "inf ± 1"),
        (3e9, 2e8, "3e+09 ± 2e+08"),
        (1.0, 1e-9, "1 ± 1e-09"),
    ],
)
def test_both_have_the_digits_of_the_error(value, error, text):
    assert with_error(value, error) == text
