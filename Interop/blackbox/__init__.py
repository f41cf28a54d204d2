"""Black-box tests of a running `floe serve`, by subject. Each module has `tests(place)`: name, function, arguments."""
