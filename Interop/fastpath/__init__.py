"""The kernel's fast path beside user space: frames as they go over the wire, random traffic, a server with one channel."""
