"""Runs in a real Slicer, started by ``make test-slicer``: the self-test; the exit status says how it went."""

import logging

import slicer


def run() -> int:
    """0 when the self-test passes."""
    import PancreasSeg

    test = PancreasSeg.PancreasSegTest()
    test.messageDelay = 0
    try:
        test.runTest()
    except Exception:
        logging.exception("The self-test of PancreasSeg failed")
        return 1
    logging.info("The self-test of PancreasSeg passed")
    return 0


if __name__ == "__main__":
    slicer.util.exit(run())
