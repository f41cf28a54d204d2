"""What the tests of the running server share: the process, sockets in namespaces, small clients, results."""
