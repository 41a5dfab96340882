"""`python -m fstriplets` is the `fstriplets` command."""

from fstriplets.cli import main

if __name__ == "__main__":
    main()
