"""The training loop for several processes: `torchrun --nproc_per_node=2 train.py --preset demo`.

The same as `mugato train`; torchrun wants a file to start.
"""

import sys

from mugato.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
