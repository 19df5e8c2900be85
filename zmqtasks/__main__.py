"""`python -m zmqtasks`: the same as the command `zmqtasks`."""

from zmqtasks.cli import main

if __name__ == "__main__":
    main()
