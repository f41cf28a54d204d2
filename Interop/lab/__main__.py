"""usage: python3 Interop/lab check | down [--all]

check   builds one site of every NAT kind and verifies that each behaves as it is named
down    removes the labs that a crashed run left behind; with --all also those of runs that still go on
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from lab import Lab, LabError, probe, require_root_and_tools, sweep  # noqa: E402


def check():
    with Lab() as lab:
        survey = probe.survey(lab)
    failed = 0
    for kind, found in survey.items():
        good = found == probe.EXPECTED[kind]
        failed += not good
        words = f"mapping {found['mapping']}, filtering {found['filtering']}" if found["mapping"] else "no UDP"
        print(f"{'ok  ' if good else 'FAIL'} {kind:15} {words}, TCP {found['tcp']}")
    print(f"{len(survey) - failed} passed, {failed} failed")
    return failed


def main(arguments):
    try:
        require_root_and_tools()
        if arguments == ["check"]:
            return 1 if check() else 0
        if arguments in (["down"], ["down", "--all"]):
            for name in sweep(everything="--all" in arguments):
                print(f"removed {name}")
            return 0
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


sys.exit(main(sys.argv[1:]))
