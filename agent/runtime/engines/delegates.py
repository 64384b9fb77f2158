"""Accelerators: which of this device's delegates a release runs on, and what happens where one cannot be opened.

Their libraries come from the device's configuration, and are opened only in the process that runs the model.
"""

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import replace

from agent.runtime.engine import Delegate, Model
from littoral.bundle.manifest import Needs
from littoral.errors import IncompatibleError, ModelLoadError


def for_release(delegates: Iterable[Delegate], needs: Needs, model: str) -> Delegate | None:
    """The delegate for this model: one whose `models` name it, else the first of the kind that the release asks for.

    None: the CPU. Raises IncompatibleError where the release does not want to run there.
    """
    known = tuple(delegates)
    named = [each for each in known if model in each.models]
    asked = [each for each in known if needs.delegate == each.kind]
    if chosen := next(iter(named + asked), None):
        return replace(chosen, required=needs.cpu == "refuse")
    if needs.delegate and needs.cpu == "refuse":
        raise IncompatibleError(f"it runs on a {needs.delegate} delegate only, and none is configured here")
    return None


def check_library(delegate: Delegate) -> None:
    """Raises OSError where it is no delegate's library, over which the engine's own class would stumble."""
    library = ctypes.CDLL(delegate.path)
    for name in ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate"):
        if not hasattr(library, name):
            raise OSError(f"{delegate.path} has no {name}")


def load_with(delegate: Delegate, on_delegate: Callable[[], Model], on_cpu: Callable[[str], Model]) -> Model:
    """By the first, or where the delegate cannot be used and need not be, by the second with the reason.

    Raises IncompatibleError where it must be used, ModelLoadError where the CPU refuses the model too.
    """
    try:
        return on_delegate()
    except (ValueError, OSError, RuntimeError, ModelLoadError) as error:
        reason = f"{delegate.kind} cannot be used: {' '.join(str(error).split())}"
        if delegate.required:
            raise IncompatibleError(reason) from error
    return on_cpu(f"CPU: {reason}")
