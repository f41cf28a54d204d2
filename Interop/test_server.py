#!/usr/bin/env python3
"""Black-box tests of one running `floe serve`: process, web, signaling, TURN."""

import itertools

from blackbox import balancer, bench, drain, dtls, options as wrong, place, process, reload, signaling, turn, web
from lab import Lab, require_root_and_tools
from support import results, server


def test(options):
    require_root_and_tools()
    binary = server.require_binary(options.floe)
    outcome = results.Results(options.only)
    with results.directory(options) as directory, Lab() as lab:
        here = place.Place(lab, binary, directory)
        for one in itertools.chain(process.tests(here), wrong.tests(here), reload.tests(here), drain.tests(here),
                                   bench.tests(here)):
            outcome.run(*one)
        floe = here.floe("--api-key", web.API_KEY)
        with floe:
            for one in itertools.chain(web.tests(here), turn.tests(here), dtls.tests(here, floe)):
                outcome.run(*one)
            outcome.run_side_by_side(itertools.chain(web.slow_tests(here), signaling.slow_tests(here)))
            for one in signaling.tests(here, floe):
                outcome.run(*one)
            outcome.run("after all of it the server is still healthy", still_healthy, floe)
        with here.floe("--proxy-protocol-from", place.FLOODER):
            for one in balancer.tests(here):
                outcome.run(*one)
    return outcome.finish()


def still_healthy(floe):
    assert floe.healthy(), "the health page says no"


if __name__ == "__main__":
    results.main(test, __doc__)
