"""A server in one namespace under the load of `floe bench` in another: what the tests of soak and overload share."""

from .world import Account, World, result

__all__ = ["Account", "World", "result"]
