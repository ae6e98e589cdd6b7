"""`python -m hlynr`: the command line."""

from hlynr.cli.app import main

if __name__ == "__main__":
    main()
