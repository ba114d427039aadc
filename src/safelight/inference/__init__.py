"""From a request to a result: the request, the executor of each kind of method, and what is said of a method."""

from safelight.inference.request import InferenceRequest
from safelight.inference.runner import NumericError, Runner, apply, prepare, size_of

__all__ = ["InferenceRequest", "NumericError", "Runner", "apply", "prepare", "size_of"]
