"""``python -m safelight.batch.cluster``: the process that drives Ray; ``run`` starts it."""

from safelight.batch.cluster.driver import main

if __name__ == "__main__":
    main()
