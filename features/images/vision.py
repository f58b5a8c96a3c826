"""torchvision, imported without PyTorch's compiler.

torchvision loads all of the compiler (`torch._dynamo`), a second of work, for one question that its detection
operators ask when they run. Import torchvision from here before anything else does:
``from dermfuse.features.images.vision import torchvision``. Whatever is asked of the compiler later is answered by
the compiler.
"""

from __future__ import annotations

import importlib
import sys
import types

_COMPILER = "torch._dynamo.utils"


def _stand_in() -> types.ModuleType:
    """A module in the compiler's place that loads it as soon as anything of it is used."""

    def compiler() -> types.ModuleType:
        if sys.modules.get(_COMPILER) is module:
            del sys.modules[_COMPILER]
        return importlib.import_module(_COMPILER)

    def attribute(name: str) -> object:
        if name.startswith("__"):  # whoever looks through all modules for where they lie wants nothing of the compiler
            raise AttributeError(name)
        return getattr(compiler(), name)

    module = types.ModuleType(_COMPILER)
    module.is_compile_supported = lambda device: compiler().is_compile_supported(device)
    module.__getattr__ = attribute
    return module


stand_in = _stand_in()
sys.modules.setdefault(_COMPILER, stand_in)
try:
    import torchvision  # noqa: F401
finally:
    if sys.modules[_COMPILER] is stand_in:
        del sys.modules[_COMPILER]
