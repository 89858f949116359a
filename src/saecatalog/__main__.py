"""`python -m saecatalog`: the same as the command `saecatalog`."""

from saecatalog.cli import run

if __name__ == "__main__":
    run()
