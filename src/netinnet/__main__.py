"""`python -m netinnet`: the command `nin`."""

from netinnet.cli.main import main

if __name__ == "__main__":
    main()
