"""The same batch on several machines, by Ray Data.

``plan`` gives each picture its output, as ``batch.plan`` does, and takes URLs too. ``run`` starts a process that drives
Ray and yields the outcomes as they come. Ray never runs in the caller's process: its messages, its signal handlers and
its threads stay out of it. On the machines of the cluster, actors keep the model loaded and do one picture after
another by ``batch.process``, the function that a local batch calls.
"""

from safelight.batch.cluster.messages import ClusterError, Order, Pool, RemoteJob
from safelight.batch.cluster.planning import ClusterPlan, plan
from safelight.batch.cluster.running import run

__all__ = ["ClusterError", "ClusterPlan", "Order", "Pool", "RemoteJob", "plan", "run"]
