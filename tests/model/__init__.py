"""Random lives of orders, and of what stands, against references that are too simple to be wrong."""

import pytest

pytest.register_assert_rewrite("tests.model.floor", "tests.model.machine", "tests.model.standing")
