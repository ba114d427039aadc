"""Batch processing on several machines with Ray Data.

``plan`` assigns an output to each picture, as ``batch.plan`` does, and accepts URLs too. ``run`` starts a process that
drives Ray, and yields the outcomes as they arrive. Ray never runs in the caller's process, which so has none of its
messages, signal handlers and threads. On the machines of the cluster, actors keep the model loaded and process one
picture after another with ``batch.process``, the function that a local batch calls.
"""

from safelight.batch.cluster.messages import ClusterError, ClusterTask, WorkerConfig, WorkerPool
from safelight.batch.cluster.planning import ClusterPlan, plan
from safelight.batch.cluster.running import run

__all__ = ["ClusterError", "ClusterPlan", "ClusterTask", "WorkerConfig", "WorkerPool", "plan", "run"]
