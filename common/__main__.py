"""``python -m common`` is `train`."""

from common.training import main

main()
