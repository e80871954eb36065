"""`python -m mugato` is `mugato`."""

from mugato.cli.main import main

if __name__ == "__main__":
    main()
