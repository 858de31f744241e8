from proxy.errors import TIMEOUTS, TRANSPORT, ApexError, Fault, FaultKind, Refusal, Said


def test_a_refusal_says_what_a_caller_may_see() -> None:
    """Its text is status, code (or kind) and message."""
    assert repr(Refusal(404, "No.", code="model_not_found")) == "Refusal(404, model_not_found: No.)"
    assert repr(Refusal(400, "No.")) == "Refusal(400, invalid_request_error: No.)"
    assert str(Refusal(400, "No.")) == "No."


def test_a_fault_has_one_word_for_logs() -> None:
    """A status by its number, anything else by its kind; what the provider said is not in it."""
    status = Fault(FaultKind.STATUS, "it answered", status=503, said=Said("secret words"))
    assert status.reason == "status_503"
    assert repr(status) == "Fault(status_503: it answered)"
    assert Fault(FaultKind.RESET, "gone").reason == "reset"


def test_both_are_understood_errors() -> None:
    """What is caught as `ApexError` is everything that is no bug."""
    assert isinstance(Refusal(400, "No."), ApexError)
    assert isinstance(Fault(FaultKind.DNS, "no"), ApexError)
    assert {FaultKind.CONNECT_TIMEOUT} == TRANSPORT & TIMEOUTS
