"""The suite itself."""


def test_tests_of_a_file_stay_in_one_process(request):
    """Only then does one Ray serve all tests, and a module's fixtures all of its."""
    # pytest-xdist keeps tests together by what it appends to their names.
    grouped = request.config.getoption("loadgroup", False)
    assert request.node.nodeid.endswith("@test_suite") == grouped
