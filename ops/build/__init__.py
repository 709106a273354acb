"""`make build`: the functions' packages for Lambda, made on any host and checked before anybody deploys them.

Nothing here needs more than the standard library and pip, so that it runs before anything is installed.
"""

from ops.build._package import BuildError, Sizes, package_sizes

__all__ = ["BuildError", "Sizes", "package_sizes"]
