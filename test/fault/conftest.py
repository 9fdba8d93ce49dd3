import pytest


@pytest.fixture(params=["keepalive", "pipelined"])
def upstream(request):
    """A test that asks for it runs once with each way to use connections to servers."""
    return request.param
