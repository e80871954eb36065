"""`python -m mugato` is `mugato`."""

from mugato.cli import main

if __name__ == "__main__":
    main()
