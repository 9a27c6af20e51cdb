"""The campaign: faults made at random, by subject, and a count of cases at the end.

    python tests/faults/run.py --share             # what CI runs: about three minutes
    python tests/faults/run.py --seconds 3600      # the whole; another --seed draws other cases
    python tests/faults/run.py --subject reading --seed 3 --case 41    # one case again; what it made is kept

Of every case must hold: no traceback, no hang, no end of the process, one line of message, an exit code that says what
happened, no file of the user changed, nothing left over, and no wrong value in silence.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults made at random, and what the program does with them.")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--share", action="store_true", help="a fixed number of cases of each subject")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subject", action="append", help="only this one (may be given again)")
    parser.add_argument("--case", type=int, help="only this case of one subject; what it made is kept")
    args = parser.parse_args()
    sys.path[0] = str(TESTS)
    if importlib.util.find_spec("magnet") is None:  # not installed: what is built in place
        sys.path.insert(1, str(TESTS.parent))
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in [*sys.path[:2], os.environ.get("PYTHONPATH")] if path)
    from faults.campaign import Campaign, Worker, subjects

    folder = Path(tempfile.mkdtemp(prefix="faults."))
    campaign = Campaign(args.seed, folder)
    known = subjects(campaign.model)
    if unknown := set(args.subject or ()) - set(known):
        parser.error(f"--subject: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    chosen = {name: known[name] for name in known if not args.subject or name in args.subject}
    if args.case is not None:
        worker = Worker()
        for name, (_, case) in chosen.items():
            campaign.one(name, case, args.case, worker, keep=True)
        worker.close()
        print(f"made in {folder}")
    else:
        campaign.run(None if args.share else args.seconds, chosen)
        shutil.rmtree(folder, ignore_errors=True)
    return campaign.report()


if __name__ == "__main__":
    sys.exit(main())
