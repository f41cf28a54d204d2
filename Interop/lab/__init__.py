"""A laboratory of kernel NATs: a small internet inside network namespaces, with no way out."""

from .namespaces import Lab, LabError, entered, existing, require_root_and_tools, run, sweep
from .nat import Site

__all__ = ["Lab", "LabError", "Site", "entered", "existing", "require_root_and_tools", "run", "sweep"]
