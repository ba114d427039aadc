"""Thread-safe tracing of a network.

``torch.fx`` traces by replacing methods of ``nn.Module`` for a moment, in the whole process: what other threads compute
in that moment would become part of the trace, or fail (``NameError: module is not installed as a submodule``). Here
other threads are not affected, and traces wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import fx, nn

_ONE = threading.Lock()  # guards torch.fx's patch, which is global to the process


class _Tracer(fx.Tracer):
    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self._leaves, self._thread = leaves, threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - as torch has it
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:  # noqa: ANN401
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def trace(network: nn.Module, leaves: tuple[type[nn.Module], ...] = ()) -> fx.Graph:
    """Trace a network with ``torch.fx``.

    Args:
        network: The network.
        leaves: Module classes that become one step each, in addition to those of torch.

    Raises:
        TraceError, TypeError, RuntimeError: The network can't be traced, for example as it branches on values.
    """
    with _ONE:
        return _Tracer(leaves).trace(network)
