"""`python -m fidelity`: the command line, where no script is installed."""

from fidelity.cli import main

if __name__ == "__main__":
    main()
