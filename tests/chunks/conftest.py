from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chunks.executors import NODE


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with one core each on the loopback interface; None where Ray is not installed. The tests ask for it by
    name, not on demand: it must be there before they count what processes there are."""
    try:
        import ray._private.services as services
        from ray.cluster_utils import Cluster
    except ImportError:
        yield None
        return

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Ray replaces 127.0.0.1 by the address of an interface, on which nothing listens here.
        patch.setattr(services, "get_node_ip_address", lambda address=None: "127.0.0.1")
        two_nodes: Any = Cluster(initialize_head=True, head_node_args=NODE)
        two_nodes.add_node(**NODE)
        two_nodes.wait_for_nodes()
        yield two_nodes
        two_nodes.shutdown()
