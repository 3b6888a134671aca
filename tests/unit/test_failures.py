"""How failures are told."""

import pytest

from common.failures import AlgorithmError, ClientError, describe


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ClientError("k is 0"), "ClientError: k is 0"),
        (AlgorithmError("host a left"), "AlgorithmError: host a left"),
        (KeyError("a"), "AlgorithmError: KeyError: 'a'"),
        (ClientError("channel 'a\nb\ud800é' is unknown"), r"ClientError: channel 'a\nb\ud800é' is unknown"),
    ],
)
def test_a_failure_is_one_line_that_a_file_takes(error, told):
    assert describe(error) == told
    describe(error).encode()
