"""`python -m robustbench_lift` is `robustbench-lift`."""

from robustbench_lift.cli import main

if __name__ == "__main__":
    main()
