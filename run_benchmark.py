"""Run the benchmark: `python run_benchmark.py` is `robustbench-lift`.

python run_benchmark.py                      # the embedded benchmark: no data, no network
python run_benchmark.py run --help           # ImageNet-C, ImageNet-P and shift consistency of your checkpoint
python run_benchmark.py gate BASELINE RUN    # fail when robustness dropped
"""

from robustbench_lift.cli import main

if __name__ == "__main__":
    main()
