"""``python -m magnet``, and the ``magnet`` command: Ctrl-C is one line from the first moment on."""

import os
import signal
import sys


def _quit(*_: object) -> None:
    """Nothing has begun, or all is done: there is nothing to clean up."""
    os.write(2, b"magnet: interrupted\n")
    os._exit(130)


def main() -> int:
    """Run the command line; returns the exit code."""
    by_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # or it is ignored, as under nohup
    if by_default:
        signal.signal(signal.SIGINT, _quit)
    from magnet.cli import main as cli

    code = 130
    try:
        if by_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = cli.main()
    except KeyboardInterrupt:
        _quit()
    finally:
        if by_default:
            signal.signal(signal.SIGINT, _quit)
    return code


if __name__ == "__main__":
    sys.exit(main())
