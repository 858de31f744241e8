from mockprovider.logprobs import logprobs


def test_each_piece_is_a_token() -> None:
    """With its bytes, and with as many others as were asked for, none likelier than it."""
    one, other = logprobs(["é ", "b"], 2)
    assert (one["token"], one["bytes"]) == ("é ", [0xC3, 0xA9, 0x20])
    assert other["top_logprobs"] == [
        {"token": "b", "logprob": other["logprob"], "bytes": [98]},
        {"token": "b~", "logprob": -2.125, "bytes": [98, 126]},
    ]
    assert logprobs(["a"], 0)[0]["top_logprobs"] == []
    assert logprobs([], 3) == []
